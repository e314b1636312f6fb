"""Telling people: after the commit, by Apprise, never blocking and never failing the run that
tells.

Addresses are in $ROLLOUT_NOTIFY, one Apprise address a line (or separated by blanks): they hold
tokens, so they are in no plan, no record and no output. Without one nobody is told, and nothing is
written."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from rollout_lib.database.outbox import Message, Onset, claim, note, onsets, remember
from rollout_lib.database.session import Session
from rollout_lib.errors import RolloutError
from rollout_lib.model import Checkpoint
from rollout_lib.notify.onset import LASTS, RANK, Tell, decide
from rollout_lib.notify.render import message_kind, render

VARIABLE = "ROLLOUT_NOTIFY"
# seconds that a run waits for its messages at most; what is not sent by then is tried again
PATIENCE = 10.0
_CONDITION, _ROUTING = "verdict", "routing"


def recipients() -> dict[str, str]:
    """The addresses by fingerprint: what the ledger says of them."""
    addresses = os.environ.get(VARIABLE, "").split()
    return {hashlib.sha256(address.encode()).hexdigest()[:8]: address for address in addresses}


def tell(
    session: Session,
    checkpoint: Checkpoint,
    head: tuple[int, str] | None,
    *,
    lasts: timedelta = LASTS,
) -> list[str]:
    """Tell what this run began, ended or changed, and what earlier runs could not tell.

    Returns one line a message: what was sent, or why it is still to be sent. Never raises for a
    database or a network: the run's own outcome stands, and what could not be sent waits on the
    ledger."""
    known = recipients()
    if not known or head is None:
        return []
    try:
        with session.database.transaction(readonly=False) as connection:
            before = onsets(connection, session.plan.rollout)
            new = _news(session, connection, checkpoint, head, before, lasts)
            new = [replace(message, recipients=tuple(known)) for message in new]
            claimed = claim(connection, session.plan.rollout, new, known)
    except RolloutError as error:
        return [f"nobody was told: {error}"]
    if not claimed:
        return []
    lines: list[str] = []
    worker = threading.Thread(target=_send_all, args=(session, claimed, known, lines), daemon=True)
    worker.start()
    worker.join(PATIENCE)
    return (
        list(lines)
        if not worker.is_alive()
        else [*lines, "still sending; what does not get out is tried again"]
    )


def shout(subject: str, text: str) -> tuple[str, ...]:
    """Tell everybody at once without the ledger, for when it cannot be reached; one line says how
    it went.
    """
    known = recipients()
    if not known:
        return ()
    message = Message(
        name="", subject=subject, text=text, at=datetime.now(UTC), recipients=tuple(known)
    )
    reached = sum(not _send(address, message) for address in known.values())
    return (f"{subject}: {reached} of {len(known)} recipients reached",)


def _news(
    session: Session,
    connection: Connection,
    checkpoint: Checkpoint,
    head: tuple[int, str],
    before: dict[str, Onset],
    lasts: timedelta,
) -> list[Message]:
    """What this checkpoint has to say, and the conditions as they are after it."""
    rollout, at = session.plan.rollout, checkpoint.at
    kind = message_kind(checkpoint, session.plan)
    changed = checkpoint.change is not None and checkpoint.change.applied
    found_off = _routing(connection, rollout, before, checkpoint, changed)
    if kind is not None and (changed or checkpoint.operation != "monitor"):
        if changed and _CONDITION in before:
            remember(connection, rollout, _CONDITION, before[_CONDITION], ended_at=at)
        return [_message(checkpoint, session, head, kind)]
    if checkpoint.operation != "monitor":
        return []
    if found_off:
        if _CONDITION in before:
            remember(connection, rollout, _CONDITION, before[_CONDITION], ended_at=at)
        return [_message(checkpoint, session, head, "off")]
    decision = decide(before.get(_CONDITION), kind if kind in RANK else None, at, lasts)
    if decision.onset is not None:
        remember(connection, rollout, _CONDITION, decision.onset)
    elif _CONDITION in before:
        remember(connection, rollout, _CONDITION, before[_CONDITION], ended_at=at)
    if decision.tell is None:
        return []
    if decision.tell is Tell.ENDS:
        was = before[_CONDITION]
        return [
            _message(
                checkpoint,
                session,
                head,
                "well_again",
                f"{was.state}, since {_clock(was.since, session)}",
            )
        ]
    if decision.tell is Tell.LASTS and decision.onset is not None:
        return [_lasting(_message(checkpoint, session, head, kind), decision.onset, session)]
    return [_message(checkpoint, session, head, kind)]


def _routing(
    connection: Connection,
    rollout: str,
    before: dict[str, Onset],
    checkpoint: Checkpoint,
    changed: bool,
) -> bool:
    """Remember whether routing is on; True where a check finds it off and nobody has been told."""
    if checkpoint.kind in ("dry-run", "attempt"):
        return False
    config = checkpoint.config
    on = config is not None and config.enabled and config.percentage > 0
    off = config is not None and not on
    if changed and checkpoint.change is not None:
        off, on = not checkpoint.change.after[1], checkpoint.change.after[1]
    known = before[_ROUTING].state if _ROUTING in before else None
    now = "off" if off else "on" if on else known
    if now is not None and now != known:
        onset = Onset(state=now, since=checkpoint.at, told_at=checkpoint.at)
        remember(connection, rollout, _ROUTING, onset)
    return now == "off" and known == "on" and not changed


def _message(
    checkpoint: Checkpoint, session: Session, head: tuple[int, str], kind: str | None, was: str = ""
) -> Message:
    said = kind and render(checkpoint, session.plan, kind=kind, was=was)
    if not said:
        raise ValueError(f"there is no message of the kind {kind}")
    text = f"{said['text']}\nLedger #{head[0]}:{head[1][:16]}"
    name = f"{checkpoint.run_id}:{kind}"
    return Message(name=name, subject=said["subject"], text=text, at=checkpoint.at, recipients=())


def _lasting(message: Message, onset: Onset, session: Session) -> Message:
    since = f"It lasts since {_clock(onset.since, session)}; this is said once."
    return replace(
        message,
        name=f"{message.name}:lasts",
        subject=f"Still: {message.subject}",
        text=f"{since}\n{message.text}",
    )


def _clock(at: datetime, session: Session) -> str:
    return f"{at.astimezone(session.plan.zone):%a %H:%M %Z}"


def _send_all(
    session: Session, messages: list[Message], known: dict[str, str], lines: list[str]
) -> None:
    for message in messages:
        why = {
            mark: trouble for mark in message.recipients if (trouble := _send(known[mark], message))
        }
        left = tuple(why)
        done = replace(message, recipients=left or message.recipients)
        said = tuple(f"{_service(known[mark])}:{mark} {trouble}" for mark, trouble in why.items())
        try:
            with session.database.transaction(readonly=False) as connection:
                note(connection, session.plan.rollout, "failed" if left else "sent", done, said)
        except RolloutError as error:
            lines.append(f"{message.subject}: {error}")
            continue
        reached = (
            f"{len(message.recipients) - len(left)} of {len(message.recipients)} recipients reached"
        )
        lines.append(
            "; ".join(
                [
                    f"{message.subject}: {reached}",
                    *said,
                    *(["tried again by the next run"] if left else []),
                ]
            )
        )


def _service(address: str) -> str:
    """Which kind of service, without anything of its address."""
    scheme, separator, _ = address.partition("://")
    return scheme if separator else "no-address"


def _send(address: str, message: Message) -> str:
    """One try for one address: "" where it was taken, else why not, in words that hold nothing of
    the address.
    """
    import apprise

    separator = "&" if "?" in address else "?"
    service = apprise.Apprise()
    with _answers() as codes:
        if not service.add(f"{address}{separator}cto=3&rto=5"):
            return "is no address that Apprise knows"
        try:
            taken = service.notify(
                title=message.subject, body=message.text, body_format=apprise.NotifyFormat.TEXT
            )
        except Exception as error:  # whatever a service raises, the run that tells goes on
            return f"failed: {type(error).__name__}"
    if taken:
        return ""
    refused = " (is its token still valid?)" if codes[-1:] in (["401"], ["403"]) else ""
    return f"answered HTTP {codes[-1]}{refused}" if codes else "did not answer"


class _Codes(logging.Handler):
    """A listener that keeps the HTTP codes that warnings name."""

    def __init__(self, codes: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.codes = codes

    def emit(self, record: logging.LogRecord) -> None:
        self.codes.extend(re.findall(r"error=(\d{3})\b", record.getMessage()))


@contextmanager
def _answers() -> Iterator[list[str]]:
    """The HTTP codes that services answer meanwhile; Apprise's own log may hold an address, and
    goes nowhere.
    """
    codes: list[str] = []
    listener, log = _Codes(codes), logging.getLogger("apprise")
    log.propagate = False
    log.setLevel(logging.WARNING)
    log.addHandler(listener)
    try:
        yield codes
    finally:
        log.removeHandler(listener)
