"""What may go wrong in a rehearsal, as values: the truth of the world, and the end it must come to.

An end is what the ledger and the configuration say when the day is over; the conductor compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from rollout_lib.model import CheckKind

HEALTHY_ERRORS = 0.0  # a healthy world has no unified error; single-error and the benches have some


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Rates and latencies while this truth holds. Latencies are log-normal: median in ms, sigma of
    the log.
    """

    unified_errors: float = HEALTHY_ERRORS
    legacy_errors: float = 0.0
    unified_median_ms: float = 775.0
    legacy_median_ms: float = 725.0
    sigma: float = 0.25
    unified_logs: bool = True
    leaks: float = 0.0  # share of protected requests that go to unified


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens once, at a time after the start of the first phase."""

    after: timedelta
    kind: str  # "truth", "one-error", "retry-storm", "edit"
    truth: Truth | None = None
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class End:
    """The expected end: the final routing, the state that decided, and by which check or stream."""

    percentage: str
    enabled: bool
    decided: str  # the state that ended the advance: PASS, ROLL_BACK, STEP_BACK, INCONCLUSIVE, …
    by: CheckKind | None = None  # of a check or stream that has this state
    says: str = ""  # a part of the deciding sentence


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One world and its expected ends by mode."""

    name: str
    story: str
    ends: Mapping[str, End]
    events: tuple[Event, ...] = ()
    truth: Truth = field(default_factory=Truth)
    legacy_before: Truth = field(default_factory=Truth)
    requests_per_hour: int | None = None  # in all over the plan's domains; None: the plan's own
    stale_after: str | None = None
    acknowledges: bool = False  # a named person acknowledges an inconclusive evaluation
    week: Mapping[str, End] = field(
        default_factory=dict
    )  # where the whole week ends otherwise than Day 3

    def end(self, mode: str, week: bool = False) -> End:
        """The expected end of Day 3, or of the week."""
        return self.week.get(mode, self.ends[mode]) if week else self.ends[mode]


PASSED = End(percentage="25", enabled=True, decided="PASS")
REACHED = End(percentage="50", enabled=True, decided="PASS")
OFF = "0"


def _hours(value: float) -> timedelta:
    return timedelta(hours=value)


def _off(by: CheckKind, says: str = "") -> End:
    return End(percentage=OFF, enabled=False, decided="ROLL_BACK", by=by, says=says)


_ALL = (
    Scenario(
        name="healthy",
        story=(
            "Nothing goes wrong: no unified error, and few slow requests, so that the literal rule"
            " passes too."
        ),
        ends={"evidence": PASSED, "strict": PASSED},
        week={"evidence": REACHED, "strict": REACHED},
    ),
    Scenario(
        name="night",
        story="All is well by day; at two in the night unified begins to fail 5 % of its requests.",
        events=(Event(after=_hours(17), kind="truth", truth=Truth(unified_errors=0.05)),),
        ends={"evidence": PASSED, "strict": PASSED},
        week={"evidence": _off(CheckKind.ERRORS), "strict": _off(CheckKind.ERRORS)},
    ),
    Scenario(
        name="errors",
        story="From the second hour unified fails 5 % of its requests.",
        events=(Event(after=_hours(1), kind="truth", truth=Truth(unified_errors=0.05)),),
        ends={"evidence": _off(CheckKind.ERRORS), "strict": _off(CheckKind.ERRORS)},
    ),
    Scenario(
        name="slow",
        story="From the second hour half of unified's requests take over 3.5 seconds.",
        events=(
            Event(after=_hours(1), kind="truth", truth=Truth(unified_median_ms=3500.0, sigma=0.5)),
        ),
        ends={"evidence": _off(CheckKind.LATENCY), "strict": _off(CheckKind.LATENCY)},
    ),
    Scenario(
        name="single-error",
        story="One unified request fails at 10:05; everything else is well.",
        events=(Event(after=_hours(65 / 60), kind="one-error"),),
        acknowledges=True,
        ends={"evidence": PASSED, "strict": _off(CheckKind.ERRORS)},
        week={"evidence": REACHED},
    ),
    Scenario(
        name="one-percent",
        story="Unified fails 1 % of its requests from the beginning: ten times what is allowed.",
        truth=Truth(unified_errors=0.01),
        ends={"evidence": _off(CheckKind.ERRORS), "strict": _off(CheckKind.ERRORS)},
    ),
    Scenario(
        name="late-failure",
        story="Unified is well for three hours and then fails 5 %.",
        events=(Event(after=_hours(3), kind="truth", truth=Truth(unified_errors=0.05)),),
        ends={"evidence": _off(CheckKind.ERRORS), "strict": _off(CheckKind.ERRORS)},
    ),
    Scenario(
        name="retry-storm",
        story="One webhook fails and is retried forty times within six minutes.",
        events=(Event(after=_hours(1.1), kind="retry-storm"),),
        acknowledges=True,
        ends={"evidence": PASSED, "strict": _off(CheckKind.ERRORS)},
        week={"evidence": REACHED},
    ),
    Scenario(
        name="low-traffic",
        story=(
            "Five requests an hour in all: nearly nothing can be shown, and nothing may be called"
            " proven."
        ),
        requests_per_hour=5,
        stale_after="6h",
        ends={
            "evidence": End(percentage="10", enabled=True, decided="INCONCLUSIVE"),
            "strict": End(percentage="10", enabled=True, decided="INCONCLUSIVE"),
        },
    ),
    Scenario(
        name="protected-leak",
        story="At 10:30 the router begins to send protected webhooks to unified.",
        events=(Event(after=_hours(1.5), kind="truth", truth=Truth(leaks=0.05)),),
        ends={"evidence": _off(CheckKind.LEAK), "strict": _off(CheckKind.LEAK)},
    ),
    Scenario(
        name="silent",
        story="From the second hour unified logs nothing.",
        events=(Event(after=_hours(1), kind="truth", truth=Truth(unified_logs=False)),),
        ends={
            "evidence": End(percentage="10", enabled=True, decided="NO_DATA"),
            "strict": End(percentage="10", enabled=True, decided="NO_DATA"),
        },
    ),
    Scenario(
        name="drift",
        story="At 10:40 somebody sets 50 % from psql.",
        events=(Event(after=_hours(100 / 60), kind="edit", value="50"),),
        ends={
            "evidence": End(percentage="10", enabled=True, decided="STEP_BACK", by=CheckKind.DRIFT),
            "strict": End(percentage="10", enabled=True, decided="STEP_BACK", by=CheckKind.DRIFT),
        },
    ),
    Scenario(
        name="legacy-too",
        story=(
            "From the second hour both destinations fail 5 %: a shared incident, rolling back may"
            " not help."
        ),
        events=(
            Event(
                after=_hours(1), kind="truth", truth=Truth(unified_errors=0.05, legacy_errors=0.05)
            ),
        ),
        ends={
            "evidence": _off(CheckKind.ERRORS, says="Shared incident"),
            "strict": _off(CheckKind.ERRORS),
        },
    ),
)
SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
