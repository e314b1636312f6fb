"""A protected webhook's uptime: what the named checks of runs say of it, counted in one place.
Pure.

A run asks an endpoint (`protected:mobility`) and reads the webhook's own rows (`rows of mobility`);
both count in a check of the schedule, a tripwire's entry, a person's extra check and an evaluation,
and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from rollout_lib.model import Check, CheckKind, Checkpoint, Outcome, Uptime

WHOLE = "protected webhooks 100 % up"  # the runbook's check of a phase: the worst of them
COUNTED = ("monitor", "evaluate")  # the operations of which a webhook's uptime is made


def said_in(run: Checkpoint) -> tuple[Check, ...]:
    """The checks of a run that counts; none of any other."""
    return run.verdict.checks if run.operation in COUNTED and run.verdict else ()


def probes(checks: Iterable[Check]) -> Iterator[tuple[str, Outcome]]:
    """Each endpoint that was asked, with what it came to."""
    for check in checks:
        if check.kind is CheckKind.PROBE:
            yield check.subject, check.outcome


def counted(
    known: Mapping[str, Uptime], checks: Iterable[Check], at: str = ""
) -> dict[str, Uptime]:
    """Each webhook's tally with the checks of one more run; `at` is the instant that they are of,
    as ISO text.
    """
    after, checks = dict(known), list(checks)
    for name, outcome in probes(checks):
        after[name] = _asked(after.get(name, Uptime()), outcome)
    for check in checks:
        if check.kind is CheckKind.ROWS and check.outcome is Outcome.FAIL:
            before = after.get(check.subject, Uptime())
            after[check.subject] = replace(before, failing_at=(*before.failing_at, at))
    return after


def with_run(
    known: Mapping[str, Uptime], run: Checkpoint, *, failed_only: bool = False
) -> dict[str, Uptime]:
    """Each webhook's tally with what one more run asked and read; failed_only: its good news is
    not counted.
    """
    said = [item for item in said_in(run) if not failed_only or item.outcome is Outcome.FAIL]
    return counted(known, said, (run.slot or run.at).isoformat())


def over(runs: Iterable[Checkpoint]) -> dict[str, Uptime]:
    """Each webhook's tally over some runs, oldest first."""
    tally: dict[str, Uptime] = {}
    for run in runs:
        tally = with_run(tally, run)
    return tally


def together(one: Uptime, later: Uptime) -> Uptime:
    """Two spans as one, the later one last."""
    return Uptime(
        answered=one.answered + later.answered,
        failed=one.failed + later.failed,
        unseen=one.unseen + later.unseen,
        in_a_row=later.in_a_row,
        failing_at=one.failing_at + later.failing_at,
    )


def words(seen: Uptime) -> str:
    """`57 of 57 probes answered, 2 unseen`; `not probed` where nobody asked it."""
    asked = seen.answered + seen.failed
    said = [f"{seen.answered:,} of {asked:,} probes answered"] if asked else []
    said += [f"{seen.unseen:,} unseen"] if seen.unseen else []
    said = said or ["not probed"]
    failing = len(seen.failing_at)
    said += (
        [f"its own rows failed at {failing:,} check{'s' if failing > 1 else ''}"] if failing else []
    )
    return ", ".join(said)


def _asked(seen: Uptime, outcome: Outcome) -> Uptime:
    """One more probe; a WARN failed first and then answered."""
    return replace(
        seen,
        answered=seen.answered + (outcome in (Outcome.PASS, Outcome.WARN)),
        failed=seen.failed + (outcome in (Outcome.FAIL, Outcome.WARN)),
        unseen=seen.unseen + (outcome is Outcome.COULD_NOT_LOOK),
        in_a_row={Outcome.FAIL: seen.in_a_row + 1, Outcome.COULD_NOT_LOOK: seen.in_a_row}.get(
            outcome, 0
        ),
    )
