"""One row of the ledger as a value: what its kind says that it holds, or why it cannot be read; and where
all of them lead.

An Entry carries a typed body; a row whose columns or body are not what its kind promises is an
Unreadable, a value as well. The codec between rows and these values is in record.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from rollout_lib.model.measurement import Look, Uptime
from rollout_lib.model.verdict import Checkpoint, Finding, PhaseRun, State


class EntryKind(StrEnum):
    """What an entry is, as its column says."""

    CHECKPOINT = "checkpoint"  # a run; a scheduled check among them claims its slot
    EXTRA = "extra"  # a run that claims no slot: a person's, a tripwire's, a late one
    ATTEMPT = "attempt"  # a change that was refused, or a run that died before its checkpoint
    ARCHIVED = "archived"  # a run's second entry: its files
    ATTESTATION = "attestation"  # a person's statement on complaints
    ACKNOWLEDGEMENT = "acknowledgement"  # any other statement of a person
    MISSED = "missed"  # a slot that nobody checked in its time
    MESSAGE = "message"  # one step of telling: claimed, sent or failed
    LEASE = "lease"  # a watcher took the rollout


RUNS = (EntryKind.CHECKPOINT, EntryKind.EXTRA)
STATEMENTS = (EntryKind.ATTESTATION, EntryKind.ACKNOWLEDGEMENT)


class Subject(StrEnum):
    """What a named person can state."""

    COMPLAINTS = "complaints"
    ACKNOWLEDGEMENT = "acknowledgement"  # of an inconclusive evaluation
    EXTENSION = "extension"  # value: seconds added to the hold
    OVERRIDE = "override"  # of legacy's own limits before the start
    RESTART = "restart"  # after a rollback
    RESTORED = "restored"  # value: the head last seen here, which the ledger does not have
    APPROVAL = "approval"  # value: the percentage that may be raised to
    PAUSE = "pause"  # no raise until somebody resumes
    RESUME = "resume"
    NOTE = "note"  # what somebody found; it changes nothing
    UNREADABLE = "unreadable"  # value: number and hash of each entry that is set aside


@dataclass(frozen=True, kw_only=True)
class Statement:
    """The body of an attestation or acknowledgement."""

    subject: Subject
    value: str
    by: str
    reason: str
    plan_digest: str
    run_id: str = ""
    findings: tuple[Finding, ...] = ()  # what an acknowledgement covers, and no more


@dataclass(frozen=True, kw_only=True)
class Archived:
    """The body of a run's second entry, and of an attempt that left no checkpoint.

    files: path below outputs/ -> hash. died: why the run ended without concluding. lost: why its
    notebook will never come."""

    run_id: str
    files: Mapping[str, str]
    notebook: str = ""
    source: str = ""
    died: str = ""
    lost: str = ""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """The body of a slot that passed without a check."""

    reason: str = ""
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Told:
    """The body of a message: what is told, and to whom still (recipients by fingerprint)."""

    subject: str
    text: str
    recipients: tuple[str, ...]
    why: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Held:
    """The body of a lease that changed hands."""

    holder: str
    before: str | None = None
    by: str = ""


Body = Checkpoint | Statement | Archived | Missed | Told | Held
B = TypeVar("B", bound=Body, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Entry(Generic[B]):
    """One row that could be read. text is the body as it stands on the ledger."""

    seq: int
    kind: EntryKind
    operation: str
    rollout: str
    at: datetime
    phase_began: datetime | None
    slot: datetime | None
    body: B
    hash: str = ""
    text: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """One row that could not be read, and why.

    What is told of it stops every raise until a named person sets it aside; at, phase_began and
    slot are None where the column is none or no instant of ours."""

    seq: int
    kind: str
    operation: str
    rollout: str
    why: str
    hash: str = ""
    at: datetime | None = None
    phase_began: datetime | None = None
    slot: datetime | None = None

    @property
    def key(self) -> str:
        """What a person names to set it aside: the number, bound to its hash."""
        return f"{self.seq}:{self.hash[:16]}"


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """What a named person stated on the ledger."""

    subject: str  # "complaints", "acknowledgement", "override"
    value: str
    by: str
    reason: str
    at: datetime
    plan_digest: str
    phase_began: datetime | None
    seq: int
    findings: tuple[Finding, ...] = ()  # what an acknowledgement covers, and no more


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where the rollout stands by its ledger alone: a pure fold over the entries (judgement/state.py)."""

    head: tuple[int, str]  # (seq, hash); (0, "") before the first entry
    phase: PhaseRun | None  # the phase that is running; None before the first and while off
    last_change: tuple[datetime, Decimal, bool] | None  # (at, percentage, enabled)
    highest_passed: Decimal | None
    looks: tuple[Look, ...]  # scheduled, closed looks of the running phase in order
    slots_done: tuple[datetime, ...]
    slots_missed: tuple[datetime, ...]
    latched: State | None  # STEP_BACK or ROLL_BACK of the running phase
    latched_reason: str
    rolled_back_at: (
        datetime | None
    )  # set while routing is off by a rollback: starting again needs a person
    off_at: datetime | None = (
        None  # since when nothing may reach unified, however often it was said
    )
    preflight: tuple[datetime, State] | None
    evaluation: tuple[datetime, State] | None  # last one of the running phase
    revoked: str | None  # why the PASS no longer counts
    passed_traffic: (
        Mapping[str, Any] | None
    )  # figures of the last passed phase, for "no degradation"
    attestations: tuple[Attestation, ...]
    extension_s: int  # seconds added to the running phase's hold
    plan_digest: str | None  # digest under which the running phase began
    unsealed: tuple[str, ...]  # run ids with a checkpoint and no archived entry
    evaluated: Mapping[str, Any] | None = None  # figures of the last evaluation
    findings: tuple[Finding, ...] = ()  # of the last evaluation: what an acknowledgement is of
    evaluation_seq: int = 0  # its number on the ledger; 0 before the first of the running phase
    last_slot: tuple[datetime, State, str] | None = None  # (slot, state, sentence) of the last look
    protected: Mapping[str, Uptime] = field(
        default_factory=dict
    )  # each probed endpoint over the running phase
    restored: str = ""  # why the ledger is not the one last seen here; "" where it is
    unreadable: tuple[Unreadable, ...] = ()  # entries that nobody has set aside


LedgerEntry = Entry[Body] | Unreadable


def runs(
    entries: Iterable[LedgerEntry], kinds: tuple[EntryKind, ...] = RUNS
) -> list[Entry[Checkpoint]]:
    """The entries of these kinds that hold a run's checkpoint, in the order given."""
    return [
        cast(Entry[Checkpoint], entry)
        for entry in entries
        if isinstance(entry, Entry) and entry.kind in kinds and isinstance(entry.body, Checkpoint)
    ]


def statements(entries: Iterable[LedgerEntry]) -> list[Entry[Statement]]:
    """The entries in which a person stated something, in the order given."""
    return [
        cast(Entry[Statement], entry)
        for entry in entries
        if isinstance(entry, Entry) and isinstance(entry.body, Statement)
    ]
