"""What the control room offers and shows, as values: nothing old counts, nothing from outside is
markup.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from rollout_lib.control_room import paint
from rollout_lib.control_room.acting import Said, who_was_first
from rollout_lib.control_room.offers import (
    VALID,
    Offer,
    has_moved,
    next_press,
    offer_for,
    problems,
    road_of,
)
from rollout_lib.control_room.view import SHOWN, View, owed, steps_of
from rollout_lib.database.lease import Holder
from rollout_lib.display.answer import answer_of
from rollout_lib.judgement.state import EMPTY
from rollout_lib.model import (
    Act,
    Archived,
    Change,
    Check,
    CheckKind,
    Checkpoint,
    Entry,
    EntryKind,
    Gate,
    Outcome,
    PhaseRun,
    Place,
    RoutingConfig,
    State,
    Statement,
    Subject,
    Verdict,
)

NOW = datetime(2025, 12, 3, 9, 15, tzinfo=UTC)
BEGAN = NOW - timedelta(hours=1)
MARKUP = "<img src=x onerror=alert(1)>"
CONFIG = RoutingConfig(
    percentage=Decimal(10),
    enabled=True,
    domains=("jobs",),
    created_at=BEGAN,
    updated_at=None,
    notes=None,
    rows=1,
)
VERDICT = Verdict(
    state=State.CLEAN_UNPROVEN,
    literal=State.CLEAN,
    evidence=State.CLEAN_UNPROVEN,
    mode="evidence",
    sentence="0 of 115",
    differ=None,
    act=Act.NONE,
    acts_alone=False,
    latched=None,
    checks=(),
)
PLACE = Place(
    environment="rehearsal", host="embedded", database="d", rollout="r", time_zone="Europe/Berlin"
)
VIEW = View(
    place=PLACE,
    at=NOW,
    read_at=NOW,
    simulated=False,
    config=CONFIG,
    phase=PhaseRun(index=0, percentage=Decimal(10), began_at=BEGAN),
    phase_words="phase 1 of 4",
    hold=(BEGAN + timedelta(hours=4), 0.25),
    next_check=NOW + timedelta(minutes=15),
    late=None,
    last=None,
    verdict=VERDICT,
    window=(BEGAN, NOW),
    rows=(),
    errors=(),
    watcher=None,
    up=Decimal(25),
    down=Decimal(5),
    owed=None,
    steps=(),
    history=(),
    head=(1, "ab"),
)


def offered(kind: str, view: View = VIEW) -> Offer:
    found = offer_for(kind, view, NOW)
    assert isinstance(found, Offer), found
    return found


def ran(operation: str = "monitor", **more) -> Checkpoint:
    """A run's checkpoint of NOW."""
    return Checkpoint(
        **{
            "run_id": "a",
            "operation": operation,
            "place": PLACE,
            "plan_digest": "d",
            "plan_path": "p",
            "operator": "Rita",
            "at": NOW,
            "recorded_at": NOW,
            "phase": None,
            "slot": None,
            "config": None,
            "verdict": None,
            "exit_code": 0,
            "state": State.WATCH,
            "sentence": "",
            **more,
        }
    )


def entry(seq: int, kind: EntryKind, operation: str, body) -> Entry:
    return Entry(
        seq=seq,
        kind=kind,
        operation=operation,
        rollout="r",
        at=NOW,
        phase_began=BEGAN,
        slot=None,
        body=body,
    )


@pytest.mark.parametrize(
    "later", [VALID + timedelta(seconds=1), timedelta(hours=1), -timedelta(seconds=1)]
)
@pytest.mark.parametrize("kind", ["emergency", "raise", "step back", "attest"])
def test_a_confirmation_that_comes_late_is_not_carried_out(kind, later):
    """After its minute, after an hour of sleep, or by a clock that was set back: nothing is done,
    and it says so.
    """
    offer = replace(offered(kind), gates=(Gate(name="g", met=True, reason=""),))
    assert problems(offer, NOW, reason="why", typed="", environment="rehearsal") == []
    [said] = problems(offer, NOW + later, reason="why", typed="", environment="rehearsal")
    assert "Nothing was done" in said


def test_a_raise_needs_every_gate_a_reason_and_in_production_the_name():
    """Without gates, with one unmet, without a reason, without the environment's name: each is a
    problem.
    """
    met, unmet = Gate(name="a", met=True, reason=""), Gate(name="b", met=False, reason="")

    def found(offer: Offer, reason: str = "why", typed: str = "production") -> list[str]:
        return problems(offer, NOW, reason=reason, typed=typed, environment="production")

    offer = offered("raise")
    assert found(offer) == found(replace(offer, gates=(met, unmet))) == ["Not every gate is met."]
    assert found(replace(offer, gates=(met,))) == []
    assert "reason" in found(replace(offer, gates=(met,)), reason=" ")[0]
    assert "production" in found(replace(offer, gates=(met,)), typed="prod")[0]


def test_what_is_bound_to_the_screen_is_not_done_elsewhere():
    """A step back or a statement for 10 % is not carried out at 25 %, nor in the next phase; off
    is, anywhere.
    """
    for kind in ("step back", "attest"):
        assert not has_moved(offered(kind), Decimal(10), BEGAN)
        assert has_moved(offered(kind), Decimal(25), BEGAN)
        assert has_moved(offered(kind), Decimal(10), NOW)
    assert not has_moved(offered("emergency"), Decimal(25), NOW)


def test_where_there_is_nothing_to_offer_it_says_why():
    """The last phase, routing off, nothing owed, nothing seen: words; an emergency is offered
    whatever was seen.
    """
    assert isinstance(offer_for("raise", replace(VIEW, up=None), NOW), str)
    assert isinstance(offer_for("step back", replace(VIEW, down=None), NOW), str)
    assert isinstance(offer_for("acknowledge", VIEW, NOW), str)
    for kind in ("raise", "step back", "attest", "acknowledge"):
        assert isinstance(offer_for(kind, None, NOW), str)
        assert isinstance(offer_for(kind, replace(VIEW, config=None), NOW), str)
    assert isinstance(offer_for("emergency", None, NOW), Offer)


def test_an_acknowledgement_is_of_what_waits_for_a_person():
    """An inconclusive evaluation, or a rollback (a restart); a passed phase waits for nobody."""
    assert owed(EMPTY) is None
    assert owed(replace(EMPTY, evaluation=(NOW, State.PASS))) is None
    assert owed(replace(EMPTY, evaluation=(NOW, State.INCONCLUSIVE)))[0] == "acknowledgement"
    assert owed(replace(EMPTY, rolled_back_at=NOW))[:2] == ("restart", "after rollback")


HOUR = timedelta(hours=1)
PASSED = {"at": NOW - timedelta(minutes=20), "state": State.PASS}
SERVED = replace(VIEW, hold=(NOW - timedelta(minutes=30), 1.0))
ROADS = {
    "the hold runs": (VIEW, ""),
    "the hold is served": (SERVED, "evaluate"),
    "it has passed": (replace(SERVED, history=(ran("evaluate", **PASSED),)), "attest"),
    "its pass expired": (
        replace(SERVED, history=(ran("evaluate", **PASSED | {"at": NOW - timedelta(minutes=61)}),)),
        "evaluate",
    ),
    "a hold came after its pass": (
        replace(SERVED, history=(ran("evaluate", **PASSED), ran("monitor", state=State.HOLD))),
        "evaluate",
    ),
    "an earlier phase has passed": (
        replace(SERVED, history=(ran("evaluate", **PASSED | {"at": BEGAN - HOUR}),)),
        "evaluate",
    ),
    "it is inconclusive": (
        replace(SERVED, owed=("acknowledgement", "inconclusive", "one error")),
        "acknowledge",
    ),
    "nothing is planned above": (replace(SERVED, up=None), ""),
    "the configuration cannot be read": (replace(SERVED, config=None), ""),
}


@pytest.mark.parametrize("where", ROADS)
def test_the_road_shows_one_step_that_is_next(where, plan):
    """Marked as the step of now, on the button that takes it too; done is only what was read."""
    view, press = ROADS[where]
    assert next_press(view, HOUR) == press
    shown = paint.road(view, plan)
    steps = road_of(view, HOUR)
    assert shown.count("▶ ") == bool(steps)
    if steps:
        now = next(step for step in steps if not step.done)
        assert f"▶ {now.words}" in shown


def test_what_waits_for_a_name_stays_on_top_of_the_road(plan):
    """In words of the ledger, without markup of theirs."""
    shown = paint.road(replace(VIEW, owed=("restart", "after rollback", MARKUP)), plan)
    assert "To acknowledge:" in shown
    assert MARKUP not in shown


OFF = replace(CONFIG, enabled=False, percentage=Decimal(0))


def test_a_report_after_a_rollback_says_it_as_done():
    """ROLLED BACK and the cause, not an order to switch off what is off."""
    said = answer_of(ran("report", state=State.ROLL_BACK, config=OFF))
    assert (said.badge.word, said.step) == ("ROLLED BACK", "Find the cause.")
    on = answer_of(ran("report", state=State.ROLL_BACK, config=CONFIG))
    assert on.badge.word != "ROLLED BACK"


def test_a_refusal_counts_its_gates_in_its_sentence_and_lists_them_once():
    """The sentence of the record names each; the page lists them below it."""
    gates = tuple(Gate(name=f"gate {n}", met=n > 1, reason="no") for n in range(4))
    change = Change(
        asked=(Decimal(25), True),
        before=(Decimal(10), True),
        after=(Decimal(10), True),
        applied=False,
        reason="x",
        gates=gates,
    )
    run = ran("change", change=change, exit_code=60, sentence="Refused: gate 0: no; gate 1: no.")
    assert answer_of(run).sentence == "Refused, nothing was changed: 2 of 4 gates are not met."


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (CheckKind.SPLIT, "Look at the share again"),
        (CheckKind.LATENCY, "Look at what is slow"),
        (CheckKind.ERRORS, "Look at what failed"),
        (CheckKind.WORDS, "Look at what is found below"),
    ],
)
def test_where_nothing_failed_nobody_is_sent_to_failures(kind, words):
    """The step names what was found."""
    check = Check(
        name="x", kind=kind, outcome=Outcome.WARN, observed="", limit="", reason="", state=None
    )
    verdict = replace(VERDICT, state=State.WATCH, checks=(check,))
    assert answer_of(ran(verdict=verdict)).step.startswith(words)


def test_who_came_second_is_told_who_was_first_and_when():
    """The last change that was applied: its operator and instant; an edit past the suite is said to
    be one.
    """
    at = (Decimal(25), True)
    change = Change(before=at, asked=at, after=at, applied=True, reason="")
    first = ran("change", change=change, operator="Otto", sentence="Routing is at 25 %.")
    refused = ran("change", change=replace(change, applied=False), sentence="Refused")
    told = who_was_first([first, refused], "Europe/Berlin")
    assert told == "Otto was first, Wed 3 Dec 10:15 CET (09:15 UTC): Routing is at 25 %."
    assert "past the suite" in who_was_first([refused], "Europe/Berlin")


def test_the_timeline_joins_a_run_with_its_archived_files():
    """Newest first, at most SHOWN rows; a run's two entries are one, a statement
    says who made it.
    """
    run = entry(1, EntryKind.CHECKPOINT, "monitor", ran(sentence="one"))
    files = {"r/x.html": "…", "r/x.ipynb": "…"}
    kept = Archived(run_id="a", files=files)
    stated = Statement(
        subject=Subject.COMPLAINTS, value="none", reason="", by="Otto", plan_digest="d", run_id="b"
    )
    said = entry(3, EntryKind.ATTESTATION, "complaints", stated)
    steps = steps_of([run, entry(2, EntryKind.ARCHIVED, "20_monitor", kept), said])
    assert [(step.what, step.state, step.by, step.files) for step in steps] == [
        ("attestation", None, "Otto", ()),
        ("monitor", State.WATCH, "Rita", tuple(files)),
    ]
    many = [entry(seq, EntryKind.EXTRA, "monitor", ran(run_id=str(seq))) for seq in range(1, 40)]
    assert [step.seq for step in steps_of(many)] == list(range(39, 39 - SHOWN, -1))


def test_nothing_from_outside_is_markup(plan, tmp_path):
    """A reason, an operator, an error message, a gate, a refusal: escaped
    wherever they are shown.
    """
    run = ran("change", state=State.PASS, sentence=MARKUP, operator=MARKUP)
    step = steps_of([entry(1, EntryKind.CHECKPOINT, "change", run)])
    error = {
        "domain": MARKUP,
        "routed_to": MARKUP,
        "error_message": MARKUP,
        "occurrences": 1,
        "last_seen": NOW.isoformat(),
    }
    view = replace(
        VIEW,
        steps=step,
        errors=(error,),
        verdict=replace(VERDICT, sentence=MARKUP, next_step=MARKUP),
        last=ran(sentence=MARKUP),
        watcher=Holder(name=MARKUP, taken_at=NOW, until=NOW, runs=True),
    )
    asked = replace(
        offered("raise"), words=MARKUP, gates=(Gate(name=MARKUP, met=False, reason=MARKUP),)
    )
    said = paint.said(MARKUP, Said(done=False, text=MARKUP, more=(MARKUP,)), NOW)
    shown = [
        paint.tiles(view),
        paint.verdict(view),
        paint.figures(view, plan),
        said,
        paint.timeline(view, lambda _: "", tmp_path),
        paint.offer(asked, "production", MARKUP),
        paint.heartbeat(view, MARKUP, NOW, 40),
    ]
    assert all("<img" not in html for html in shown)
    assert all("&lt;img" in html for html in shown)


def test_what_is_not_current_is_not_shown_as_current():
    """Away: since when, the words, and greyed at once; live: the browser greys it by itself when no
    beat follows.
    """
    away = paint.heartbeat(VIEW, "refused", NOW, 40)
    assert "NOT CURRENT since 09:15:00 UTC" in away
    assert "cr-veil cr-now" in away
    live = paint.heartbeat(VIEW, "", None, 40)
    assert "animation-delay:40s" in live
    assert "cr-now" not in live


def test_a_missing_watcher_or_an_overdue_check_is_marked_by_a_sign_too():
    """Never by colour alone."""
    tiles = paint.tiles(replace(VIEW, late=timedelta(minutes=9)))
    assert tiles.count("! ") == tiles.count("cr-mind") == 2
    assert "by 9 min" in tiles
    seen = replace(VIEW, watcher=Holder(name="host:1:ab", taken_at=NOW, until=NOW, runs=True))
    assert "! " not in paint.tiles(seen)
