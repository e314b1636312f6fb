"""Protected webhooks: are they up? By their probes, by their own rows, and over a whole phase.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from rollout_lib.judgement.uptime import WHOLE, counted
from rollout_lib.model import (
    ROUTER_ERROR,
    UNIFIED,
    Cell,
    Check,
    CheckKind,
    Counts,
    Finding,
    FindingKind,
    Measurement,
    Outcome,
    Probe,
    Standing,
    State,
    Traffic,
    Uptime,
    Verdict,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.text import rate

DOWN_AFTER = 2  # failed probes in a row, whichever runs they belong to
FEWEST = 3  # distinct failing webhooks: fewer are their senders' trouble, not the function's


def protected_checks(
    probes: Sequence[Probe], plan: Plan, known: Mapping[str, Uptime] | None = None
) -> tuple[Check, ...]:
    """Each endpoint answers. Two failed probes in a row, with our own network proven, switch
    routing off.

    known: what the ledger knows of the phase's earlier probes; the row may have begun in an earlier
    run."""
    asked = [probe for probe in probes if probe.kind == "protected"]
    proven = _network_is_proven(probes)
    if asked:
        return tuple(
            _answers(probe, (known or {}).get(probe.name, Uptime()), proven) for probe in asked
        )
    reason = "No protected endpoint is configured in the plan (probes.protected): could not look."
    if plan.probes.protected:
        reason = "Nobody asked the protected endpoints in this run."
    return (
        _check((CheckKind.NOT_PROBED, ""), Outcome.NOT_APPLICABLE, "not asked", "answers", reason),
    )


def _network_is_proven(probes: Sequence[Probe]) -> bool:
    """Did our own network answer, each time that it was asked? Without a witness nobody knows."""
    witness = [probe.up for probe in probes if probe.kind == "witness"]
    return bool(witness) and all(witness)


def failed_once(probes: Sequence[Probe]) -> frozenset[str]:
    """The protected endpoints that a second probe would call down: they failed, and our own network
    did not.
    """
    failed = frozenset(
        probe.name for probe in probes if probe.kind == "protected" and probe.up is False
    )
    return failed if _network_is_proven(probes) else frozenset()


def _answers(probe: Probe, before: Uptime, proven: bool) -> Check:
    name, wanted = (CheckKind.PROBE, probe.name), "answers"
    if probe.up:
        if probe.failures:
            reason = f"{probe.name} answers again ({probe.detail}); a probe of this run had failed."
            return _check(name, Outcome.WARN, "answers again", wanted, reason, State.WATCH)
        again = " again, after a failed probe" if before.in_a_row else ""
        return _check(
            name, Outcome.PASS, f"answers{again}", wanted, f"{probe.detail}. {_so_far(before)}"
        )
    if probe.up is not False or not proven:
        reason = (
            f"{probe.name}: {probe.detail}. Our own network is not proven, so this is not called"
            " down."
        )
        return _check(
            name, Outcome.COULD_NOT_LOOK, "no answer", wanted, reason, State.COULD_NOT_LOOK
        )
    row = before.in_a_row + probe.failures
    if row >= DOWN_AFTER:
        reason = f"{probe.name} failed {row} probes in a row while our own network answers: "
        reason += f"{probe.detail}. Protected webhooks affected: routing goes off."
        return _check(name, Outcome.FAIL, f"down, {row} in a row", wanted, reason, State.ROLL_BACK)
    reason = f"{probe.name} failed a probe while our own network answers: {probe.detail}. "
    reason += "A second one in a row switches routing off."
    return _check(name, Outcome.FAIL, "failed once", wanted, reason, State.HOLD)


def _so_far(before: Uptime) -> str:
    answered, asked = before.answered + 1, before.answered + before.failed + 1
    return f"{answered:,} of {asked:,} probes of this phase were answered."


def rows_checks(protected: Mapping[str, Counts]) -> tuple[Check, ...]:
    """What the log says of each protected domain since the last check, whoever else can be asked.

    protected: a look's own webhooks of each, late ones included."""
    return tuple(_rows_check(name, counts) for name, counts in protected.items())


def _untouched(traffic: Traffic, domain: str) -> list[Cell]:
    """The rows that did not go to unified: those are the leak's."""
    return [cell for cell in traffic.cells if cell.domain == domain and cell.routed_to != UNIFIED]


def _rows_check(domain: str, counts: Counts) -> Check:
    name, wanted = (CheckKind.ROWS, domain), "none fails"
    if not counts.total:
        return _check(
            name,
            Outcome.NOT_APPLICABLE,
            "no row",
            wanted,
            f"No {domain} webhook since the last check.",
        )
    observed = f"{rate(counts.bad, counts.total)} failed"
    if not counts.bad:
        reason = f"All {counts.total:,} webhooks of {domain} were served."
        return _check(name, Outcome.PASS, observed, wanted, reason)
    if counts.bad >= FEWEST and 2 * counts.bad >= counts.total:
        reason = (
            f"{domain}'s own webhook failed {counts.bad:,} of {counts.total:,}. None of it is"
            " routed, so switching routing "
        )
        reason += "off may not mend it; nothing is raised while it lasts."
        return _check(name, Outcome.FAIL, observed, wanted, reason, State.HOLD)
    reason = (
        f"{domain}'s own webhook failed {counts.bad:,} of {counts.total:,}: too few to call it"
        " down."
    )
    return _check(name, Outcome.WARN, observed, wanted, reason)


def _is_down(cells: Sequence[Cell]) -> bool:
    rows, errors = sum(cell.requests for cell in cells), sum(cell.errors for cell in cells)
    return sum(cell.failing or 0 for cell in cells) >= FEWEST and 2 * errors >= rows


def uptime_checks(
    slot: Verdict, standing: Standing, measurement: Measurement, plan: Plan
) -> tuple[Check, ...]:
    """Uptime over the phase: one named check a protected webhook, and the runbook's, which is the
    worst of them.
    """
    # This run's own are not on the ledger yet.
    mine = [check for check in slot.checks if check.kind is CheckKind.PROBE]
    tallies = counted(standing.protected, mine)
    each = [
        _uptime(name, tallies.get(name, Uptime()), measurement, plan)
        for name in plan.protected_domains
    ]
    leak = next((check for check in slot.checks if check.kind is CheckKind.LEAK), None)
    wanted = "100 % and no leak"
    if leak is None or leak.outcome is not Outcome.PASS:
        reason = leak.reason if leak else "the leak check is missing"
        whole = _check(
            (CheckKind.PROTECTED, ""), Outcome.FAIL, "touched", wanted, reason, State.HOLD
        )
    else:
        order = (Outcome.FAIL, Outcome.COULD_NOT_LOOK, Outcome.PASS)
        worst = min(each, key=lambda check: order.index(check.outcome))
        reason = "; ".join(
            check.reason.rstrip(".") for check in each if check.outcome is worst.outcome
        )
        whole = replace(
            worst,
            name=WHOLE,
            kind=CheckKind.PROTECTED,
            subject="",
            limit=wanted,
            reason=f"{reason}. No row of them went to unified.",
        )
    return (whole, *each)


def _uptime(domain: str, tally: Uptime, measurement: Measurement, plan: Plan) -> Check:
    """100 % is required: no failed probe, none unseen, no check that found it down, every webhook
    handed over.
    """
    name, wanted = (CheckKind.UPTIME, domain), "100 %"
    cells = _untouched(measurement.phase or measurement.window, domain)
    rows, errors = sum(cell.requests for cell in cells), sum(cell.errors for cell in cells)
    nowhere = sum(cell.requests for cell in cells if cell.routed_to == ROUTER_ERROR)
    asked = tally.answered + tally.failed
    probes = f"{tally.answered:,} of {asked:,} probes" if asked else "not probed"
    words = f"{domain}: {probes} answered" if asked else f"{domain}: {probes}"
    words += (
        f", {rows - nowhere:,} of {rows:,} webhooks handed over, {errors - nowhere:,} of them"
        " failed"
    )
    observed = f"not probed, {rows:,} rows of its own, {errors - nowhere:,} of them failed"
    if asked:
        observed = f"{100 * tally.answered / asked:.4g} % ({probes})"
    observed += f", {nowhere:,} webhooks not handed over" if nowhere else ""
    if tally.failing_at:
        when = ", ".join(
            f"{datetime.fromisoformat(at).astimezone(plan.zone):%H:%M}"
            for at in tally.failing_at[:4]
        )
        more = f" and {len(tally.failing_at) - 4:,} more" if len(tally.failing_at) > 4 else ""
        observed += f", down by its own rows at {when}{more}"
        words += f", down by its own rows at the checks of {when}{more}"
    if tally.failed or tally.failing_at or nowhere or _is_down(cells):
        reason = f"{words}. 100 % is required: mend it, then begin the phase anew with "
        reason += "rollout change --to <same> --again --reason …"
        return _check(name, Outcome.FAIL, observed, wanted, reason, State.HOLD)
    found = Finding(
        kind=FindingKind.UPTIME,
        subject=domain,
        figures={
            "unseen": tally.unseen,
            "not probed": not asked,
            "errors": errors,
            "no row": not rows,
        },
    )
    if not asked and sum(cell.failing or 0 for cell in cells) >= FEWEST and 20 * errors >= rows:
        reason = (
            f"{words}, and nobody probed it: an outage for a part of the phase is not ruled out."
        )
        return _check(
            name, Outcome.COULD_NOT_LOOK, observed, wanted, reason, State.INCONCLUSIVE, found
        )
    if tally.unseen or (domain in plan.probes.protected and not asked) or not (asked or rows):
        reason = (
            f"{words}; {tally.unseen:,} probes could not tell its network from ours: not shown to"
            " be 100 %."
        )
        return _check(
            name, Outcome.COULD_NOT_LOOK, observed, wanted, reason, State.INCONCLUSIVE, found
        )
    return _check(name, Outcome.PASS, observed, wanted, f"{words}.")


def is_news(checks: Sequence[Check], known: Mapping[str, Uptime]) -> bool:
    """Does an endpoint fail that answered until now, or answer again? The next probe must find it
    on the ledger.
    """
    for check in checks:
        if check.kind is CheckKind.PROBE and check.outcome in (Outcome.PASS, Outcome.FAIL):
            failing = known.get(check.subject, Uptime()).in_a_row > 0
            if failing is (check.outcome is Outcome.PASS):
                return True
    return False


_LABELS = {
    CheckKind.NOT_PROBED: "protected",
    CheckKind.PROBE: "protected:{}",
    CheckKind.ROWS: "rows of {}",
    CheckKind.UPTIME: "uptime:{}",
    CheckKind.PROTECTED: WHOLE,
}


def _check(
    about: tuple[CheckKind, str],
    outcome: Outcome,
    observed: str,
    limit: str,
    reason: str,
    state: State | None = None,
    finding: Finding | None = None,
) -> Check:
    kind, subject = about
    return Check(
        name=_LABELS[kind].format(subject),
        outcome=outcome,
        observed=observed,
        limit=limit,
        reason=reason,
        state=state,
        finding=finding,
        kind=kind,
        subject=subject,
    )
