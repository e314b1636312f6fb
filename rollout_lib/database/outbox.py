"""Messages in the database: what is going on, what was claimed, sent or failed. Rows <-> values.

A message is a ledger entry of kind `message`: `sending` claims it (text and recipients still to be
reached), then `sent` or `failed` ends the try. Its run_id is the message's own name, so it is
queued once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from rollout_lib.database.connection import load_sql
from rollout_lib.database.ledger import append
from rollout_lib.model import Told, Unreadable
from rollout_lib.model.record import read_entry

CLAIM_VALID = 120  # seconds; a claim older than that belongs to a teller that died


@dataclass(frozen=True, kw_only=True)
class Onset:
    """Something that is going on: its worst kind so far, since when, and when somebody was told."""

    state: str
    since: datetime
    told_at: datetime
    escalated_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is told, and to whom still: recipients by fingerprint, never by address."""

    name: str
    subject: str
    text: str
    at: datetime
    recipients: tuple[str, ...]


def onsets(connection: Connection, rollout: str) -> dict[str, Onset]:
    """What is going on by subject; holds the rollout's message lock until the transaction ends."""
    connection.execute(load_sql("messages_lock"), {"rollout": rollout})
    rows = connection.execute(load_sql("onsets_locked"), {"rollout": rollout})
    return {
        row.subject: Onset(
            state=row.state, since=row.since, told_at=row.told_at, escalated_at=row.escalated_at
        )
        for row in rows
    }


def remember(
    connection: Connection,
    rollout: str,
    subject: str,
    onset: Onset,
    ended_at: datetime | None = None,
) -> None:
    """Write down what is going on, or that it is over."""
    binds = asdict(onset) | {"rollout": rollout, "subject": subject, "ended_at": ended_at}
    connection.execute(load_sql("onset_write"), binds)


def claim(
    connection: Connection, rollout: str, new: Sequence[Message], known: Mapping[str, str]
) -> list[Message]:
    """Claim the new messages and what is left of earlier ones; the caller sends them after the
    commit.

    known: the fingerprints that have an address now; a recipient that was taken away is left out.
    """
    claimed, before = [], _last_words(connection, rollout)
    for operation, age_s, message in before.values():
        left = tuple(mark for mark in message.recipients if mark in known)
        if left and (operation == "failed" or (operation == "sending" and age_s > CLAIM_VALID)):
            claimed.append(replace(message, recipients=left))
    claimed += [message for message in new if message.name not in before]
    for message in claimed:
        note(connection, rollout, "sending", message)
    return claimed


def note(
    connection: Connection, rollout: str, operation: str, message: Message, why: Sequence[str] = ()
) -> None:
    """Append what became of a message: sending, sent or failed (recipients: who is left; why: a
    line each).
    """
    body = {
        "subject": message.subject,
        "text": message.text,
        "recipients": list(message.recipients),
    }
    if why:
        body["why"] = list(why)
    append(
        connection,
        kind="message",
        operation=operation,
        rollout=rollout,
        at=message.at,
        phase_began=None,
        slot=None,
        run_id=message.name,
        body=json.dumps(body, ensure_ascii=False),
    )


def _last_words(connection: Connection, rollout: str) -> dict[str, tuple[str, float, Message]]:
    words = {}
    for row in connection.execute(load_sql("messages"), {"rollout": rollout}).mappings():
        entry = read_entry(dict(row))
        if isinstance(entry, Unreadable) or not isinstance(entry.body, Told):
            continue  # one that cannot be read claims nothing, and holds no other up
        told = entry.body
        message = Message(
            name=row["run_id"],
            subject=told.subject,
            text=told.text,
            at=entry.at,
            recipients=told.recipients,
        )
        words[row["run_id"]] = (entry.operation, float(row["age_s"]), message)
    return words
