"""Rows of the ledger as values: what cannot be read is one too, and nothing downstream breaks on it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_lib.archive.index import rebuild
from rollout_lib.control_room.view import steps_of
from rollout_lib.display import charts
from rollout_lib.judgement.gates import may_raise
from rollout_lib.judgement.state import fold
from rollout_lib.judgement.summary import summarise
from rollout_lib.model import (
    Check,
    CheckKind,
    Entry,
    EntryKind,
    Outcome,
    State,
    Unreadable,
    runs,
)
from rollout_lib.model.record import _kind_of, from_json, read_entry, to_json
from rollout_lib.operations.preflight import _OVERRIDABLE
from rollout_lib.plan import load_plan

PLAN = load_plan("parameters/week6.rehearsal.yaml")
KINDS = [kind.value for kind in EntryKind]
OPERATIONS = ["monitor", "evaluate", "change", "rollback", "preflight", "complaints", "extension"]
INSTANTS = [
    "2025-12-03T08:00:00+00:00",
    "2025-12-03T08:15:00Z",
    "infinity",
    "-infinity",
    "0044-03-15T00:00:00+00:00 BC",
    "294276-01-01T00:00:00+00:00",
    "9999-12-31T23:59:59+00:00",
    "2025-12-03T08:00:00",
]
EMERGENCY = {
    "run_id": "e",
    "operation": "rollback",
    "operator": "Otto",
    "state": "OFF",
    "sentence": "Emergency: routing is disabled. fire",
    "exit_code": 0,
    "change": {
        "before": None,
        "asked": ["0.00", False],
        "after": ["0.00", False],
        "applied": True,
        "reason": "fire",
        "detail": "",
    },
}


def row(body, **columns):
    """A row of the ledger; body is text, or what becomes JSON."""
    return {
        "seq": 1,
        "kind": "checkpoint",
        "operation": "monitor",
        "rollout": PLAN.rollout,
        "at": body.get("at", INSTANTS[0]) if isinstance(body, dict) else INSTANTS[0],
        "phase_began": began(body),
        "slot": None,
        "run_id": "r",
        "hash": "ab" * 32,
        "body": body if isinstance(body, str) else json.dumps(body),
        **columns,
    }


def began(body):
    """When the phase of a body began, as its column would say."""
    phase = body.get("phase") if isinstance(body, dict) else None
    return phase.get("began_at") if isinstance(phase, dict) else None


def a_check(day):
    """The text of a real check at 10 %, as its body."""
    day.change(10)
    day.check()
    return json.loads(day.entries[-1].text)


SPOILED = {
    "a state of a newer version": {"state": "PAUSED"},
    "a number for a state": {"state": 7},
    "no state": {"state": ...},
    "a newer schema": {"schema_version": 9},
    "an outcome that is none": {"verdict.checks.0.outcome": "MAYBE"},
    "an instant without an offset": {"look.window.end": "2025-12-03T08:15:00"},
    "an instant of another age": {"phase.began_at": "9999-12-31T23:59:00Z"},
    "a negative count": {"look.errors.total.bad": -1},
    "more bad than there were": {"look.errors.total.bad": 10**6},
    "no total": {"look.errors.total": ...},
    "an increment that ends before it begins": {"look.window.end": "2025-12-01T08:15:00Z"},
    "a percentage of 300": {"phase.percentage": "300"},
    "no percentage": {"phase.percentage": "NaN"},
    "another operation": {"operation": "evaluate"},
    "another instant": {"recorded_at": "1999-12-03T08:15:00Z"},
    "figures that are none": {"figures.rows": [1, 2]},
    "figures without a domain": {"figures.rows.0.domain": ...},
    "rows that are text": {"figures.rows": "many"},
    "an evaluation of nothing": {"evidence": {"phase": {"bad": "x"}}},
    "a change without an end": {"change": {"applied": True}},
}


def spoil(body, path, value):
    """Set (or with ... take away) what stands at a dotted path."""
    *way, last = path.split(".")
    for name in way:
        body = body[int(name) if name.isdigit() else name]
    if value is ...:
        del body[last]
    else:
        body[last] = value


@pytest.mark.parametrize("name", SPOILED)
def test_what_no_run_of_ours_wrote_cannot_be_read(day, name):
    """Each is an Unreadable with its number, its place and why, and no other entry suffers."""
    body = a_check(day)
    for path, value in SPOILED[name].items():
        spoil(body, path, value)
    entry = read_entry(row(body, seq=3))
    assert isinstance(entry, Unreadable), entry
    assert (entry.seq, entry.kind, entry.operation, bool(entry.why)) == (
        3,
        "checkpoint",
        "monitor",
        True,
    )
    before = fold(day.entries, day.plan)
    after = fold([*day.entries, entry], day.plan)
    assert after.unreadable == (entry,)
    assert replace(after, head=before.head, unreadable=()) == before


@pytest.mark.parametrize(
    ("body", "columns"),
    [
        ('{"subject":"complaints"}', {"kind": "attestation", "operation": "complaints"}),
        ("not json", {}),
        ("[" * 5000 + "]" * 5000, {}),
        ('{"a":' * 5000 + "1" + "}" * 5000, {}),
        ("{}", {"kind": "archived"}),
        ("{}", {"kind": "message"}),
        (EMERGENCY, {"kind": "snapshot"}),
        (EMERGENCY, {"operation": "rollback", "at": "infinity"}),
        (EMERGENCY, {"operation": "rollback", "slot": "-infinity"}),
        (
            {"subject": "restart", "value": "v", "by": " ", "reason": "r", "plan_digest": "d"},
            {"kind": "acknowledgement", "operation": "restart"},
        ),
        (
            {"subject": "extension", "value": "9" * 30, "by": "R", "reason": "", "plan_digest": ""},
            {"kind": "acknowledgement", "operation": "extension"},
        ),
        (
            {"subject": "blessing", "value": "", "by": "R", "reason": "r", "plan_digest": "d"},
            {"kind": "acknowledgement", "operation": "blessing"},
        ),
    ],
)
def test_a_malformed_row_is_a_value(body, columns):
    """Bodies that are no object, too deep, too short; kinds and instants that are none of ours."""
    entry = read_entry(row(body, **columns))
    assert isinstance(entry, Unreadable)
    assert entry.why
    assert fold([entry], PLAN).unreadable == (entry,)


@pytest.mark.parametrize("before", [None, ["25.00", True], [None, True], ["NaN", True]])
@pytest.mark.parametrize("after", [["0.00", False], [None, False], ["NaN", False]])
def test_an_emergency_says_little_and_is_read(before, after):
    """Its few words are a checkpoint that switched routing off at the entry's instant, whatever the
    configuration held.
    """
    change = EMERGENCY["change"] | {"before": before, "after": after}
    entry = read_entry(row(EMERGENCY | {"change": change}, operation="rollback"))
    assert isinstance(entry, Entry), entry
    standing = fold([entry], PLAN)
    assert standing.last_change[1:] == (0, False)
    assert standing.latched is State.ROLL_BACK
    assert standing.latched_reason == "fire"


def test_a_checkpoint_is_the_same_after_a_round_trip(day):
    """Change, checks, evaluation: text -> value -> text -> value, by the codec and by from_json."""
    day.change(10)
    for errors in (0, 1, 9):
        day.check(errors=errors)
    day.evaluate()
    for entry in runs(day.entries):
        assert to_json(from_json(entry.text)) == entry.text
        assert from_json(entry.text) == entry.body


def test_an_unreadable_entry_stops_a_raise_and_nothing_else(day):
    """The check goes on and finds what it would have found, at least as a HOLD that names the entry
    and the command; the gate is not met, whatever else is.
    """
    day.change(10)
    calm = day.check().verdict
    day.entries.append(
        read_entry(
            row('{"subject":"complaints"}', seq=3, kind="attestation", operation="complaints")
        )
    )
    verdict = day.check().verdict
    assert (calm.state, verdict.state) == (State.CLEAN_UNPROVEN, State.HOLD)
    assert verdict.evidence is State.CLEAN_UNPROVEN
    assert "#3" in verdict.sentence
    assert verdict.next_step.startswith("rollout acknowledge --unreadable 3 ")
    for again in (False, True):
        gates = may_raise(
            plan=day.plan,
            config=day._config(),
            standing=fold(day.entries, day.plan),
            target=day.plan.phases[0].percentage,
            now=day.now,
            operator="Rita",
            typed_environment="",
            again=again,
            expected=None,
            preflight=State.PASS,
        )
        assert "ledger readable" in {gate.name for gate in gates if not gate.met}
    assert day.check(errors=9).verdict.state is State.ROLL_BACK


def test_an_entry_is_set_aside_by_its_number_and_hash(day):
    """A statement of another hash sets nothing aside; the right one frees the raise again."""
    day.change(10)
    spoilt = read_entry(row("{}", seq=2))
    entries = [*day.entries, spoilt]

    def stated(seq, value):
        body = {"subject": "unreadable", "value": value, "by": "Rita", "reason": "planted"}
        return read_entry(
            row(
                body | {"plan_digest": "d"},
                seq=seq,
                kind="acknowledgement",
                operation="unreadable",
            )
        )

    other = [*entries, stated(3, "2:" + "0" * 16)]
    assert fold(other, day.plan).unreadable == (spoilt,)
    assert fold([*other, stated(4, f"9:{'1' * 16} {spoilt.key}")], day.plan).unreadable == ()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([*INSTANTS, "PASS", "monitor", "total", "25", "-1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(["bad", "total", "state"]), inner)
    ),
    max_leaves=8,
)


@st.composite
def garbage(draw):
    """Rows of any kind whose body is a real one with places of it replaced, or anything."""
    base = draw(st.sampled_from([*REAL, EMERGENCY, {}]))
    body = json.loads(json.dumps(base))
    for _ in range(draw(st.integers(0, 3))):
        place = body
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or draw(st.booleans()):
                if draw(st.booleans()) and isinstance(place, dict):
                    del place[key]
                else:
                    place[key] = draw(json_values)
                break
            place = place[key]
    return {
        "kind": draw(st.sampled_from([*KINDS, "snapshot"])),
        "operation": draw(st.sampled_from(OPERATIONS)),
        "at": draw(st.sampled_from(INSTANTS)),
        "phase_began": draw(st.sampled_from([None, INSTANTS[0], *INSTANTS])),
        "slot": draw(st.sampled_from([None, *INSTANTS])),
        "body": json.dumps(body) if draw(st.booleans()) else draw(st.sampled_from(TEXTS)),
    }


TEXTS = ["{}", "null", "", "{", '{"state":"PASS"}', '{"subject":"complaints"}', '{"files":{}}']
REAL: list[dict] = []


@pytest.fixture
def real(day):
    """Bodies of a real day, for the garbage to be made of."""
    if not REAL:
        day.change(10)
        for errors in (0, 1):
            day.check(errors=errors)
        day.evaluate()
        REAL.extend(json.loads(entry.text) for entry in day.entries)
    return day


def test_no_garbage_ends_a_fold(real):
    """Whatever stands on the ledger: every reader of it comes to its end, and what could not be read
    is known by its number.
    """
    if not real.entries:
        real.change(10)
    now = real.now + timedelta(hours=1)

    def beside(rows):
        entries = [*real.entries]
        for item in rows:
            entries.append(read_entry(row(**(item | {"seq": len(entries) + 1}))))
        return entries

    @given(st.lists(garbage(), max_size=4))
    def holds(rows):
        entries = beside(rows)
        standing = fold(entries, PLAN)
        spoilt = [entry.seq for entry in entries if isinstance(entry, Unreadable)]
        assert [entry.seq for entry in standing.unreadable] == spoilt
        summarise(entries, PLAN, now)
        steps_of(entries)

    @settings(max_examples=15)  # a chart takes as long as a hundred folds
    @given(st.lists(garbage(), min_size=1, max_size=4))
    def is_drawn(rows):
        history = [run.body for run in runs(beside(rows))]
        for chart in (charts.timeline, charts.error_rate, charts.interval, charts.evidence):
            chart(history, PLAN)

    holds()
    is_drawn()


def test_a_record_of_before_the_kinds_gets_them_from_its_labels(day):
    """Checks and streams of a phase that was written without kind, subject, measure and domain are
    read as the same that is written today; the fold is the same.
    """
    day.change(10)
    day.check(errors=1)
    day.evaluate()
    for entry in runs(day.entries):
        body = json.loads(entry.text)
        for check in (body["verdict"] or {}).get("checks", []):
            if _kind_of(check["name"])[0] is not CheckKind.OTHER:  # else it is younger than kinds
                del check["kind"], check["subject"]
        for stream in (body["verdict"] or {}).get("streams", []):
            del stream["measure"], stream["domain"]
        old = read_entry(row(body, operation=entry.operation))
        assert isinstance(old, Entry), old
        assert old.body == entry.body


def test_a_label_is_no_key(day):
    """A check may be called anything: what overrides, what decides and what is told goes by kind."""
    check = Check(
        name="legacy of something else", outcome=Outcome.FAIL, observed="", limit="", reason=""
    )
    assert check.kind not in _OVERRIDABLE
    day.change(10)
    checks = day.check().verdict.checks
    assert CheckKind.OTHER not in {one.kind for one in (*checks, *day.evaluate().verdict.checks)}


def test_the_index_counts_what_cannot_be_read(tmp_path, day):
    """A malformed statement and a state of a newer version among the copies: the page is written, and
    says how many entries cannot be read.
    """
    day.change(10)
    day.check()
    spoilt = [("attestation", "complaints", '{"subject":"complaints"}')]
    spoilt += [("checkpoint", "monitor", day.entries[-1].text.replace("CLEAN_UNPROVEN", "PAUSED"))]
    spoilt += [("archived", "20_monitor", '{"run_id":"r","files":7}')]
    good = [(entry.kind.value, entry.operation, entry.text) for entry in day.entries]
    for seq, (kind, operation, text) in enumerate([*good, *spoilt], 1):
        at = json.loads(text).get("at", INSTANTS[1])
        began = (json.loads(text).get("phase") or {}).get("began_at", "")
        columns = ["", str(seq), kind, operation, PLAN.rollout, at, began, "", at, "run", text]
        copy = tmp_path / "ledger" / "abc" / f"{seq:06d}_x.txt"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text("\n".join(columns))
    page = rebuild(tmp_path, PLAN).read_text()
    assert "3 ledger entries cannot be read" in page
    assert "Routing is at 10 %" in page
