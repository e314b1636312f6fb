"""Recorded history judged again on a real database: as it was, otherwise, and without a trace."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text

from rollout_lib import emergency
from rollout_lib import operations as op
from rollout_lib.cli.app import run
from rollout_lib.database.session import open_session
from rollout_lib.errors import CouldNotMeasure, ParameterError, PlanError
from rollout_lib.judgement.acts import ActedBy
from rollout_lib.model import State
from rollout_lib.operations.replay import plan_with, replay
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World

pytestmark = [pytest.mark.slow, pytest.mark.one_server]

PLAN = "parameters/week6.rehearsal.yaml"


@pytest.fixture
def recorded(database, plan, request):
    """A phase of ten checks in one world; returns the world and what the checks said."""
    world = World(database.address, plan, SCENARIOS[request.param], seed=1)
    world.prelude(world.start)

    def session():
        return open_session(PLAN, as_of=world.now.isoformat(), operator="Rita")

    op.attest(session(), subject="complaints", value="none")
    assert op.change_percentage(
        session(), to=Decimal(10), reason="first", dry_run=False
    ).checkpoint.change.applied
    states = []
    for _ in range(10):
        world.advance(world.now + timedelta(minutes=15))
        states.append(op.monitor(session(), slot="now").checkpoint.state)
    yield world, states
    world.close()


def _everything(database) -> str:
    """Every row of every table of ours with its place and writer: what a byte of change would
    alter.
    """
    with database.engine.connect() as connection:
        tables = connection.execute(
            text(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN "
                "('public', 'rollout') ORDER BY 1"
            )
        ).scalars()
        return "\n".join(
            f"{name} "
            + connection.execute(
                text(
                    "SELECT coalesce(md5(string_agg(ctid::text || xmin::text || t::text, ',' ORDER"
                    f" BY ctid)), '') FROM {name} t"
                )
            ).scalar_one()
            for name in list(tables)
        )


def _replay(world, other=None):
    return replay(open_session(PLAN), start=world.start, end=world.now, judge_by=other)


@pytest.mark.parametrize("recorded", ["errors"], indirect=True)
def test_the_same_plan_judges_history_as_it_was(recorded):
    """Each replayed check of the running phase has the recorded state, and the act comes at the
    same slot.
    """
    world, states = recorded
    result = _replay(world)
    (phase,) = result.phases
    ran = [state for state in states if state is not State.OFF]
    assert (
        [check.verdict.state for check in phase.checks]
        == ran
        == [check.recorded for check in phase.checks]
    )
    assert phase.replayed_act[:2] == phase.recorded_act
    assert phase.outcome == "as recorded"


@pytest.mark.parametrize("recorded", ["errors"], indirect=True)
def test_another_plan_avoids_or_hastens_a_rollback(recorded, tmp_path):
    """Under limits of 50 % nothing acts: avoided. In mode strict the act comes no later than
    recorded.
    """
    world, _ = recorded
    plan = open_session(PLAN).plan
    lax, strict = tmp_path / "lax.yaml", tmp_path / "strict.yaml"
    lax.write_text("thresholds: {error_rate_investigate_pct: 40, error_rate_rollback_pct: 50}")
    strict.write_text("mode: strict")
    avoided = _replay(world, plan_with(plan, lax)).phases[0]
    assert (avoided.outcome, avoided.replayed_act) == ("avoided", None)
    hastened = _replay(world, plan_with(plan, strict)).phases[0]
    assert hastened.outcome in ("earlier", "as recorded")
    assert hastened.replayed_act[0] <= avoided.recorded_act[0]


@pytest.mark.parametrize("recorded", ["single-error"], indirect=True)
def test_the_literal_rule_would_have_rolled_back_for_one_error(recorded, tmp_path):
    """One webhook: what ran watched and went on; strict would have switched routing off: a rollback
    it missed.
    """
    world, states = recorded
    assert State.ROLL_BACK not in states
    strict = tmp_path / "strict.yaml"
    strict.write_text("mode: strict")
    phase = _replay(world, plan_with(open_session(PLAN).plan, strict)).phases[0]
    assert (phase.outcome, phase.replayed_act[1]) == ("missed", State.ROLL_BACK)


@pytest.mark.parametrize("recorded", ["single-error"], indirect=True)
def test_a_replay_changes_nothing(recorded, database, tmp_path, monkeypatch, capsys):
    """By the command, as a table and as JSON: the database is the same to the last row, the page is
    written once.
    """
    world, _ = recorded
    before = _everything(database)
    span = [
        "--from",
        world.start.isoformat(),
        "--to",
        world.now.isoformat(),
        "--outputs",
        str(tmp_path),
    ]
    assert run(["replay", *span]) == 0
    shown = capsys.readouterr().out
    assert "10 of 10 checks ask for the same as was recorded" in shown
    assert run(["replay", *span, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [check["recorded"] for phase in told["phases"] for check in phase["checks"]].count(
        "WATCH"
    ) >= 1
    assert _everything(database) == before
    (page,) = tmp_path.rglob("*.html")
    html = page.read_text()
    assert "<script" not in html
    assert html.count("<svg") == 3


@pytest.mark.parametrize("recorded", ["healthy"], indirect=True)
def test_a_replay_of_nothing_or_by_nonsense_is_refused(recorded, tmp_path):
    """A span without a phase could not be measured; a file without a judging section, or a typo, is
    exit 2.
    """
    world, _ = recorded
    session = open_session(PLAN)
    with pytest.raises(CouldNotMeasure):
        replay(session, start=world.start - timedelta(days=3), end=world.start - timedelta(days=2))
    with pytest.raises(ParameterError):
        replay(session, start=world.now, end=world.start)
    typo = tmp_path / "typo.yaml"
    for content in (
        "",
        "domains: [jobs]",
        "thresholds: {error_rate: 1}",
        "mode: strict\nmodes: x",
        "mode: [",
        "thresholds: {error_rate_investigate_pct: .nan}",
    ):
        typo.write_text(content)
        with pytest.raises(PlanError):
            plan_with(session.plan, typo)


def test_every_problem_of_another_plan_is_said_at_once(tmp_path):
    """Unknown keys at the top and inside, a contradiction with what the plan keeps, a doubled key:
    one refusal.
    """
    other = tmp_path / "other.yaml"
    other.write_text(
        "modes: x\nthresholds: {p95_rollback_ms: 1500, limit: 1}\n"
        "monitoring: {window: 5m, window: 5m}\nmode: lax\n"
    )
    with pytest.raises(PlanError) as refused:
        plan_with(load_plan(PLAN), other)
    said = str(refused.value).splitlines()[1:]
    assert [line.split(":")[0] for line in said] == [
        "line 3",
        "modes",
        "thresholds.limit",
        "mode",
        "monitoring.window",
        "thresholds.p95_rollback_ms",
    ]
    other.write_text("modes: x\nseed: 1\n")
    with pytest.raises(
        PlanError, match=r"(?s)at least one of .*modes: unknown key\nseed: unknown key"
    ):
        plan_with(load_plan(PLAN), other)


@pytest.fixture
def between(database, plan):
    """A phase in a world with errors, looked at between its slots too, until the tripwire acts."""
    world = World(database.address, plan, SCENARIOS["errors"], seed=1)
    world.prelude(world.start)

    def session():
        return open_session(PLAN, as_of=world.now.isoformat(), operator="Rita")

    op.attest(session(), subject="complaints", value="none")
    op.change_percentage(session(), to=Decimal(10), reason="first", dry_run=False)
    for minute in range(5, 180, 5):
        world.advance(world.start + timedelta(minutes=minute))
        run = op.trip(session()).recorded if minute % 15 else op.monitor(session(), slot="now")
        if run is not None and run.checkpoint.change is not None:
            break
    yield world, run
    world.close()


def test_an_act_of_the_tripwire_is_replayed_at_its_own_instant(between):
    """Between two slots: the same plan finds the same act at the same minute, and says whose it was."""
    world, run = between
    assert run.checkpoint.kind == "extra", "the seed lets the tripwire act, not a slot"
    (phase,) = _replay(world).phases
    assert (phase.outcome, phase.recorded_by) == ("as recorded", ActedBy.TRIPWIRE)
    assert phase.replayed_act[:2] == phase.recorded_act == (run.checkpoint.at, State.ROLL_BACK)


@pytest.mark.parametrize("recorded", ["healthy"], indirect=True)
@pytest.mark.parametrize("way", ["rollback", "emergency", "psql"])
def test_what_a_person_lowered_is_no_rollback_that_would_not_have_happened(recorded, database, way):
    """By command, by the emergency or past the suite: named as theirs, with who and why; every check
    that ran is there, and none is called missed.
    """
    world, states = recorded
    world.advance(world.now + timedelta(minutes=4))
    session = open_session(PLAN, as_of=world.now.isoformat(), operator="Otto")
    if way == "rollback":
        op.roll_back(session, reason="a hunch", dry_run=False)
    elif way == "emergency":
        emergency.switch_off(
            database.address,
            reason="a hunch",
            operator="Otto",
            rollout=session.plan.rollout,
            at=world.now,
        )
    else:
        with database.transaction(readonly=False) as connection:
            connection.execute(text("UPDATE webhook_routing_config SET enabled = false"))
        op.monitor(session)
    (phase,) = _replay(world).phases
    assert phase.outcome == ("by hand" if way == "psql" else "by a person")
    assert way == "psql" or "Otto lowered it" in phase.finding
    assert [check.recorded for check in phase.checks] == states
