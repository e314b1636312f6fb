"""May the percentage rise? Every named gate with its reason. Pure: lowering never comes through
here.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from rollout_lib.judgement.legal import LOWEST_STEP, NONE, legal_line, share_of
from rollout_lib.judgement.safety import restored_words, unreadable_words
from rollout_lib.judgement.state import held_until, phase_index
from rollout_lib.judgement.timeline import slots_of
from rollout_lib.model import Attestation, Gate, RoutingConfig, Standing, State
from rollout_lib.plan.schema import Plan
from rollout_lib.text import span


def plan_step_back(plan: Plan, percentage: Decimal) -> Decimal | None:
    """The next percentage down: an earlier phase's, then 5 %, then None, which means disable."""
    lower = [phase.percentage for phase in plan.phases if phase.percentage < percentage]
    if lower:
        return max(lower)
    return LOWEST_STEP if percentage > LOWEST_STEP else None


def step_back_target(plan: Plan, standing: Standing, percentage: Decimal) -> Decimal | None:
    """Return where a step back from `percentage` leads; None means disable.

    It is a planned percentage below it, at most what the ledger made legal and at most the highest
    phase passed since the last rollback or restart; the lowest step needs nothing to have passed.
    So what somebody raised by hand is never a rung of the way down. A ledger that went back in time
    has forgotten what it made illegal since: from there the only step is off."""
    if standing.restored:
        return None
    line, passed = legal_line(standing), standing.highest_passed or NONE
    down = plan_step_back(plan, percentage)
    while down is not None and not (down <= line and (down <= passed or down == LOWEST_STEP)):
        down = plan_step_back(plan, down)
    return down


def passed_target(plan: Plan, standing: Standing, percentage: Decimal) -> Decimal | None:
    """Return the highest phase below `percentage` that passed since the last rollback or restart
    and is legal by the ledger; None means disable.
    """
    if standing.restored or standing.highest_passed is None:
        return None
    most = min(legal_line(standing), standing.highest_passed)
    below = [one.percentage for one in plan.phases if one.percentage < percentage]
    return max((one for one in below if one <= most), default=None)


def next_percentage(plan: Plan, percentage: Decimal) -> Decimal | None:
    """The next phase of the plan above a percentage; None above the last one."""
    higher = [phase.percentage for phase in plan.phases if phase.percentage > percentage]
    return min(higher) if higher else None


def known_percentages(plan: Plan) -> tuple[Decimal, ...]:
    """Where routing may be set: the plan's phases upwards, and 5 and 0 downwards
    as in the runbook.
    """
    return (Decimal(0), Decimal(5), *(phase.percentage for phase in plan.phases))


def off_the_plan(plan: Plan, to: Decimal) -> str:
    """Why a percentage cannot be asked for; "" where it can."""
    if to.is_finite() and to in known_percentages(plan):
        return ""
    words = ", ".join(f"{phase.percentage:g}" for phase in plan.phases)
    return f"to: {to} is not in the plan; it has {words} (and 5 and 0, downwards)"


def lowers(config: RoutingConfig, standing: Standing, to: Decimal) -> bool:
    """Would less traffic go to unified, and no more than the ledger made legal? That asks no gate,
    and nothing of the log. Below what somebody raised by hand can still be above the line.
    """
    if to == 0:
        return True
    return config.enabled and to < config.percentage and to <= legal_line(standing)


def may_raise(
    *,
    plan: Plan,
    config: RoutingConfig,
    standing: Standing,
    target: Decimal,
    now: datetime,
    operator: str,
    typed_environment: str,
    again: bool,
    expected: Decimal | None,
    preflight: State | None,
    preflight_found: str = "",
) -> tuple[Gate, ...]:
    """Every gate for raising to `target` (or beginning the same percentage again), met or not.

    preflight_found: which checks of the pre-flight do not pass, for the gate's reason.
    """
    running = standing.phase if config.enabled else None
    # From the lowest step, which is no phase of the plan, the next phase is the first: nothing to
    # have passed.
    first = running is None or (running.percentage == LOWEST_STEP and running.index is None)
    gates = [
        expectation(config, expected),
        _preflight(preflight, preflight_found),
        _next(plan, config, standing, target, again),
        _agrees(config, standing),
        _readable(standing),
        _copied(standing),
        _restart(standing, plan),
        _frozen(plan, now),
        _paused(standing),
        _named(plan, operator, typed_environment),
        _complaints(plan, standing, now),
    ]
    if not first and not again:
        gates += [
            _passed(plan, standing, now),
            _held(plan, standing, now),
            _slots(plan, standing, now),
        ]
    if plan.cool_down is not None:
        gates.append(_cooled(plan.cool_down, standing, now))
    if plan.approvals:
        gates.append(_approved(plan, standing, target, now))
    gates.append(_nothing_stands(standing, running is None, again))
    if not again:
        gates.append(_plan_unchanged(plan, standing, running is None))
    return tuple(gates)


def _gate(name: str, met: bool, reason: str) -> Gate:
    return Gate(name=name, met=met, reason=reason)


def _set(percentage: Decimal, enabled: bool) -> str:
    return f"{percentage:g} %, {'enabled' if enabled else 'disabled'}"


def expectation(config: RoutingConfig, expected: Decimal | None) -> Gate:
    """The one condition of a lowering too: what the caller saw is so still."""
    if expected is None:
        return _gate(
            "expectation", True, "none given: the row is locked and read in this transaction"
        )
    reason = f"the caller expected {expected:g} %, the configuration says {config.percentage:g} %"
    return _gate("expectation", expected == config.percentage, reason)


def _preflight(state: State | None, found: str) -> Gate:
    words = "not taken" if state is None else f"{state.words}, {found}" if found else state.words
    return _gate(
        "pre-flight",
        state is State.PASS,
        f"taken now: {words} (rollout preflight shows each check)",
    )


def _next(
    plan: Plan, config: RoutingConfig, standing: Standing, target: Decimal, again: bool
) -> Gate:
    """One planned phase above what the ledger made legal, and above what is configured."""
    now, line = share_of(config), legal_line(standing)
    if again:
        met = target == now == line and phase_index(plan, target) is not None
        return _gate(
            "next phase", met, f"--again begins {target:g} % anew; routing is at {now:g} %"
        )
    wanted = next_percentage(plan, line)
    on_plan = now in (NONE, LOWEST_STEP) or phase_index(plan, now) is not None
    after = f"the next phase after {line:g} % is " + (
        f"{wanted:g} %" if wanted is not None else "none"
    )
    if not on_plan:
        after = (
            f"{now:g} % is off the plan: nothing is raised from it; step back to a planned"
            " percentage first"
        )
    elif now != line:
        after += f"; {now:g} % is configured, which the ledger did not make so"
    met = on_plan and now == line and target == wanted
    return _gate("next phase", met, f"{target:g} % asked; {after}")


def _agrees(config: RoutingConfig, standing: Standing) -> Gate:
    known = standing.last_change
    if known is None:
        met = not config.enabled and config.percentage == 0
        return _gate(
            "no drift",
            met,
            "before the first raise the configuration is 0 %, disabled; it is "
            + _set(config.percentage, config.enabled),
        )
    met = (config.percentage, config.enabled) == (known[1], known[2])
    reason = f"configuration {_set(config.percentage, config.enabled)}; ledger {_set(*known[1:])}"
    if not met:
        reason += "; a check records what was lowered by hand: rollout monitor"
    return _gate("no drift", met, reason)


def _copied(standing: Standing) -> Gate:
    if not standing.restored:
        return _gate("ledger as last seen", True, "it has the head that was last copied here")
    return _gate("ledger as last seen", False, restored_words(standing))


def _readable(standing: Standing) -> Gate:
    if not standing.unreadable:
        return _gate("ledger readable", True, "every entry of the ledger was read")
    return _gate("ledger readable", False, unreadable_words(standing)[0])


def _restart(standing: Standing, plan: Plan) -> Gate:
    off = standing.rolled_back_at
    if off is None:
        return _gate(
            "no rollback stands", True, "routing was not rolled back since the last phase began"
        )
    given = [item for item in standing.attestations if item.subject == "restart" and item.at >= off]
    if given and given[-1].plan_digest == plan.digest:
        return _gate("no rollback stands", True, f"{given[-1].by} restarts: {given[-1].reason}")
    reason = (
        f"routing was rolled back at {off.astimezone(plan.zone):%a %H:%M %Z}"
        f" ({standing.latched_reason}); "
    )
    reason += "starting again needs a "
    return _gate(
        "no rollback stands",
        False,
        reason + "named person: rollout acknowledge --restart --reason '…'",
    )


def _frozen(plan: Plan, now: datetime) -> Gate:
    for freeze in plan.freezes:
        if freeze.start <= now < freeze.end:
            return _gate(
                "no freeze", False, f"frozen until {freeze.end:%Y-%m-%d %H:%M %Z}: {freeze.reason}"
            )
    return _gate("no freeze", True, "no freeze window is open")


def paused(standing: Standing) -> Attestation | None:
    """The pause that nobody has ended yet: it holds over phases and rollbacks. None without one."""
    said = [item for item in standing.attestations if item.subject in ("pause", "resume")]
    return said[-1] if said and said[-1].subject == "pause" else None


def _paused(standing: Standing) -> Gate:
    pause = paused(standing)
    if pause is None:
        return _gate("not paused", True, "nobody holds the rollout")
    return _gate(
        "not paused",
        False,
        f"{pause.by} holds the rollout: {pause.reason}; rollout resume --reason '…'",
    )


def _cooled(length: timedelta, standing: Standing, now: datetime) -> Gate:
    off = standing.rolled_back_at
    if off is None:
        return _gate("cooled down", True, "routing was not rolled back since the last phase began")
    left = span(off + length - now)
    reason = f"{left} left of {span(length)} since the rollback" if now < off + length else "served"
    return _gate("cooled down", now >= off + length, reason)


def _approved(plan: Plan, standing: Standing, target: Decimal, now: datetime) -> Gate:
    """So many different people, each of this raise: of its percentage, plan, phase and evaluation."""
    began = standing.phase.began_at if standing.phase else None
    since = standing.last_change[0] if standing.last_change else None
    given: dict[str, str] = {}
    for item in standing.attestations:
        of_this = (item.subject, item.value, item.plan_digest, item.phase_began) == (
            "approval",
            f"{target:g}",
            plan.digest,
            began,
        )
        fresh = timedelta(0) <= now - item.at <= plan.monitoring.attestation_valid
        later = item.seq > standing.evaluation_seq and (since is None or item.at >= since)
        if of_this and fresh and later and item.by.strip():
            given[" ".join(item.by.casefold().split())] = item.by
    names = ", ".join(given.values()) or "nobody"
    reason = (
        f"{len(given)} of {plan.approvals} different people since the evaluation: {names}; each:"
        f" rollout approve --to {target:g}"
    )
    return _gate("approvals", len(given) >= plan.approvals, reason)


def _named(plan: Plan, operator: str, typed: str) -> Gate:
    if not operator.strip():
        return _gate(
            "operator",
            False,
            "a raise needs a person's name, not an account or a role: --operator, or"
            " $ROLLOUT_OPERATOR",
        )
    if plan.environment != "production":
        return _gate("operator", True, f"by {operator}")
    if typed == plan.environment:
        return _gate(
            "operator", True, f"by {operator}, who typed the environment's name, {plan.environment}"
        )
    return _gate(
        "operator",
        False,
        f"by {operator}; type the environment's name: --environment {plan.environment}",
    )


def _complaints(plan: Plan, standing: Standing, now: datetime) -> Gate:
    began = standing.phase.began_at if standing.phase else None
    changed = standing.last_change[0] if standing.last_change else None
    stated = [
        item
        for item in standing.attestations
        if item.subject == "complaints"
        and (item.phase_began, item.plan_digest) == (began, plan.digest)
        and (
            changed is None or item.at >= changed
        )  # between phases: not what was said before the rollback
    ]
    if not stated:
        reason = "nobody attested for this phase and plan: rollout attest --complaints none"
        return _gate("no complaints", False, reason)
    last: Attestation = stated[-1]
    age = now - last.at
    fresh = timedelta(0) <= age <= plan.monitoring.attestation_valid
    reason = (
        f"{last.by} attested {last.value} {span(age)} ago (valid for"
        f" {span(plan.monitoring.attestation_valid)})"
    )
    return _gate("no complaints", last.value == "none" and fresh and bool(last.by.strip()), reason)


def _passed(plan: Plan, standing: Standing, now: datetime) -> Gate:
    evaluation = standing.evaluation
    if evaluation is None:
        return _gate(
            "phase passed", False, "the running phase has not been evaluated: rollout evaluate"
        )
    at, state = evaluation
    if standing.revoked:
        return _gate(
            "phase passed", False, f"the pass was revoked by {standing.revoked}; evaluate again"
        )
    fresh = timedelta(0) <= now - at <= plan.monitoring.evaluation_valid
    reason = (
        f"evaluated {state.words} {span(now - at)} ago (valid for"
        f" {span(plan.monitoring.evaluation_valid)})"
    )
    return _gate("phase passed", state is State.PASS and fresh, reason)


def _held(plan: Plan, standing: Standing, now: datetime) -> Gate:
    until = held_until(plan, standing)
    if until is None:
        return _gate(
            "hold served", False, "the running percentage is off the plan; no hold of it ends"
        )
    left = f"{span(until - now)} left" if now < until else "served"
    return _gate(
        "hold served",
        now >= until,
        f"until {until.astimezone(plan.zone):%a %d %b %H:%M %Z}: {left}",
    )


def _slots(plan: Plan, standing: Standing, now: datetime) -> Gate:
    """Since the evaluation, as before it: every scheduled check ran (the open slot has until its
    end).
    """
    if standing.phase is None or standing.evaluation is None:
        return _gate("slots accounted for", False, "there is no evaluated phase")
    since = standing.evaluation[0]
    slots = slots_of(standing.phase.began_at, now, standing.slots_done, plan)
    missing = [slot for slot in slots.missed if slot > since]
    expected = sum(slot > since for slot in slots.expected)
    reason = f"{len(missing)} of {expected} checks since the evaluation are missing"
    return _gate("slots accounted for", not missing, reason)


def _nothing_stands(standing: Standing, first: bool, again: bool) -> Gate:
    """Begun again after a mend, a step back is behind it; what asks for off is not, until it was off."""
    if first or standing.latched is None:
        return _gate("nothing latched", True, "no step back or roll back stands in this phase")
    reason = f"{standing.latched.words} stands since an earlier check: {standing.latched_reason}"
    if again and standing.latched is not State.ROLL_BACK:
        return _gate("nothing latched", True, f"{reason}; begun anew, it is left behind")
    if again:
        reason += "; switch off first: rollout rollback --emergency --reason '…'"
    return _gate("nothing latched", False, reason)


def _plan_unchanged(plan: Plan, standing: Standing, first: bool) -> Gate:
    if first or standing.plan_digest in (None, "", plan.digest):
        return _gate("plan unchanged", True, f"plan {plan.digest[:8]}, as it was")
    reason = (
        f"the phase began under plan {(standing.plan_digest or '')[:8]}, the file is plan"
        f" {plan.digest[:8]} now; begin it --again"
    )
    return _gate("plan unchanged", False, reason)
