"""What named persons state on the ledger: complaints, acknowledgements, extensions, overrides."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from rollout_lib.database.heads import CopiedHead, is_kept, read_head, write_head
from rollout_lib.database.ledger import Facts, append, read_facts
from rollout_lib.database.session import Session
from rollout_lib.errors import CouldNotMeasure, ParameterError
from rollout_lib.judgement.findings import extension, written
from rollout_lib.judgement.gates import paused
from rollout_lib.judgement.persons import is_reason
from rollout_lib.judgement.state import fold, held_until
from rollout_lib.model import Finding, Standing, State, Subject
from rollout_lib.model.record import COMPLAINTS, LONGEST_EXTENSION_S
from rollout_lib.operations.lowering import UNREADABLE, disable, known_now
from rollout_lib.operations.record import Recorded, checkpoint_of, record
from rollout_lib.redaction import redact

LONGEST = timedelta(seconds=LONGEST_EXTENSION_S)
SUBJECTS = tuple(subject.value for subject in Subject)
AUTO = "auto"  # an extension: as long as what is undecided needs


@dataclass(frozen=True, kw_only=True)
class Attested:
    """The entry as it stands on the ledger; a spike of complaints also carries the rollback."""

    subject: str
    value: str
    by: str
    reason: str
    head: tuple[int, str]
    rollback: Recorded | None = None
    covers: tuple[Finding, ...] = ()  # what an acknowledgement is of, by name


def attest(
    session: Session, *, subject: str, value: str, reason: str = "", evaluation: int = 0
) -> Attested:
    """Append a statement of a named person, bound to the plan's digest and the running phase.

    subject: "complaints" (none, some, spike), "acknowledgement" (of an inconclusive evaluation),
    "extension" (value: seconds added to the hold, or "auto": as long as the last evaluation says
    that its findings need), "override" (of legacy's own limits before the start), "restart" (after
    a rollback), "unreadable" (value: numbers of entries to set aside, as "12,15-18"), "restored" (the ledger
    is not the one last seen here), "approval" (value: a percentage of the plan), "pause" and "resume"
    (no raise in between), "note" (what was found; it changes nothing). A spike
    switches routing off first. evaluation: the ledger number of the one that the person read; an
    acknowledgement is refused where another came since (0: of the last). Raises ParameterError.
    """
    problems = []
    if subject not in SUBJECTS:
        problems.append(f"subject: one of {', '.join(SUBJECTS)}, not {subject!r}")
    if subject == "complaints" and value not in COMPLAINTS:
        problems.append(f"complaints: one of {', '.join(COMPLAINTS)}, not {value!r}")
    if subject not in ("complaints", "approval") and not is_reason(reason):
        problems.append("reason: it stands on the ledger beside your name, and must say why")
    if subject == "extension" and value != AUTO:
        problems += _too_long(value)
    if subject == "approval":
        problems += _no_percentage(session, value)
    if evaluation and subject != "acknowledgement":
        problems.append(f"evaluation: only an acknowledgement is of one, not {subject}")
    # Lowering needs no proof: a spike switches off whoever says so.
    if not session.person and value != "spike":
        problems.append(
            f"operator: a statement needs a person's name, not {session.operator!r}: --operator, "
            "or $ROLLOUT_OPERATOR"
        )
    if problems:
        raise ParameterError(problems="\n".join(problems))
    reason = redact(reason)
    rollback = (
        _roll_back(session, reason or value)
        if (subject, value) == ("complaints", "spike")
        else None
    )
    try:
        stated = _append(session, subject, value, reason, evaluation)
    except UNREADABLE as error:
        if rollback is None:
            raise
        done = (
            f"{rollback.checkpoint.sentence}\nIt is done. What was stated is not on the ledger;"
            " state it again"
        )
        raise CouldNotMeasure(f"{done}: {_why(error)}") from None
    return replace(stated, rollback=rollback)


def _no_percentage(session: Session, value: str) -> list[str]:
    """Why nobody can approve this percentage, nothing where they can."""
    known = [f"{phase.percentage:g}" for phase in session.plan.phases]
    if value in known:
        return []
    return [f"to: a percentage of the plan, {', '.join(known)}, not {value!r}"]


def _too_long(value: str) -> list[str]:
    """Why an extension by so many seconds cannot be stated, nothing where it can."""
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        return [f"extension: whole seconds, at least 1, or {AUTO}, not {value!r}"]
    if int(value) > LONGEST.total_seconds():
        most = LONGEST.days * 24
        return [f"extension: at most {most} h at a time, not {int(value) / 3600:,.0f} h"]
    return []


def _why(error: Exception) -> str:
    """Why the ledger did not take it, without what an error says of a run that changed nothing:
    this one has.
    """
    facts = error.facts if isinstance(error, CouldNotMeasure) else {}
    if "missing" in facts:
        return f"the database has no {facts['missing']}."
    words = str(facts.get("reason") or error or type(error).__name__).splitlines()[0]
    return redact(words.removesuffix(" Nothing was left half-done."))


def _append(session: Session, subject: str, value: str, reason: str, evaluation: int) -> Attested:
    copied = read_head(session.database)  # before the ledger, which only grows
    with session.database.transaction(readonly=False) as connection:
        facts = read_facts(connection, session.plan)
        standing = fold(facts.entries, session.plan)
        as_seen = is_kept(connection, copied, facts)
        now = session.now(facts.now)
        empty = _of_nothing(subject, standing) or _of_another(evaluation, standing)
        if empty:
            raise ParameterError(problems=empty)
        if subject == Subject.RESTORED:
            value = _missing_head(session, connection, facts, copied)
        if subject == Subject.UNREADABLE:
            value = _set_aside(value, standing)
        if subject == "extension" and value == AUTO:
            value = _as_long_as_needed(session, standing)
        covers = standing.findings if subject == "acknowledgement" else ()
        body: dict[str, Any] = {
            "subject": subject,
            "value": value,
            "by": session.operator,
            "reason": reason,
            "plan_digest": session.plan.digest,
            "run_id": session.run_id,
        }
        if covers:
            body["findings"] = written(covers)
        head = append(
            connection,
            kind="attestation" if subject == "complaints" else "acknowledgement",
            operation=subject,
            rollout=session.plan.rollout,
            at=now.isoformat(),
            phase_began=standing.phase.began_at.isoformat() if standing.phase else None,
            slot=None,
            run_id=session.run_id,
            body=json.dumps(body, ensure_ascii=False),
        )
    if as_seen or subject == Subject.RESTORED:  # else the restored copy would be the one seen
        write_head(session.database, head)
    return Attested(
        subject=subject, value=value, by=session.operator, reason=reason, head=head, covers=covers
    )


def _missing_head(
    session: Session, connection: Connection, facts: Facts, copied: CopiedHead | None
) -> str:
    """The head that the ledger does not have, as a person accepts it; ParameterError where it has."""
    if copied is None or is_kept(connection, copied, facts):
        raise ParameterError(
            problems="restored: the ledger has the head last copied here; nothing is to be accepted"
        )
    return "unreadable" if copied.trouble else copied.key


def _set_aside(value: str, standing: Standing) -> str:
    """The entries named as "12,15-18", bound to their hashes; ParameterError for one that can be
    read.
    """
    keys = {entry.seq: entry.key for entry in standing.unreadable}
    named: list[int] = []
    for part in value.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if not all(one.isascii() and one.isdigit() for one in (first, last or first)):
            raise ParameterError(problems=f"unreadable: numbers such as 12,15-18, not {value!r}")
        span = range(int(first), int(last or first) + 1)
        named += [seq for seq in keys if seq in span] if last else [int(first)]
    wrong = [f"#{seq}" for seq in named if seq not in keys] or (["nothing"] if not named else [])
    if wrong:
        waits = ", ".join(f"#{seq}" for seq in list(keys)[:12]) or "none"
        raise ParameterError(
            problems=f"unreadable: {', '.join(wrong)} does not wait to be set aside; {waits} does"
        )
    return " ".join(keys[seq] for seq in dict.fromkeys(named))


def _as_long_as_needed(session: Session, standing: Standing) -> str:
    """The seconds by which the hold is to be longer for what the last evaluation left undecided."""
    until = held_until(session.plan, standing)
    evaluated = standing.evaluation
    if until is None or evaluated is None or evaluated[1] is not State.INCONCLUSIVE:
        raise ParameterError(
            problems="extension: no undecided evaluation says how long: rollout evaluate"
        )
    longer = extension(standing.findings, evaluated[0], until, session.plan.monitoring.interval)
    if longer is None:
        raise ParameterError(
            problems="extension: no waiting settles what is undecided; acknowledge it, or begin the"
            " phase anew: rollout change --to <same> --again"
        )
    value = str(round(longer.total_seconds()))
    problems = _too_long(value)
    if problems:
        raise ParameterError(problems="\n".join(problems))
    return value


def _of_another(evaluation: int, standing: Standing) -> str:
    """Why the evaluation that the person read is not the one that counts, "" where it is."""
    last = standing.evaluation_seq
    if evaluation in (0, last):
        return ""
    return (
        f"acknowledgement: the last evaluation is #{last}, not #{evaluation}; read what it names,"
        f" then: rollout acknowledge --evaluation {last} --reason '…'"
    )


def _of_nothing(subject: str, standing: Standing) -> str:
    """Why there is nothing that this statement could be of, "" where there is."""
    if subject == "acknowledgement":
        said = standing.evaluation[1] if standing.evaluation else None
        if said is not State.INCONCLUSIVE:
            found = (
                f"the last evaluation of this phase said {said.words}"
                if said
                else "this phase was not evaluated yet"
            )
            return (
                f"acknowledgement: {found}; only an INCONCLUSIVE one can be acknowledged: rollout"
                " evaluate"
            )
        stands = standing.revoked or (standing.latched and standing.latched.words)
        if stands:
            return (
                f"acknowledgement: since then {stands}; no name covers a hold or an act. Once it is"
                " over: rollout evaluate"
            )
        if not standing.findings:
            return (
                "acknowledgement: the last evaluation names nothing that a name could cover:"
                " rollout evaluate"
            )
    if subject == Subject.RESUME and paused(standing) is None:
        return "resume: nobody holds the rollout"
    if subject == "extension" and standing.phase is None:
        return "extension: no phase is running that could be held longer"
    return ""


def _roll_back(session: Session, why: str) -> Recorded:
    change = disable(session, f"complaints spike: {why}")
    facts, standing = known_now(session)
    checkpoint = checkpoint_of(
        session,
        facts,
        standing,
        operation="rollback",
        state=State.ROLL_BACK,
        exit_code=0,
        sentence=f"Customer complaints spike: routing is disabled. {change.reason}",
        change=change,
    )
    return record(session, facts, checkpoint)
