"""The checks that come before any rate: leak, drift, stale or missing data. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from rollout_lib.judgement.legal import LOWEST_STEP, adopts, is_above_line, legal_line
from rollout_lib.judgement.log import sight_check
from rollout_lib.judgement.state import phase_index
from rollout_lib.model import (
    UNIFIED,
    Check,
    CheckKind,
    Health,
    Look,
    Measurement,
    Outcome,
    RoutingConfig,
    Standing,
    State,
)
from rollout_lib.plan.schema import Plan
from rollout_lib.redaction import redact

EXPECTED_BEFORE_ALARM = 7  # unified rows: none of 7 expected has a probability of 0.1 %


def leak_check(config: RoutingConfig | None, measurement: Measurement, plan: Plan) -> Check:
    """Only the plan's domains may reach unified, in the configuration and in the rows."""
    strange = sorted(set(config.domains) - set(plan.domains)) if config else []
    leak = measurement.leak
    wanted = f"only {', '.join(plan.domains)}"
    if leak.rows or (strange and config and config.enabled):
        rows = "1 row" if leak.rows == 1 else f"{leak.rows:,} rows"
        seen = f"{rows} of {', '.join(leak.domains)}" if leak.rows else "no row yet"
        listed = f"; the configuration lists {', '.join(strange)}" if strange else ""
        reason = f"Leak: {seen} routed to unified{listed}. Routing goes off, whatever the sample."
        return _check(CheckKind.LEAK, Outcome.FAIL, seen + listed, wanted, reason, State.ROLL_BACK)
    if config is not None and not config.domains:
        reason = "The configuration lists no domain; an empty list never means everything."
        return _check(CheckKind.LEAK, Outcome.FAIL, "no domain", wanted, reason, State.HOLD)
    reason = "No row of another domain went to unified since the phase began."
    return _check(CheckKind.LEAK, Outcome.PASS, "0 rows", wanted, reason)


def drift_check(config: RoutingConfig, standing: Standing, plan: Plan) -> Check:
    """Configuration and ledger agree; lowered by hand is accepted, raised by hand never is.

    Above what the ledger made legal is STEP_BACK for as long as it is so, whatever has passed."""
    now = f"{config.percentage:g} %, {'enabled' if config.enabled else 'disabled'}"
    known, notes = standing.last_change, config.notes or "none"
    if known is None:
        wanted = "not enabled before the first change"
        if not config.enabled:
            return _check(
                CheckKind.DRIFT,
                Outcome.PASS,
                now,
                wanted,
                "Routing is off and the ledger knows no change.",
            )
        reason = f"Routing is at {now} and no entry of the ledger says who did it (notes: {notes})."
        return _check(CheckKind.DRIFT, Outcome.FAIL, now, wanted, reason, State.STEP_BACK)
    wanted = f"{known[1]:g} %, {'enabled' if known[2] else 'disabled'}"
    if is_above_line(config, standing):
        reason = f"Raised by hand from {wanted} to {now} (notes: {notes}). "
        reason += f"The ledger made at most {legal_line(standing):g} % legal: step back."
        return _check(CheckKind.DRIFT, Outcome.FAIL, now, wanted, reason, State.STEP_BACK)
    if (config.percentage, config.enabled) == (known[1], known[2]):
        return _check(CheckKind.DRIFT, Outcome.PASS, now, wanted, "Configuration and ledger agree.")
    if adopts(config.percentage, config.enabled, known):
        off_plan = config.enabled and config.percentage > 0 and _off_plan(config.percentage, plan)
        reason = f"Lowered by hand, or by a run that could not record it, from {wanted} to {now} "
        reason += f"(notes: {notes}): "
        if off_plan:
            reason += "recorded; the percentage is off the plan, so nothing may be raised from it."
            return _check(CheckKind.DRIFT, Outcome.FAIL, now, wanted, reason, State.HOLD)
        return _check(CheckKind.DRIFT, Outcome.WARN, now, wanted, reason + "accepted and recorded.")
    reason = f"Edited by hand from {wanted} to {now} (notes: {notes}). "
    reason += "Nobody recorded it: hold until a person has looked."
    return _check(CheckKind.DRIFT, Outcome.FAIL, now, wanted, reason, State.HOLD)


def _off_plan(percentage: Decimal, plan: Plan) -> bool:
    return phase_index(plan, percentage) is None and percentage != LOWEST_STEP


def ledger_check(standing: Standing) -> Check:
    """Can every entry of the ledger be read? One that cannot holds whatever would raise."""
    if not standing.unreadable:
        return _check(
            CheckKind.LEDGER, Outcome.PASS, "all read", "every entry", "Every entry was read."
        )
    reason, command = unreadable_words(standing)
    observed = f"{len(standing.unreadable):,} cannot be read"
    check = _check(CheckKind.LEDGER, Outcome.FAIL, observed, "every entry", reason, State.HOLD)
    return replace(check, mend=command)


def head_check(standing: Standing) -> Check:
    """Is this the ledger that was last seen here? One that went back in time has forgotten what
    came after, a rollback among it: nothing is raised, and nothing lowered for that alone.
    """
    wanted = "the head last copied here"
    if not standing.restored:
        return _check(CheckKind.HEAD, Outcome.PASS, "kept", wanted, "It is the ledger seen before.")
    check = _check(
        CheckKind.HEAD, Outcome.FAIL, "not there", wanted, restored_words(standing), State.HOLD
    )
    return replace(check, mend=_ACCEPT)


_ACCEPT = "rollout acknowledge --restored --reason '…'"


def restored_words(standing: Standing) -> str:
    """What is not there, and what a named person can do about it."""
    return f"{standing.restored}. Look at what happened since; a named person accepts it: {_ACCEPT}"


def unreadable_words(standing: Standing) -> tuple[str, str]:
    """Which entries cannot be read, why the first, and what sets them aside; the command alone."""
    first, more = standing.unreadable[0], len(standing.unreadable) - 1
    also = f", and {more:,} more" if more else ""
    numbers = ",".join(str(entry.seq) for entry in standing.unreadable[:12])
    command = f"rollout acknowledge --unreadable {numbers} --reason '…'"
    what = f"Ledger entry #{first.seq} ({first.kind} {first.operation}) cannot be read{also}: "
    what += f"{first.why.rstrip('.')}. Nothing is raised until a named person sets it aside: "
    return redact(what) + command, command


def digest_check(standing: Standing, plan: Plan) -> Check:
    """The plan must not change while a phase runs: its thresholds are what the
    phase is judged by.
    """
    began_with = standing.plan_digest
    if began_with in (None, "", plan.digest):
        return _check(
            CheckKind.PLAN,
            Outcome.PASS,
            plan.digest,
            "unchanged in the phase",
            "The plan is unchanged.",
        )
    reason = f"The plan was edited in this phase: {began_with} when it began, {plan.digest} now. "
    reason += "Restore it, or begin the phase anew: rollout change --to <same> --again --reason …"
    return _check(CheckKind.PLAN, Outcome.FAIL, plan.digest, str(began_with), reason, State.HOLD)


def data_check(
    config: RoutingConfig,
    measurement: Measurement,
    standing: Standing,
    plan: Plan,
    looks: Sequence[Look] = (),
) -> Check:
    """Are there rows at all, and does unified log what it should, in total and of each domain?

    Missing data is neither good nor bad. looks are the phase's, this check's own last."""
    wanted = f"unified rows as configured ({config.percentage:g} %)"
    blind = sight_check(measurement, plan, wanted)
    if blind is not None:
        return blind
    share = config.percentage / 100
    legacy = measurement.legacy_since_unified
    began = standing.phase.began_at if standing.phase else measurement.hour.window.start
    since = measurement.last_unified_at or began
    minutes = max((measurement.as_of - since).total_seconds() / 60, 0)
    if share >= 1:
        per_hour = sum(plan.expected_requests_per_hour.values())
        expected = per_hour * minutes / 60
    else:
        expected = float(legacy * share / (1 - share))
    rows = sum(cell.requests for cell in measurement.window.cells if cell.routed_to == UNIFIED)
    if expected >= EXPECTED_BEFORE_ALARM:
        reason = f"0 unified requests in {minutes:.0f} min, {expected:,.0f} expected: "
        reason += "routing, unified or logging is broken."
        return _check(CheckKind.DATA, Outcome.FAIL, "0 unified", wanted, reason, State.NO_DATA)
    silent = _silent_domain(looks, float(share), plan)
    if silent is not None:
        name, expected, minutes = silent
        reason = f"0 unified requests of {name} in {minutes:.0f} min, {expected:,.0f} expected: "
        reason += "its routing, its handler or its logging is broken."
        return _check(CheckKind.DATA, Outcome.FAIL, f"0 of {name}", wanted, reason, State.NO_DATA)
    if rows == 0:
        reason = (
            f"Quiet: 0 unified requests in the window, {expected:.1f} expected since the last one."
        )
        return _check(
            CheckKind.DATA, Outcome.COULD_NOT_LOOK, "0 unified", wanted, reason, State.QUIET
        )
    return _check(
        CheckKind.DATA,
        Outcome.PASS,
        f"{rows:,} unified",
        wanted,
        f"{rows:,} unified rows in the window.",
    )


def _silent_domain(
    looks: Sequence[Look], share: float, plan: Plan
) -> tuple[str, float, float] | None:
    """The domain that most of unified's rows are missing of: (name, expected, minutes), if any is.

    By the looks since its last row, so that a domain is asked as often as the total, and a little
    more is expected before an alarm than of the total alone."""
    if not 0 < share < 1:
        return None
    worst = None
    for name in plan.domains:
        legacy, since = 0, None
        for look in reversed(looks):
            if look.errors[name].total:
                break
            legacy, since = legacy + look.legacy_domains.get(name, 0), look.window.start
        expected = legacy * share / (1 - share)
        enough = EXPECTED_BEFORE_ALARM + math.log(len(plan.domains))
        if since is not None and expected >= enough and (worst is None or expected > worst[1]):
            worst = (name, expected, (looks[-1].window.end - since).total_seconds() / 60)
    return worst


# What a row of check_routing_health() may say, by the runbook's words and the deployed system's.
_WELL = {"ok", "healthy", "pass", "good"}
_BADLY = {
    "investigate",
    "warning",
    "rollback",
    "critical",
    "unhealthy",
    "degraded",
    "error",
    "fail",
}
_SILENT = {"no data", "quiet", "idle"}


def health_check(health: Health, ours: State) -> Check:
    """Does the runbook's check_routing_health() agree with our reading of the same hour?

    The runbook's answers by `status`, the deployed system's by `is_healthy` and `issue`. Unhealthy
    is at least WATCH, whatever we see; what it says in other words is shown, and not compared."""
    kind, wanted = CheckKind.HEALTH, ours.words
    if health.failed:
        return _check(kind, Outcome.COULD_NOT_LOOK, "no answer", wanted, health.reason)
    if health.rows is None:
        return _check(kind, Outcome.NOT_APPLICABLE, "not asked", wanted, health.reason)
    rows = _unwrapped(health.rows)
    said = [_word(row) for row in rows]
    issues = "; ".join(dict.fromkeys(filter(None, map(_issue, rows))))
    if "not ok" not in said and (not said or "unknown" in said):
        shown = redact(str([dict(row) for row in rows])) if rows else "no row"
        reason = f"Its answer has another shape here and is shown, not compared: {shown}."
        return _check(kind, Outcome.COULD_NOT_LOOK, shown, wanted, reason)
    theirs = next(word for word in ("not ok", "no data", "ok") if word in said)
    mine = {State.CLEAN: "ok", State.QUIET: "no data"}.get(ours, "not ok")
    reason = f"check_routing_health() says {theirs}, this suite {mine}, of the unclipped last hour."
    reason += f" It says: {issues}" if issues else ""
    outcome = Outcome.PASS if theirs == mine else Outcome.WARN
    state = State.WATCH if theirs == "not ok" else None
    return _check(kind, outcome, f"{theirs}: {issues}" if issues else theirs, mine, reason, state)


def _unwrapped(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows, also where the function returns one JSON value or a boolean."""
    found: list[Mapping[str, Any]] = []
    for row in rows:
        value = row.get("check_routing_health", row)
        many = value if isinstance(value, list) else [value]
        found += [v if isinstance(v, Mapping) else {"is_healthy": v} for v in many]
    return found


def _word(row: Mapping[str, Any]) -> str:
    """Return "ok", "no data", "not ok" or "unknown"."""
    for key in ("is_healthy", "healthy"):
        if key in row:
            return "ok" if row[key] is True else "not ok" if row[key] is False else "unknown"
    status = str(row.get("status", "")).lower()
    if status in _BADLY:
        return "not ok"
    return "ok" if status in _WELL else "no data" if status in _SILENT else "unknown"


def _issue(row: Mapping[str, Any]) -> str:
    """What it gives as the reason, redacted; "" where it gives none."""
    value = row.get("issue") or row.get("issues") or row.get("message") or ""
    return redact(value if isinstance(value, str) else str(value))


def _check(
    kind: CheckKind | str,
    outcome: Outcome,
    observed: str,
    wanted: str,
    reason: str,
    state: State | None = None,
) -> Check:
    known = kind if isinstance(kind, CheckKind) else CheckKind.OTHER
    return Check(
        name="check_routing_health" if known is CheckKind.HEALTH else str(kind),
        outcome=outcome,
        observed=observed,
        limit=wanted,
        reason=reason,
        state=state,
        kind=known,
    )
