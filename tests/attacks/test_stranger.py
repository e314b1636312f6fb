"""A stranger acts between any two operations of the suite, and the invariants of
docs/threat-model.md hold.

The truth is the test's own: what a connection of its own reads of the routing, what it wrote into
the log, and what it saw the suite say. Nothing is asked of the library's state.
"""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rollout_lib import emergency
from rollout_lib import operations as op
from rollout_lib.database.session import open_session
from rollout_lib.errors import RolloutError
from rollout_lib.model import State
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS, Truth
from rollout_lib.rehearsal.server import create_database, drop_database
from rollout_lib.rehearsal.world import World
from tests.attacks import stranger

pytestmark = pytest.mark.slow

VARIABLE = "ROLLOUT_REHEARSAL_URL"
PHASES = [Decimal(10), Decimal(25), Decimal(35), Decimal(50)]
WELL = (State.CLEAN, State.CLEAN_UNPROVEN, State.CERTIFIED, State.WATCH, State.PASS, State.QUIET)
QUARTER = timedelta(minutes=15)
Routing = tuple[Decimal, bool] | None


class Attacked(RuleBasedStateMachine):
    """One rollout; `legal` is the line as the test itself has seen it made."""

    server = plan_file = template = outputs = None  # set by the test

    @initialize()
    def begins(self) -> None:
        self.name = f"rehearsal_{uuid.uuid4().hex[:12]}"
        self.direct = create_database(self.server, self.name, self.template)
        self.folder = Path(self.outputs) / self.name
        os.environ |= {VARIABLE: self.direct, "ROLLOUT_OUTPUTS": str(self.folder)}
        self.plan = load_plan(self.plan_file)
        self.world = World(self.direct, self.plan, SCENARIOS["healthy"], seed=7)
        self.world.now = self.world.start
        self.connection = psycopg.connect(self.direct, autocommit=True)
        self.functions = {
            name: self.one(f"SELECT pg_get_functiondef('{name}'::regprocedure)")
            for name in (
                "set_routing_enabled(boolean,text)",
                "update_routing_percentage(numeric,text)",
            )
        }
        self.legal = Decimal(0)  # what the suite was seen to make legal
        self.failing = 0  # scheduled checks since unified began to fail wholly
        self.mangled = ""  # how the router writes its log now
        self.unread = False  # an entry stands on the ledger that nobody can read
        self.changed_functions = False

    def teardown(self) -> None:
        if hasattr(self, "connection"):
            self.connection.close()
            self.world.close()
            drop_database(self.server, self.name)
            shutil.rmtree(self.folder, ignore_errors=True)

    # What the test knows by itself.

    def one(self, statement: str):
        row = self.connection.execute(statement).fetchone()
        return row[0] if row else None

    def routing(self) -> Routing:
        """The newest row, read by a connection of the test's own."""
        row = self.connection.execute(
            "SELECT percentage, enabled FROM webhook_routing_config ORDER BY created_at DESC,"
            " updated_at DESC LIMIT 1"
        ).fetchone()
        return (row[0], row[1]) if row else None

    def share(self) -> Decimal:
        row = self.routing()
        if row is None or not row[1]:
            return Decimal(0)
        return Decimal(100) if row[0].is_nan() else row[0]

    def entries(self) -> int:
        return self.one("SELECT count(*) FROM rollout.ledger")

    def session(self, operator: str = "Rita"):
        return open_session(
            str(self.plan_file), as_of=self.world.now.isoformat(), operator=operator
        )

    def run(self, operation, *, raises: bool = False, reads: bool = False, **how):
        """One operation; whatever it says, the invariants that hold after each are looked at."""
        before, entries = self.share(), self.entries()
        try:
            done = operation(self.session(), **how)
        except RolloutError as error:
            if error.exit_code not in (2, 50, 60):  # a defect of ours
                raise
            done = None
        after = self.share()
        # A trigger of a stranger's may enable whatever is asked; then it is not said to be done.
        undone = self.changed_functions and done is None
        if not raises and not undone:
            assert after <= before, f"{operation.__name__} raised from {before} to {after}"
        if after < before or after <= self.legal:
            self.legal = min(self.legal, after)
        if reads:
            assert self.entries() == entries, "what only reads has written on the ledger"
        self._says_what_is_so(done)
        return done

    def _says_what_is_so(self, done) -> None:
        """Invariant 3: what a result says was made of the routing is what is read now."""
        run = getattr(done, "recorded", done)
        change = getattr(getattr(run, "checkpoint", None), "change", None)
        if change is None or not change.applied:
            return
        said = change.after[0] if change.after[1] else Decimal(0)
        assert said == self.share(), f"said {said}, but {self.share()} is read"

    # What the suite does.

    @rule(slots=st.integers(1, 3))
    def time_passes_with_its_checks(self, slots: int) -> None:
        for _ in range(slots):
            before = self.world.now
            self.world.advance(before + QUARTER)
            self._mangle(before)
            done = self.run(op.monitor, slot="now")
            self._an_outage_is_seen(done)

    def _mangle(self, since) -> None:
        if self.mangled:
            self.connection.execute(stranger.LOG[self.mangled].format(since=since.isoformat()))

    def _an_outage_is_seen(self, done) -> None:
        """Invariant 2: three quarters of an hour in which all of unified fails are never well."""
        routed = self.share() >= 10 and self.world.truth.unified_errors == 1.0
        self.failing = self.failing + 1 if routed else 0
        if self.failing < 3 or done is None or self.mangled == "cleaned up":
            return
        assert done.checkpoint.state not in WELL, done.checkpoint.sentence

    @rule()
    def the_watcher_looks(self) -> None:
        self.run(op.trip)

    @rule()
    def somebody_looks(self) -> None:
        self.run(op.glance, reads=True)

    @rule(to=st.sampled_from(PHASES))
    def somebody_asks_what_a_raise_would_do(self, to: Decimal) -> None:
        self.run(op.change_percentage, to=to, reason="to see", dry_run=True, reads=True)

    @rule()
    def the_phase_is_evaluated(self) -> None:
        done = self.run(op.evaluate_phase)
        self.passed = bool(done and done.checkpoint.state is State.PASS)

    @rule(value=st.sampled_from(["none", "none", "none", "some", "spike"]))
    def complaints(self, value: str) -> None:
        self.run(op.attest, subject="complaints", value=value, reason="asked the desk")
        if value == "spike":
            assert self.share() == 0 or self.changed_functions

    @rule(subject=st.sampled_from(["acknowledgement", "restart"]))
    def a_person_states(self, subject: str) -> None:
        self.run(op.attest, subject=subject, value="yes", reason="talked about it")

    @rule(to=st.sampled_from(PHASES), again=st.booleans())
    def a_raise_is_asked_for(self, to: Decimal, again: bool) -> None:
        """Invariant 1 and 4: one planned phase above the line at most, and never past an entry
        that nobody can read."""
        before, line = self.share(), self.legal
        done = self.run(
            op.change_percentage,
            raises=True,
            to=to,
            again=again,
            reason="scaling",
            dry_run=False,
        )
        after = self.share()
        if after <= before:
            return
        assert done is not None
        assert done.checkpoint.change.applied
        assert not self.unread, "raised past an entry that cannot be read"
        assert before == line, f"raised from {before}, which the ledger never made legal ({line})"
        following = min(phase for phase in PHASES if phase > line)
        assert after == following, f"from {line} to {after}"
        self.legal = after

    @rule()
    def the_plan_is_followed(self) -> None:
        """What an operator does: three checks, the evaluation, the statement, the next phase."""
        if self.legal:
            self.time_passes_with_its_checks(slots=3)
            self.the_phase_is_evaluated()
        self.complaints(value="none")
        following = [phase for phase in PHASES if phase > self.legal]
        if following:
            self.a_raise_is_asked_for(to=following[0], again=False)
            event(f"at {self.legal} % after following the plan")

    @rule()
    def one_phase_down(self) -> None:
        self.run(op.roll_back, reason="to be sure", gradual=True)
        assert self.share() <= self.legal or self.changed_functions

    @rule()
    def all_the_way_down(self) -> None:
        self.run(op.roll_back, reason="to be sure")
        assert self.share() == 0 or self.changed_functions

    @rule()
    def an_emergency(self) -> None:
        before = self.share()
        off = None
        with suppress(RolloutError):
            off = emergency.lower(self.direct, reason="3 a.m.")
        assert self.share() <= before or self.share() == 0
        if off is not None:
            assert self.share() == 0, "said off, and unified is routed to"
        self.legal = min(self.legal, self.share())

    # What a stranger does.

    @rule(what=st.sampled_from(sorted(stranger.CONFIGURATION)))
    def edits_the_configuration(self, what: str) -> None:
        with suppress(psycopg.Error):  # a constraint of the table's own may refuse it
            self.connection.execute(stranger.CONFIGURATION[what])
        self.legal = min(self.legal, self.share())

    @rule(what=st.sampled_from(sorted(stranger.FUNCTIONS)))
    def replaces_a_function(self, what: str) -> None:
        with suppress(psycopg.Error):
            self.connection.execute(stranger.FUNCTIONS[what])
            self.changed_functions = True

    @precondition(lambda self: self.changed_functions)
    @rule()
    def the_functions_are_mended(self) -> None:
        self.connection.execute(stranger.FUNCTIONS_BACK)
        for statement in self.functions.values():
            self.connection.execute(statement)
        self.changed_functions = False

    @rule(rate=st.sampled_from([0.0, 0.6, 1.0]), leak=st.sampled_from([0.0, 0.0, 0.3]))
    def unified_becomes(self, rate: float, leak: float) -> None:
        self.world.truth = replace(Truth(), unified_errors=rate, leaks=leak)

    @rule(how=st.sampled_from(["", *sorted(stranger.LOG)]))
    def the_router_writes_otherwise(self, how: str) -> None:
        self.mangled = how

    @rule(what=st.sampled_from(sorted(stranger.UNREADABLE)))
    def appends_what_nobody_can_read(self, what: str) -> None:
        kind, operation, body = stranger.UNREADABLE[what]
        self.connection.execute(
            "SELECT * FROM rollout.append_entry(%s, %s, %s, %s, NULL, NULL, %s, %s)",
            (kind, operation, self.plan.rollout, self.world.now, uuid.uuid4().hex, body),
        )
        self.unread = True

    @precondition(lambda self: self.unread)
    @rule()
    def a_restore_without_the_unreadable(self) -> None:
        """Stands for setting it aside, too: afterwards nothing unreadable stands in the way."""
        self.connection.execute(
            "SET session_replication_role = replica;"
            " DELETE FROM rollout.ledger WHERE body !~ 'plan_digest';"
            " SET session_replication_role = origin"
        )
        self.unread = False

    @rule(what=st.sampled_from(["change", "evaluate", "complaints", "restart"]))
    def plants_a_file(self, what: str) -> None:
        """Whoever can write below outputs/ makes up what opens the next phase."""
        at = self.world.now.isoformat()
        bodies = {
            "change": {"change": {"applied": True, "after": ["25", True]}, "state": "PASS"},
            "evaluate": {"state": "PASS", "exit_code": 0},
            "complaints": {"subject": "complaints", "value": "none", "by": "Rita"},
            "restart": {"subject": "restart", "value": "yes", "by": "Rita"},
        }
        kind = "checkpoint" if what in ("change", "evaluate") else "attestation"
        entry = stranger.forged(kind, what, self.plan.rollout, at, None, **bodies[what])
        stranger.plant(self.folder, entry)

    @rule()
    def damages_what_lies_below_outputs(self) -> None:
        for path in sorted(self.folder.rglob("*"))[:20]:
            if path.is_file():
                path.write_bytes(path.read_bytes()[:7])

    @rule()
    def restores_an_older_dump(self) -> None:
        """The ledger without its last entries, and routing as it was before the last lowering."""
        self.connection.execute(
            "SET session_replication_role = replica;"
            " DELETE FROM rollout.ledger WHERE seq > (SELECT max(seq) - 2 FROM rollout.ledger);"
            " SET session_replication_role = origin"
        )


def _attack(attacked, outputs: Path, examples: int, steps: int, *, again: bool) -> None:
    Attacked.server, Attacked.plan_file, Attacked.template = attacked
    Attacked.outputs = outputs
    run_state_machine_as_test(
        Attacked,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=again,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.fixture
def environment(monkeypatch) -> None:
    """What the machine sets in the environment ends with the test."""
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("ROLLOUT_OUTPUTS", "")


def test_no_stranger_makes_it_worse(attacked, tmp_path, environment):
    """500 steps, the same ones each time; $ROLLOUT_ATTACKS is a number of days of 25 other steps."""
    days = os.environ.get("ROLLOUT_ATTACKS")
    _attack(attacked, tmp_path, int(days or 20), 25, again=days is None)
