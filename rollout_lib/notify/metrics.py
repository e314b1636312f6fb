"""What a monitoring system can see: one Prometheus text file a rollout, for node exporter's
textfile collector.

$ROLLOUT_METRICS names the folder; without it nothing is written. The file is written anew by each
slot, each tripwire round and each change, whole or not at all. What could not be measured has no
figure: no old one is kept."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rollout_lib.database.ledger import Facts
from rollout_lib.judgement.timeline import slot_of
from rollout_lib.model import BLIND, STATES, Standing, State, Verdict
from rollout_lib.plan import Plan

VARIABLE = "ROLLOUT_METRICS"
SUCCESS = "rollout_last_success_timestamp_seconds"
INTERVAL = "rollout_slot_interval_seconds"
PLAN = "rollout_plan_info"
_LARGEST = 700.0  # exp of it still is a float
Row = tuple[Decimal, bool]


def write(
    plan: Plan,
    *,
    facts: Facts,
    standing: Standing,
    verdict: Verdict,
    rows: Sequence[Mapping[str, Any]],
    at: datetime,
    slot: datetime | None = None,
    changed: Row | None = None,
) -> str:
    """Write what one look saw; returns "" or, a line, why it could not be written. Never raises for
    a disk.

    rows: the table of the literal window (figures.table_rows). at: the look's instant. slot: the
    scheduled one that it claimed. changed: (percentage, enabled) where this look lowered the
    routing."""
    gauges = _Gauges(plan, at)
    config = facts.config
    routing = changed or ((config.percentage, config.enabled) if config else None)
    gauges.verdict(verdict.state, literal=verdict.literal, evidence=verdict.evidence)
    latched = State.ROLL_BACK if changed and not changed[1] else standing.latched
    for state in (State.STEP_BACK, State.ROLL_BACK):
        asked = verdict.state is state or latched is state
        gauges.one(
            "rollout_latched", "An act of this phase that stands: 1.", int(asked), state=state.value
        )
    if routing is not None:
        gauges.one(
            "rollout_routing_percentage",
            "Configured share of unified, in percent.",
            float(routing[0]),
        )
        gauges.one("rollout_routing_enabled", "Is routing to unified switched on.", int(routing[1]))
    gauges.slots(facts, standing, at, slot, routing)
    if any(state in BLIND for state in (verdict.state, *(check.state for check in verdict.checks))):
        return gauges.save()  # a standing act may be the state, and nothing was seen all the same
    gauges.one(SUCCESS, "When a look last saw what it had to see.", at.timestamp())
    gauges.traffic(rows)
    for stream in verdict.streams:
        name, words = "rollout_e_value", "The bet against a stream: "
        gauges.one(name, f"{words}as it stands.", _e(stream.e_now), stream=stream.stream)
        gauges.one(
            f"{name}_peak",
            f"{words}its highest in the phase.",
            _e(stream.e_peak),
            stream=stream.stream,
        )
        gauges.one(f"{name}_act", f"{words}where it acts.", _e(stream.act_at), stream=stream.stream)
    return gauges.save()


def write_change(plan: Plan, *, at: datetime, after: Row, looked: bool) -> str:
    """What a change made of the routing, until the next look: no verdict and no figure of before.

    looked: its gates were met, so that it counts as a look. A lowering asks none: the last success
    stays what it was, and an alert for "nobody watches" speaks of it."""
    gauges = _Gauges(plan, at)
    gauges.one(
        "rollout_routing_percentage", "Configured share of unified, in percent.", float(after[0])
    )
    gauges.one("rollout_routing_enabled", "Is routing to unified switched on.", int(after[1]))
    if after[1]:
        due = slot_of(at, plan.monitoring.interval) + plan.monitoring.interval
        gauges.one(
            "rollout_next_slot_timestamp_seconds",
            "When the next scheduled check is due.",
            due.timestamp(),
        )
    if looked:
        gauges.one(SUCCESS, "When a look last saw what it had to see.", at.timestamp())
    return gauges.save()


def write_unseen(plan: Plan | str) -> str:
    """Write that a look saw nothing: the verdict is COULD_NOT_LOOK, figures are absent, the last
    success stays.

    plan: or the path of one that cannot be read, for the file that a look by this path has written
    before."""
    gauges = _Gauges(plan, datetime.now(UTC)) if isinstance(plan, Plan) else _of_before(plan)
    if gauges is None:
        return ""
    gauges.verdict(State.COULD_NOT_LOOK)
    return gauges.save()


@contextmanager
def unseen_if_it_fails(plan: Plan | str) -> Iterator[None]:
    """Whatever ends a look before it has a verdict leaves no healthy figure behind; the error goes
    on.

    Also what is wrong with the plan or the parameters: a check that was to run did not.
    """
    try:
        yield
    except BaseException:
        write_unseen(plan)
        raise


def _of_before(path: str) -> _Gauges | None:
    """The gauges of the file that looks by the plan of this path write; None where none did."""
    from prometheus_client.parser import text_string_to_metric_families

    folder = os.environ.get(VARIABLE, "").strip()
    for file in Path(folder).glob("rollout_*.prom") if folder else ():
        try:
            families = text_string_to_metric_families(file.read_text(encoding="utf-8"))
            samples = {sample.name: sample for family in families for sample in family.samples}
        except (OSError, ValueError):
            continue
        known = samples.get(PLAN)
        if known is not None and known.labels["path"] == str(Path(path).resolve()):
            named = SimpleNamespace(
                **{name: known.labels[name] for name in ("rollout", "environment")}, path=path
            )
            every = timedelta(seconds=samples[INTERVAL].value)
            return _Gauges(named, datetime.now(UTC), every)
    return None


class _Gauges:
    """The gauges of one file while they are filled; nothing is imported where nobody wants them."""

    def __init__(self, plan: Any, at: datetime, interval: timedelta | None = None) -> None:
        folder = os.environ.get(VARIABLE, "").strip()
        self.path = (
            Path(folder) / f"rollout_{plan.environment}_{plan.rollout}.prom" if folder else None
        )
        self.labels = {"rollout": plan.rollout, "environment": plan.environment}
        self.plan = plan
        self.known: dict[str, Any] = {}
        if self.path is not None:
            from prometheus_client import CollectorRegistry

            self.registry = CollectorRegistry()
        self.one(
            "rollout_last_run_timestamp_seconds",
            "When a look last ended, whatever it saw.",
            at.timestamp(),
        )
        interval = interval or plan.monitoring.interval
        self.one(INTERVAL, "A scheduled check each.", interval.total_seconds())
        self.one(
            PLAN, "The plan's file on this machine: 1.", 1, path=str(Path(plan.path).resolve())
        )

    def one(self, name: str, words: str, value: float, **more: str) -> None:
        if self.path is None:
            return
        from prometheus_client import Gauge

        labels = self.labels | more
        if name not in self.known:
            self.known[name] = Gauge(name, words, list(labels), registry=self.registry)
        self.known[name].labels(**labels).set(value)

    def verdict(self, overall: State, **columns: State) -> None:
        """One series a state, 1 for the one that is."""
        for by, found in {"overall": overall, **columns}.items():
            for state in STATES:
                self.one(
                    "rollout_verdict",
                    "The verdict of the last look: 1.",
                    int(state is found),
                    by=by,
                    state=state.value,
                )

    def slots(
        self,
        facts: Facts,
        standing: Standing,
        at: datetime,
        slot: datetime | None,
        routing: tuple[Decimal, bool] | None,
    ) -> None:
        """How late the last scheduled check was, and when the next one is due (absent while routing
        is off).
        """
        interval = self.plan.monitoring.interval
        done = [
            (entry.at, entry.slot)
            for entry in facts.entries
            if entry.at is not None and entry.kind == "checkpoint" and entry.slot
        ]
        last = done[-1] if done else None
        if slot is not None:
            last = (at, slot)
        if last is not None:
            late = (last[0] - last[1]).total_seconds()
            self.one(
                "rollout_slot_lateness_seconds",
                "How long after its slot the last check looked.",
                late,
            )
        if routing is None or not routing[1] or standing.phase is None:
            return
        accounted = [*standing.slots_done, *standing.slots_missed, *([slot] if slot else [])]
        due = max(accounted, default=slot_of(standing.phase.began_at, interval)) + interval
        self.one(
            "rollout_next_slot_timestamp_seconds",
            "When the next scheduled check is due.",
            due.timestamp(),
        )

    def traffic(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The literal window, per domain and in total; a rate without a request is absent."""
        for row in rows:
            where = {"domain": row["domain"], "destination": row["routed_to"]}
            self.one("rollout_requests", "Requests in the last window.", row["requests"], **where)
            self.one(
                "rollout_errors", "Failed requests in the last window.", row["errors"], **where
            )
            if row["requests"]:
                rate = row["errors"] / row["requests"]
                self.one(
                    "rollout_error_ratio",
                    "Failed requests by requests in the last window.",
                    rate,
                    **where,
                )
            if row["p95_ms"] is not None:
                self.one(
                    "rollout_p95_seconds",
                    "95th percentile of the latency.",
                    row["p95_ms"] / 1000,
                    **where,
                )

    def save(self) -> str:
        """Replace the file; the last success of the file before is kept where this look is none."""
        if self.path is None:
            return ""
        try:
            if SUCCESS not in self.known and (before := _last_success(self.path)) is not None:
                self.one(SUCCESS, "When a look last saw what it had to see.", before)
            _replace(self.path, self.registry)
        except OSError as error:
            return f"metrics were not written: {self.path}: {error}"
        return ""


def _replace(path: Path, registry: Any) -> None:
    """The file whole or not at all, and readable by whoever collects it, whatever our umask is."""
    from prometheus_client import generate_latest

    part = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with open(part, "wb") as file:
            file.write(generate_latest(registry))
            os.fchmod(file.fileno(), 0o644)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _last_success(path: Path) -> float | None:
    """What the file says of it; None where there is no file, or one that is none of ours: it is
    replaced.
    """
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None
    return next(
        (
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == SUCCESS
        ),
        None,
    )


def _e(log_value: float) -> float:
    return math.exp(min(log_value, _LARGEST))
