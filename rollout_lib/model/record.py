"""The one codec of the ledger: a row as an Entry or an Unreadable, a Checkpoint as JSON and back.

Nothing else parses a body. What was written by an older version gets its defaults here; what a
newer one wrote in words that are not known here, what is malformed, and figures that no run could
have seen (a negative count, an instant without an offset) is Unreadable, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json as parse_json

from rollout_lib.model.entry import (
    RUNS,
    STATEMENTS,
    Archived,
    Body,
    Entry,
    EntryKind,
    Held,
    LedgerEntry,
    Missed,
    Statement,
    Subject,
    Told,
    Unreadable,
)
from rollout_lib.model.measurement import TOTAL, UNIFIED, Counts, Look
from rollout_lib.model.verdict import Check, CheckKind, Checkpoint, Origin, StreamEvidence, Verdict

MIMETYPE = "application/vnd.rollout.checkpoint+json"  # of a cell that shows a checkpoint
SCHEMA_VERSION = Checkpoint.schema_version
COMPLAINTS = ("none", "some", "spike")
LONGEST_EXTENSION_S = 7 * 24 * 3600  # of one statement: more is a typing error
_CLOCKS_DIFFER = timedelta(minutes=1)
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_WHOLE = Decimal(100)
_HIGHEST_LINE = 700.0  # as a natural logarithm; beyond it there is no e-value
_KINDS = {kind.value: kind for kind in EntryKind}
_TYPES: dict[EntryKind, Any] = {
    EntryKind.CHECKPOINT: Checkpoint,
    EntryKind.EXTRA: Checkpoint,
    EntryKind.ATTEMPT: Checkpoint,
    EntryKind.ARCHIVED: Archived,
    EntryKind.ATTESTATION: Statement,
    EntryKind.ACKNOWLEDGEMENT: Statement,
    EntryKind.MISSED: Missed,
    EntryKind.MESSAGE: Told,
    EntryKind.LEASE: Held,
}
_SAME = ("configuration", "leak", "drift", "ledger", "plan", "data", "off", "split")
_LABELS: dict[str, tuple[CheckKind, str]] = {
    **{name: (CheckKind(name), "") for name in _SAME},
    "router": (CheckKind.ROUTER, TOTAL),
    "check_routing_health": (CheckKind.HEALTH, ""),
    "protected": (CheckKind.NOT_PROBED, ""),
    "protected webhooks 100 % up": (CheckKind.PROTECTED, ""),
    "no customer impact": (CheckKind.IMPACT, ""),
    "enough traffic": (CheckKind.ENOUGH, ""),
    "hold time served": (CheckKind.HOLD_TIME, ""),
    "every slot checked": (CheckKind.SLOTS, ""),
    "head": (CheckKind.HEAD, ""),
    "log": (CheckKind.LOG, ""),
    "outage": (CheckKind.OUTAGE, ""),
    "latencies": (CheckKind.LATENCIES, ""),
    "ids": (CheckKind.IDS, ""),
    "words": (CheckKind.WORDS, ""),
    "arrived late": (CheckKind.ARRIVED_LATE, ""),
    "rows gone": (CheckKind.ROWS_GONE, ""),
    "clock": (CheckKind.CLOCK, ""),
    "late rows": (CheckKind.LATE_ROWS, ""),
    "no hold or act stands": (CheckKind.STANDS, ""),
    "acknowledged": (CheckKind.ACKNOWLEDGED, ""),
    "legacy error rate": (CheckKind.LEGACY_ERRORS, ""),
    "legacy p95": (CheckKind.LEGACY_LATENCY, ""),
    "router errors at 0 %": (CheckKind.ROUTER_BEFORE, ""),
    "every domain receives traffic": (CheckKind.DOMAINS, ""),
}
_STARTS = {
    "errors:": CheckKind.ERRORS,
    "latency:": CheckKind.LATENCY,
    "protected:": CheckKind.PROBE,
    "rows of ": CheckKind.ROWS,
    "uptime:": CheckKind.UPTIME,
    "no degradation": CheckKind.DEGRADATION,
    "error rate <": CheckKind.PHASE_ERRORS,
    "p95 <": CheckKind.PHASE_LATENCY,
    "~": CheckKind.PHASE_SPLIT,
}
_WHOLE_PHASE = {
    CheckKind.DEGRADATION: "",
    CheckKind.PHASE_ERRORS: TOTAL,
    CheckKind.PHASE_LATENCY: TOTAL,
    CheckKind.PHASE_SPLIT: "",
}
# What an emergency's few words leave out; it must not depend on anything that could fill them in.
_EMERGENCY: dict[str, Any] = {
    "plan_digest": "",
    "plan_path": "",
    "phase": None,
    "slot": None,
    "config": None,
    "verdict": None,
}

_Count = Annotated[int, Field(strict=True, ge=0)]
_Shown = Annotated[float, Field(strict=True)] | None


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row of figures as tables and charts show it; latencies in ms, None where there is none."""

    domain: str
    routed_to: str
    requests: _Count
    errors: _Count
    avg_ms: _Shown
    p50_ms: _Shown
    p95_ms: _Shown
    p99_ms: _Shown
    share_pct: _Shown


@cache
def _adapter(body: Any) -> TypeAdapter[Any]:
    return TypeAdapter(body)


def prepare() -> None:
    """Build now what reads and writes records: a second on a busy machine, which no transaction
    that holds a row is to wait for."""
    for body in {*_TYPES.values(), Archived, Checkpoint}:
        _adapter(body)


def to_json(checkpoint: Checkpoint) -> str:
    """The text that stands on the ledger: instants as ISO with offset,
    percentages as exact text.
    """
    return _adapter(Checkpoint).dump_json(checkpoint).decode()


def from_json(text: str) -> Checkpoint:
    """The Checkpoint of a stored text; raises pydantic's ValidationError where it is none."""
    checkpoint: Checkpoint = _adapter(Checkpoint).validate_json(text)
    return checkpoint


def schema() -> dict[str, Any]:
    """The JSON Schema of a checkpoint record, as published in archive/checkpoint.schema.json."""
    made = _adapter(Checkpoint).json_schema(mode="serialization")
    made["properties"]["schema_version"] = {"const": SCHEMA_VERSION, "title": "Schema Version"}
    made["required"] = ["schema_version", *made["required"]]
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {
        "$schema": dialect,
        "$comment": f"version {SCHEMA_VERSION}",
        "$id": "checkpoint.schema.json",
        **made,
        "additionalProperties": False,
    }


def read_entry(row: Mapping[str, Any]) -> LedgerEntry:
    """One row of the ledger, columns by name, as a value; never raises for what stands in it.

    seq, kind, operation, rollout, run_id, hash and body are text or number as the columns are; at,
    phase_began and slot instants or ISO text, "" or None for none. not_after: when the database
    wrote it, where both are of one clock; what is stamped later than that is not believed."""
    why, instants = _columns(row)
    body: Body | None = None
    if not why:
        body, why = _body(_KINDS[row["kind"]], row, instants)
    named: dict[str, Any] = {
        "seq": int(row["seq"]),
        "operation": str(row["operation"]),
        "rollout": str(row["rollout"]),
        "hash": str(row.get("hash") or ""),
        **instants,
    }
    if body is None:
        return Unreadable(kind=str(row["kind"]), why=why, **named)
    return Entry(kind=_KINDS[row["kind"]], body=body, text=row["body"], **named)


def _columns(row: Mapping[str, Any]) -> tuple[str, dict[str, datetime | None]]:
    """Why the columns are none of ours, "" where they are; their instants."""
    instants: dict[str, datetime | None] = {}
    why = ""
    for name in ("at", "phase_began", "slot"):
        value = row[name]
        try:
            instant = datetime.fromisoformat(value) if isinstance(value, str) and value else value
        except ValueError:
            instant = None
        instants[name] = instant if isinstance(instant, datetime) else None
        if value and not _is_ours(instants[name]):
            why, instants[name] = f"{name}: {value} is no instant of a rollout", None
    recorded = row.get("not_after")
    recorded = datetime.fromisoformat(recorded) if isinstance(recorded, str) else recorded
    at = instants["at"]
    theirs = row["kind"] in (*RUNS, *STATEMENTS)  # others may be of the machine's clock
    if theirs and recorded and at and at > recorded + _CLOCKS_DIFFER:
        why = f"at: {at.isoformat()} is later than the entry was recorded, {recorded.isoformat()}"
    if row["kind"] not in _KINDS:
        why = f"kind: {row['kind']!r} is not known to this version"
    return why, instants


def _body(
    kind: EntryKind, row: Mapping[str, Any], instants: Mapping[str, datetime | None]
) -> tuple[Body | None, str]:
    """The typed body, and "" ; or None and why it cannot be read."""
    text = row["body"]
    try:
        body = _parsed(kind, text)
    except ValidationError as error:
        try:
            body = _parsed_late(kind, text, row)
        except (ValidationError, ValueError):
            return None, _first(error)
    if isinstance(body, Checkpoint):
        # A check that was written late claims no slot any more: the column says so.
        body = replace(
            body,
            kind=kind.value,
            verdict=body.verdict and _with_kinds(body.verdict),
            origin=_origin(body, kind),
        )
    why = _wrong(body, row) or _elsewhere(body, instants)
    return (None, why) if why else (body, "")


def _parsed(kind: EntryKind, text: str) -> Body:
    body: Body
    try:
        body = _adapter(_TYPES[kind]).validate_json(text)
    except ValidationError:
        if kind is not EntryKind.ATTEMPT:
            raise
        body = _adapter(Archived).validate_json(text)  # a run that died left files only
    return body


def _parsed_late(kind: EntryKind, text: str, row: Mapping[str, Any]) -> Body:
    """The body of an emergency, which records only what it knows itself; else ValueError."""
    found = parse_json(text)
    if kind not in (EntryKind.CHECKPOINT, EntryKind.EXTRA) or not isinstance(found, dict):
        raise ValueError("not an emergency's")
    if found.get("operation") != "rollback" or "schema_version" in found:
        raise ValueError("not an emergency's")
    at = row["at"] if isinstance(row["at"], str) else row["at"].isoformat()
    place = {"environment": "", "host": "", "database": "", "time_zone": "UTC"}
    filled = {
        **_EMERGENCY,
        "place": {**place, "rollout": str(row["rollout"])},
        "run_id": row.get("run_id") or "",
        "at": at,
        "recorded_at": at,
        **found,
    }
    change = filled.get("change")
    if isinstance(change, dict) and isinstance(change.get("after"), list):
        after = _pair(change["after"], "0")
        # What could not be read before counts as having been on: nothing was off already.
        before = _pair(change.get("before") or [None, True], after[0])
        filled["change"] = {**change, "before": before, "after": after}
    body: Checkpoint = _adapter(Checkpoint).validate_python(filled)
    return body


def _origin(body: Checkpoint, kind: EntryKind) -> Origin:
    """What made a run; records of before the field say it in the first word of their sentence."""
    old = kind is EntryKind.EXTRA and body.operation == "monitor"
    return Origin.TRIPWIRE if old and body.sentence.startswith("Tripwire: ") else body.origin


def _pair(row: Any, unknown: Any) -> list[Any]:
    """(percentage, enabled) of an emergency's entry; a percentage that the configuration did not
    have (NULL, NaN) is what is given as unknown.
    """
    percentage, *rest = row if isinstance(row, list) and row else [None, True]
    return [unknown if percentage in (None, "NaN", "Infinity") else percentage, *rest]


def _with_kinds(verdict: Verdict) -> Verdict:
    """The verdict of an older record with the kinds that its labels stood for."""
    if all(check.kind is not CheckKind.OTHER for check in verdict.checks) and all(
        stream.measure is not CheckKind.OTHER for stream in verdict.streams
    ):
        return verdict
    checks = [
        check if check.kind is not CheckKind.OTHER else _named(check) for check in verdict.checks
    ]
    streams = []
    for stream in verdict.streams:
        kind, domain = _kind_of(stream.stream)
        known = stream.measure is not CheckKind.OTHER
        streams.append(stream if known else replace(stream, measure=kind, domain=domain))
    return replace(verdict, checks=tuple(checks), streams=tuple(streams))


def _named(check: Check) -> Check:
    kind, subject = _kind_of(check.name)
    return replace(check, kind=kind, subject=subject)


def _kind_of(label: str) -> tuple[CheckKind, str]:
    """The kind and subject that a label of before the kinds stood for."""
    if label in _LABELS:
        return _LABELS[label]
    for start, kind in _STARTS.items():
        if label.startswith(start):
            return kind, _WHOLE_PHASE.get(kind, label.removeprefix(start))
    return CheckKind.OTHER, ""


def _elsewhere(body: Body, instants: Mapping[str, datetime | None]) -> str:
    """Where a checkpoint is of another instant or phase than its columns say; "" where it is not."""
    if not isinstance(body, Checkpoint):
        return ""
    if body.at != instants["at"]:
        return f"at: the body says {body.at.isoformat()}, its column another instant"
    if (body.phase.began_at if body.phase else None) != instants["phase_began"]:
        return "phase: the body is of another phase than its column"
    return ""


def _wrong(body: Body, row: Mapping[str, Any]) -> str:
    """What no run of ours writes, in a body whose shape is right; "" for nothing."""
    if isinstance(body, Statement):
        return _wrong_statement(body)
    if not isinstance(body, Checkpoint):
        return ""
    if body.schema_version > SCHEMA_VERSION:
        return f"written as version {body.schema_version}; this one reads {SCHEMA_VERSION}"
    if body.operation != row["operation"]:
        return f"operation: the body says {body.operation!r}, its column {row['operation']!r}"
    instants = [body.at, body.recorded_at, body.slot]
    instants += [body.phase.began_at] if body.phase else []
    if body.look:
        instants += [body.look.slot, body.look.window.start, body.look.window.end]
    for instant in instants:
        if instant is not None and not _is_ours(instant):
            return f"{instant.isoformat()} is no instant of a rollout"
    shares = [body.change.after[0]] if body.change else []
    shares += [body.adopted.percentage] if body.adopted else []
    shares += [body.phase.percentage] if body.phase else []
    if any(not 0 <= share <= _WHOLE for share in shares):
        return "a percentage that is not between 0 and 100"
    lines = [line for one in _streams(body) for line in (one.hold_at, one.act_at)]
    if any(not 0 < line < _HIGHEST_LINE for line in lines):
        return "streams: a line that no evidence is held against"
    wrong = _wrong_look(body.look) if body.look else ""
    return wrong or _wrong_figures(body.figures) or _wrong_total(body.evidence.get("phase"))


def _streams(body: Checkpoint) -> tuple[StreamEvidence, ...]:
    return body.verdict.streams if body.verdict else ()


def _wrong_figures(figures: Mapping[str, Any]) -> str:
    """What is wrong with the rows that tables and charts show."""
    for name in ("rows", "hour", "phase"):
        try:
            rows = _adapter(tuple[_Row, ...]).validate_python(figures.get(name, ()))
        except ValidationError:
            return f"figures.{name}: not the rows of a table"
        if rows and not any((row.domain, row.routed_to) == (TOTAL, UNIFIED) for row in rows):
            return f"figures.{name}: no total of unified"
    return ""


def _wrong_look(look: Look) -> str:
    if look.window.end < look.window.start:
        return "look: the increment ends before it begins"
    if TOTAL not in look.errors or TOTAL not in look.latency:
        return "look: no total in it"
    counted = [*look.errors.values(), *look.latency.values(), look.router, look.legacy]
    counted += [Counts(bad=0, total=look.unified_settled), Counts(bad=0, total=look.legacy_settled)]
    counted += [*look.protected.values(), *(one for seen in look.seen.values() for one in seen)]
    if any(not 0 <= one.bad <= one.total for one in counted):
        return "look: counts that no log could give"
    return ""


def _wrong_total(phase: Any) -> str:
    """What is wrong with the figures that a later phase, or an acknowledgement, is measured by."""
    if phase is None:
        return ""
    try:
        bad, total, share = phase["bad"], phase["total"], Decimal(str(phase["percentage"]))
    except (KeyError, TypeError, ArithmeticError):
        return "evidence.phase: no bad, total and percentage in it"
    whole = type(bad) is int and type(total) is int and 0 <= bad <= total
    return "" if whole and 0 <= share <= _WHOLE else "evidence.phase: counts that no log could give"


def _wrong_statement(said: Statement) -> str:
    if not said.by.strip():
        return "by: nobody's name"
    if said.subject is Subject.COMPLAINTS and said.value not in COMPLAINTS:
        return f"complaints: {said.value!r} is none of {', '.join(COMPLAINTS)}"
    if said.subject is Subject.EXTENSION:
        plain = said.value.isascii() and said.value.isdigit() and len(said.value) < 9
        if not plain or not 0 < int(said.value) <= LONGEST_EXTENSION_S:
            return f"extension: {said.value!r} is no number of seconds that can be added"
    return ""


def _is_ours(instant: datetime | None) -> bool:
    """An aware instant of this century or the next: arithmetic on it cannot fail."""
    return instant is not None and instant.tzinfo is not None and _FIRST <= instant < _LAST


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, with its place; never the value, which may be anything."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    place = ".".join(str(part) for part in found[0]["loc"])
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{place}: {found[0]['msg']}{more}" if place else f"{found[0]['msg']}{more}"
