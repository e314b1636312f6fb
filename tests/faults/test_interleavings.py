"""Random days: changes, edits from outside, lost lines and verdicts in any order, on a real
database.
"""

from __future__ import annotations

import os
import uuid
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rollout_lib import operations as op
from rollout_lib.database.ledger import read_facts
from rollout_lib.database.session import open_session
from rollout_lib.errors import CouldNotMeasure
from rollout_lib.judgement.state import fold
from rollout_lib.model import State
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS, Truth
from rollout_lib.rehearsal.server import create_database, drop_database
from rollout_lib.rehearsal.world import World

pytestmark = pytest.mark.slow

VARIABLE = "ROLLOUT_REHEARSAL_URL"
WELL, FAILING = Truth(), Truth(unified_errors=0.5)
PHASES = [Decimal(10), Decimal(25), Decimal(35), Decimal(50)]
LOST = st.one_of(
    st.none(), st.none(), st.integers(9, 40)
)  # at which request the line is lost, if at all


class Day(RuleBasedStateMachine):
    """One rollout of four phases of half an hour each; what the suite does is watched, what people
    do is not.
    """

    server = template = plan_file = outputs = proxy = through = None  # set by the test

    @initialize()
    def begins(self) -> None:
        self.name = f"rehearsal_{uuid.uuid4().hex[:12]}"
        self.direct = create_database(self.server, self.name, self.template)
        os.environ[VARIABLE] = self.through(self.direct)
        os.environ["ROLLOUT_OUTPUTS"] = str(self.outputs / self.name)
        self.plan = load_plan(self.plan_file)
        self.world = World(self.direct, self.plan, SCENARIOS["healthy"], seed=7)
        self.world.now = self.world.start
        self.admin = psycopg.connect(self.direct, autocommit=True)
        self.routed = self.raised = 0

    def teardown(self) -> None:
        self.proxy.mend()
        if hasattr(self, "admin"):
            self.world.close()
            self.admin.close()
            drop_database(self.server, self.name)

    def session(self):
        return open_session(str(self.plan_file), as_of=self.world.now.isoformat(), operator="Rita")

    def config(self) -> tuple[Decimal, bool]:
        return self.admin.execute(
            "SELECT percentage, enabled FROM webhook_routing_config"
        ).fetchone()

    def standing(self):
        with self.session().database.transaction(readonly=True) as connection:
            return fold(read_facts(connection, self.plan).entries, self.plan)

    def run(self, operation, lost: int | None = None):
        """An operation of the suite, its line lost at some request; None where it
        came to no end.
        """
        if lost:
            self.proxy.arm(lost, "unanswered")
        try:
            return operation()
        except CouldNotMeasure:
            return None
        finally:
            self.proxy.mend()

    def lowers(self, operation, lost: int | None = None):
        """Whatever this operation is, the share of unified is no larger after it."""
        percentage, enabled = self.config()
        done = self.run(operation, lost)
        after = self.config()
        assert after[0] <= percentage
        assert after[1] <= enabled
        return done

    @rule(well=st.sampled_from([True, True, True, False]), lost=LOST)
    def a_quarter_of_an_hour(self, well: bool, lost: int | None) -> None:
        self.world.truth = WELL if well else FAILING
        self.world.advance(self.world.now + timedelta(minutes=15))
        self.lowers(lambda: op.monitor(self.session(), slot="now"), lost)

    @precondition(lambda self: self.config()[1])
    @rule()
    def a_phase_goes_well(self) -> None:
        for _ in range(2):
            self.a_quarter_of_an_hour(well=True, lost=None)
        self.evaluate(lost=None)

    @rule(lost=LOST)
    def a_round_of_the_tripwire(self, lost: int | None) -> None:
        self.lowers(lambda: op.trip(self.session()), lost)

    @precondition(lambda self: self.config()[1])
    @rule(lost=LOST)
    def evaluate(self, lost: int | None) -> None:
        self.lowers(lambda: op.evaluate_phase(self.session()), lost)

    @rule(value=st.sampled_from(["none", "none", "none", "some", "spike"]))
    def attest(self, value: str) -> None:
        self.lowers(lambda: op.attest(self.session(), subject="complaints", value=value))

    @rule()
    def restart(self) -> None:
        self.lowers(
            lambda: op.attest(
                self.session(), subject="restart", value="x", reason="talked about it"
            )
        )

    @rule(gradual=st.booleans())
    def roll_back(self, gradual: bool) -> None:
        before = self.config()
        done = self.lowers(
            lambda: op.roll_back(self.session(), reason=uuid.uuid4().hex, gradual=gradual)
        )
        assert done is not None, "a rollback is never refused"
        after = self.config()
        assert not after[1] or (gradual and after[0] < before[0])

    @rule(to=st.sampled_from(PHASES), again=st.sampled_from([False, False, True]), lost=LOST)
    def raise_it(self, to: Decimal, again: bool, lost: int | None) -> None:
        if not again:  # what a person does who means it
            op.attest(self.session(), subject="complaints", value="none")
        before, known = self.config(), self.standing()
        done = self.run(
            lambda: op.change_percentage(
                self.session(), to=to, reason="x", dry_run=False, again=again
            ),
            lost,
        )
        after = self.config()
        if done is not None and done.checkpoint.exit_code == 60:
            assert after == before
        if after[0] <= before[0] and after[1] <= before[1]:
            return
        self.raised += 1
        assert self.standing().last_change[1:] == after == (to, True), (
            "raised, and the ledger does not say so"
        )
        if not before[1] or known.phase.percentage == 5:
            assert to == PHASES[0], "the first raise is to the first phase"
            assert known.rolled_back_at is None or any(
                item.subject == "restart" and item.at >= known.rolled_back_at
                for item in known.attestations
            )
            return
        assert PHASES.index(to) == PHASES.index(before[0]) + 1, "one phase, the next one"
        assert known.phase.percentage == before[0], "not from where somebody else put it"
        assert known.evaluation[1] is State.PASS
        assert known.revoked is None
        assert known.latched is None

    @rule(percentage=st.sampled_from([0, 5, 10, 12, 25, 50, 100]), enabled=st.booleans())
    def somebody_edits_it(self, percentage: int, enabled: bool) -> None:
        self.admin.execute(
            "UPDATE webhook_routing_config SET percentage = %s, enabled = %s, notes = 'psql'",
            (percentage, enabled),
        )

    @rule(domain=st.sampled_from(["mobility", "profile", "insurance"]))
    def somebody_adds_a_protected_domain(self, domain: str) -> None:
        with pytest.raises(psycopg.errors.CheckViolation):
            self.admin.execute(
                "UPDATE webhook_routing_config SET domains = domains || %s", ([domain],)
            )

    @invariant()
    def a_protected_domain_is_never_routed(self) -> None:
        if not hasattr(self, "admin"):
            return
        statement = (
            "SELECT count(*) FROM webhook_routing_logs WHERE routed_to = 'unified' AND domain = ANY"
            " (%s)"
        )
        rows = self.admin.execute(statement, (list(self.plan.protected_domains),)).fetchone()
        assert rows == (0,)


@pytest.fixture
def days(server, passed, tmp_path, proxy, through, monkeypatch):
    """Everything that a random day begins with."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("ROLLOUT_OUTPUTS", "")
    content = yaml.safe_load(Path("parameters/week6.rehearsal.yaml").read_text(encoding="utf-8"))
    for phase in content["phases"]:
        phase["hold"] = "30m"
    content["monitoring"] |= {"stale_after": "20m"}
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    given = {
        "server": server,
        "template": passed[1]["morning"],
        "plan_file": file,
        "outputs": tmp_path,
        "proxy": proxy,
        "through": staticmethod(through),
    }
    return type("Day", (Day,), given)


def test_in_any_order_it_rises_only_by_one_planned_phase_with_passed_evidence(days):
    """And: a rollback is never refused, nothing but a change raises, a protected domain is never
    eligible.
    """
    how = settings(
        max_examples=10,
        stateful_step_count=14,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(days, settings=how)


def test_in_many_more_orders(days):
    """The same, ten times as many days."""
    how = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(days, settings=how)


def test_a_whole_rollout_passes_in_such_a_day(days):
    """So that the random days can rise at all: attest, raise, two checks, evaluate, four times,
    ends at 50 %.
    """
    day = days()
    day.begins()
    try:
        for phase in PHASES:
            day.raise_it(to=phase, again=False, lost=None)
            assert day.config() == (phase, True), op.change_percentage(
                day.session(), to=phase, reason="x"
            ).checkpoint.sentence
            for _ in range(2):
                day.a_quarter_of_an_hour(well=True, lost=None)
            day.evaluate(lost=None)
        assert day.raised == 4
    finally:
        day.teardown()
