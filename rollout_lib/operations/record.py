"""One run's record: the checkpoint as a value, its text on the ledger, and how a
notebook shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from rollout_lib import notify as messages
from rollout_lib import spool
from rollout_lib.archive.provenance import provenance
from rollout_lib.database.heads import is_kept, read_head, write_head
from rollout_lib.database.ledger import Facts, append
from rollout_lib.database.session import Session
from rollout_lib.display import Html, checkpoint_card, checkpoint_text
from rollout_lib.emergency import lower, row_words
from rollout_lib.errors import (
    EXIT_CODES,
    CouldNotMeasure,
    NotSwitchedOff,
    RolloutError,
    SlotTaken,
)
from rollout_lib.judgement import RULES
from rollout_lib.model import STATES, Act, Checkpoint, Standing, State, runs
from rollout_lib.model.record import MIMETYPE, to_json
from rollout_lib.notify.send import shout, tell
from rollout_lib.redaction import hide

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What an operation returns: the checkpoint, its text, where it stands on the ledger, and the
    history.

    head is (seq, hash), None for a dry run or where the ledger could not take it (`kept` is then
    the file that waits for the next run). told says, a line each, what became of the messages.
    past holds the rollout's earlier checkpoints and this one, oldest first: what the charts draw.
    traffic, errors, checks, looks, evidence and history are pandas frames of the same, made when
    they are asked for: the columns are those of rollout_lib.frames."""

    checkpoint: Checkpoint
    text: str
    head: tuple[int, str] | None
    kept: str = ""
    told: tuple[str, ...] = ()
    past: tuple[Checkpoint, ...] = field(repr=False, default=())

    @property
    def traffic(self) -> DataFrame:
        """Requests, errors and latencies (ms) by span, domain and destination, as shown."""
        from rollout_lib import frames

        return frames.traffic(self.checkpoint)

    @property
    def errors(self) -> DataFrame:
        """The errors that the run showed, redacted, most frequent first."""
        from rollout_lib import frames

        return frames.errors(self.checkpoint)

    @property
    def checks(self) -> DataFrame:
        """The named checks of every run of the rollout, this one last."""
        from rollout_lib import frames

        return frames.checks(self.past)

    @property
    def looks(self) -> DataFrame:
        """What each look counted, a row a stream."""
        from rollout_lib import frames

        return frames.looks(self.past)

    @property
    def evidence(self) -> DataFrame:
        """Where each stream stood at each run; e-values are natural logs."""
        from rollout_lib import frames

        return frames.evidence(self.past)

    @property
    def history(self) -> DataFrame:
        """One row a run of the rollout: what it decided and did."""
        from rollout_lib import frames

        return frames.history(self.past)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        seq, digest = self.head or (None, None)
        told = Html("".join(f'<div class="ro-soft">{escape(line)}</div>' for line in self.told))
        return {
            "text/plain": "\n".join([checkpoint_text(self.checkpoint, self.head), *self.told]),
            "text/html": (
                checkpoint_card(self.checkpoint, self.head)
                + (told._repr_html_() if self.told else "")
            ),
            MIMETYPE: {
                "text": self.text,
                "seq": seq,
                "hash": digest,
                "kept": self.kept,
                "told": list(self.told),
            },
        }


def checkpoint_of(
    session: Session,
    facts: Facts,
    standing: Standing,
    *,
    operation: str,
    state: State,
    sentence: str,
    kind: str = "checkpoint",
    exit_code: int | None = None,
    **more: Any,
) -> Checkpoint:
    """The checkpoint of a run, with everything that each of them says about itself filled in."""
    checkpoint = Checkpoint(
        rules=RULES,
        run_id=session.run_id,
        operation=operation,
        kind=kind,
        place=session.place,
        plan_digest=session.plan.digest,
        plan_path=session.plan.path,
        operator=session.operator,
        at=session.now(facts.now),
        recorded_at=facts.now,
        phase=more.pop("phase", standing.phase),
        slot=more.pop("slot", None),
        config=more.pop("config", facts.config),
        verdict=more.pop("verdict", None),
        state=state,
        sentence=sentence,
        exit_code=STATES[state] if exit_code is None else exit_code,
        provenance=provenance(),
        head_before=standing.head,
        **more,
    )
    return replace(checkpoint, message=_message(checkpoint, session))


def _message(checkpoint: Checkpoint, session: Session) -> Mapping[str, str] | None:
    """A template that fails must never fail a check: the failure is recorded in the message's
    place.
    """
    try:
        return messages.render(checkpoint, session.plan)
    except TemplateError as error:
        subject = f"{session.plan.rollout} - {checkpoint.state.words}"
        why = f"(the message could not be rendered: {type(error).__name__}: {error})"
        return {"kind": "unrendered", "subject": subject, "text": f"{checkpoint.sentence}\n{why}"}


def text_of(checkpoint: Checkpoint) -> str:
    """The text of a checkpoint for the ledger: its sentences, reasons and names without secrets.

    Only what has a space is prose; hashes, ids and names of files stay as they are."""
    text = to_json(checkpoint)
    body = json.loads(text)
    clean = _prose(body)
    return text if clean == body else json.dumps(clean, ensure_ascii=False, separators=(",", ":"))


def _prose(value: Any) -> Any:
    if isinstance(value, str):
        return hide(value) if " " in value else value
    if isinstance(value, Mapping):
        return {key: _prose(item) for key, item in value.items()}
    return [_prose(item) for item in value] if isinstance(value, list) else value


def entry_of(checkpoint: Checkpoint, text: str) -> dict[str, Any]:
    """The ledger entry of a checkpoint; instants as ISO text, as the spool keeps them."""

    def iso(instant: datetime | None) -> str | None:
        return instant.isoformat() if instant else None

    return {
        "kind": checkpoint.kind,
        "operation": checkpoint.operation,
        "rollout": checkpoint.place.rollout,
        "at": iso(checkpoint.at),
        "phase_began": iso(checkpoint.phase.began_at) if checkpoint.phase else None,
        "slot": iso(checkpoint.slot) if checkpoint.kind == "checkpoint" else None,
        "run_id": checkpoint.run_id,
        "body": text,
    }


def recorded(
    checkpoint: Checkpoint,
    facts: Facts,
    head: tuple[int, str] | None,
    text: str,
    told: Sequence[str] = (),
) -> Recorded:
    """The value an operation returns, once its entry is committed (or was a dry run)."""
    history = [run.body for run in runs(facts.entries)]
    return Recorded(
        checkpoint=checkpoint,
        text=text,
        head=head,
        told=tuple(told),
        past=(*history, checkpoint),
    )


def record(session: Session, facts: Facts, checkpoint: Checkpoint) -> Recorded:
    """Append a checkpoint in a transaction of its own; what the ledger cannot take now is kept in a
    file.

    What was decided and done stands, whether or not it could be written down: this never raises for
    a database that went away or a disk that is full, and the run's own outcome stays what it was.
    Raises NotSwitchedOff where what was lowered is up again and stays so.
    """
    for kind in (checkpoint.kind, "extra"):
        checkpoint = replace(checkpoint, kind=kind)
        text = text_of(checkpoint)
        entry = entry_of(checkpoint, text)
        try:
            left = session.database.drain(
                session.as_of
            ).left  # what an earlier run had to keep, before this run's own entry
            copied = read_head(session.database)
            with session.database.transaction(readonly=False) as connection:
                kept_head = is_kept(connection, copied, facts)
                head = append(connection, **entry)
            if kept_head:
                write_head(session.database, head)
        except SlotTaken:
            continue  # somebody else's check was faster: this one claims no slot
        except CouldNotMeasure as error:
            words = str(error.facts.get("reason") or error).splitlines()[0]
            break
        again = _still_low(session, checkpoint)
        told = (*left, *tell(session, checkpoint, head), *again)
        return recorded(checkpoint, facts, head, text, told)
    else:
        words = "the slot is taken"
    try:
        kept = str(spool.keep(entry, session.database.ledger))
    except OSError as error:
        kept = f"nowhere, {error.strerror}"
    value = recorded(checkpoint, facts, None, text, _told_without(checkpoint))
    return replace(value, kept=f"{kept} ({words})")


def _still_low(session: Session, checkpoint: Checkpoint) -> tuple[str, ...]:
    """What was lowered is read once more when its entry is written, since a trigger of the ledger
    may have raised it again; what to tell where it had.

    Raises NotSwitchedOff where it stays up."""
    change = checkpoint.change
    if change is None or not change.applied or not change.lowers:
        return ()
    to = change.after[0] if change.after[1] else None
    try:
        again = lower(session.database.address, reason=change.reason, to=to, at=session.as_of)
    except NotSwitchedOff as error:
        shout("routing was lowered, and is up again", str(error))
        raise
    except CouldNotMeasure as error:
        return (f"it could not be read once more after its entry was written: {error}",)
    if again.already:
        return ()
    return (
        f"⚠ after its entry was written routing read {row_words(again.before)}, and was lowered"
        f" again to {row_words(again.after)}: look what stands on tables of schema rollout",
    )


def _told_without(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Without a ledger nothing remembers who was told; an act is told all the same."""
    verdict = checkpoint.verdict
    acts = checkpoint.change is not None or (verdict is not None and verdict.act is not Act.NONE)
    if not acts or not checkpoint.message:
        return ()
    return shout(
        checkpoint.message["subject"], f"{checkpoint.message['text']}\nNot on the ledger yet."
    )


def conclude(run: Recorded) -> None:
    """End a notebook: 0 and 10 pass, every other exit code raises the error that carries it."""
    code = run.checkpoint.exit_code
    if code in (0, 10):
        return
    cls = EXIT_CODES.get(code, RolloutError)
    raise cls(f"{run.checkpoint.state.words}: {run.checkpoint.sentence}")
