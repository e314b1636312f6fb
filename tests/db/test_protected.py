"""Protected uptime with real servers on loopback: what is down, what is only unseen, and what a
phase comes to.
"""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from rollout_lib import operations as op
from rollout_lib import probes
from rollout_lib.database.lease import Lease
from rollout_lib.database.session import open_session
from rollout_lib.model import Outcome, State
from rollout_lib.operations.tripwire import trip
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World

pytestmark = pytest.mark.one_server

QUARTER = timedelta(minutes=15)


class Endpoints(ThreadingHTTPServer):
    """Answers GET on any path but those in `down`; the witness is /witness."""

    def __init__(self) -> None:
        endpoints = self
        self.down: set[str] = set()
        self.blinks: dict[str, int] = {}  # path -> how many GETs fail from now on
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                endpoints.asked.append(self.path)
                blink = endpoints.blinks.get(self.path, 0)
                endpoints.blinks[self.path] = blink - 1
                self.send_response(503 if self.path in endpoints.down or blink > 0 else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Phase:
    """A healthy 10 % phase under a plan that names the protected endpoints."""

    def __init__(self, database, plan, folder: Path, endpoints: Endpoints) -> None:
        address = f"http://127.0.0.1:{endpoints.server_port}"
        content = yaml.safe_load(Path(plan.path).read_text(encoding="utf-8"))
        content["monitoring"]["tripwire"] = "1s"
        content["probes"] = {
            "protected": {name: f"{address}/{name}" for name in plan.protected_domains},
            "witness": f"{address}/witness",
        }
        self.file, self.endpoints = folder / "plan.yaml", endpoints
        self.file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        self.world = World(database.address, plan, SCENARIOS["healthy"], seed=1)
        self.world.prelude(self.world.start)
        op.attest(self.session(), subject="complaints", value="none")
        begun = op.change_percentage(
            self.session(), to=Decimal(10), reason="Initial 10% rollout", dry_run=False
        )
        assert begun.checkpoint.change.applied, begun.checkpoint.sentence
        self.world.advance(self.world.now + QUARTER)

    def session(self):
        return open_session(str(self.file), as_of=self.world.now.isoformat(), operator="Rita")

    def round(self):
        """One round of a watcher that knows nothing but the ledger."""
        self.world.advance(self.world.now + timedelta(seconds=30))
        return trip(self.session())

    def slot(self):
        checkpoint = op.monitor(self.session(), slot="now").checkpoint
        self.world.advance(self.world.now + QUARTER)
        return checkpoint

    def enabled(self) -> bool:
        query = "SELECT enabled FROM webhook_routing_config ORDER BY created_at DESC LIMIT 1"
        return self.world.connection.execute(query).fetchone()[0]


@pytest.fixture
def phase(database, plan, tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "PAUSE_S", 0.01)
    endpoints = Endpoints()
    phase = Phase(database, plan, tmp_path, endpoints)
    yield phase
    phase.world.close()
    endpoints.shutdown()
    endpoints.server_close()


def named(verdict, name: str):
    return next(check for check in verdict.checks if check.name == name)


def test_an_outage_without_evidence_is_told_by_the_round_that_sees_it_first_and_no_other(phase):
    """Retries of one webhook are half of the rows: a person is told at once, not at the next slot."""
    assert phase.round().recorded is None
    phase.world.connection.execute(
        """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms, message_id)
           SELECT CAST(%s AS timestamptz) - n * interval '2 s', 'jobs', 'unified', 'error', 700, 'the same'
             FROM generate_series(1, 90) n""",
        [phase.world.now.isoformat()],
    )
    told = phase.round().recorded
    assert told is not None
    assert told.checkpoint.state is State.HOLD
    assert "an outage, whatever the ids say" in told.checkpoint.sentence
    assert phase.round().recorded is None


def test_the_second_failed_probe_in_a_row_switches_routing_off_whoever_took_the_first(phase):
    """The first failure holds and is on the ledger; a watcher that was started since finds it
    there, and acts.
    """
    assert phase.round().recorded is None
    phase.endpoints.down = {"/mobility"}
    first = phase.round()
    assert (first.verdict.state, first.recorded.checkpoint.change) == (State.HOLD, None)
    assert phase.enabled()
    second = phase.round()
    assert second.verdict.state is State.ROLL_BACK
    assert (
        "mobility failed 2 probes in a row while our own network answers" in second.verdict.sentence
    )
    assert second.recorded.checkpoint.change.applied
    assert not phase.enabled()
    assert (
        "mobility down, 2 in a row; insurance, profile answer"
        in second.recorded.checkpoint.message["text"]
    )


def test_an_answer_in_between_begins_the_row_anew(phase):
    """Failed, answered, failed: three entries of the ledger, a hold each time, and routing stays
    on.
    """
    for down in ({"/profile"}, set(), {"/profile"}, set()):
        phase.endpoints.down = down
        seen = phase.round()
        assert seen.recorded is not None
        assert (seen.verdict.state is State.HOLD) is bool(down)
    assert phase.round().recorded is None
    assert phase.enabled()


def test_a_blink_within_one_probe_is_no_failure(phase):
    """The first of a probe's two tries fails: it answers, and nothing is recorded."""
    phase.endpoints.blinks = {"/insurance": 1}
    seen = phase.round()
    assert named(seen.verdict, "protected:insurance").outcome is Outcome.PASS
    assert seen.recorded is None


def test_a_network_of_ours_that_is_away_is_nobodys_downtime(phase):
    """Protected endpoints and the witness fail alike, five times: could not look, never down,
    routing stays on.
    """
    phase.endpoints.down = {"/mobility", "/profile", "/insurance", "/witness"}
    for _ in range(5):
        seen = phase.round()
        assert named(seen.verdict, "protected:mobility").outcome is Outcome.COULD_NOT_LOOK
        assert seen.verdict.state is State.COULD_NOT_LOOK
    assert phase.enabled()
    phase.endpoints.down = {"/mobility"}
    assert (
        phase.round().verdict.state is State.HOLD
    )  # the first that can be told from our own trouble


def test_a_scheduled_check_takes_the_second_probe_itself(phase):
    """Where only slots run, one finds a dead endpoint, asks once more a tripwire's period later,
    and acts.
    """
    phase.endpoints.down = {"/mobility"}
    assert phase.slot().state is State.ROLL_BACK
    assert not phase.enabled()


def test_where_somebody_watches_the_second_probe_is_the_next_rounds(phase, database):
    """A slot that waited for it would keep the watcher from its rounds: it holds, and the round
    after it acts.
    """
    lease = Lease(database, timedelta(minutes=5))
    assert lease.take()
    phase.endpoints.down = {"/mobility"}
    phase.endpoints.asked.clear()
    assert phase.slot().state is State.HOLD
    assert phase.endpoints.asked.count("/mobility") == probes.TRIES
    assert phase.round().verdict.state is State.ROLL_BACK
    lease.release()
    assert not phase.enabled()


def test_rows_that_ask_for_an_act_wait_for_no_endpoint(phase):
    """Unified fails and an endpoint is dead: the slot switches off before anything is asked by
    HTTP.
    """
    phase.endpoints.down = {"/mobility"}
    phase.endpoints.asked.clear()
    phase.world.connection.execute(
        "UPDATE webhook_routing_logs SET status = 'error' WHERE routed_to = 'unified'"
    )
    found = phase.slot()
    assert (found.state, phase.enabled(), phase.endpoints.asked) == (State.ROLL_BACK, False, [])


def test_an_endpoint_that_is_back_at_the_second_probe_is_a_watch_and_no_more(phase):
    """The slot's first probe fails, its second is answered: routing stays on, and the failed one is
    kept.
    """
    phase.endpoints.blinks = {"/mobility": 2}
    found = phase.slot()
    assert found.state is State.WATCH
    assert named(found.verdict, "protected:mobility").outcome is Outcome.WARN
    assert phase.enabled()


def _served(phase):
    """The rest of the phase's sixteen slots, all of them well, and its end."""
    while phase.world.now <= phase.world.start + timedelta(hours=4):
        phase.slot()
    phase.world.now -= QUARTER
    return op.evaluate_phase(phase.session()).checkpoint


def test_a_whole_phase_answered_is_100_percent_and_everybody_is_told(phase):
    """Sixteen slots and the evaluation: 17 of 17 each, in its own check, in the runbook's and in
    the messages.
    """
    end = _served(phase)
    assert end.state is State.PASS
    for name in ("mobility", "profile", "insurance"):
        assert named(end.verdict, f"uptime:{name}").observed == "100 % (17 of 17 probes)"
    whole = named(end.verdict, "protected webhooks 100 % up")
    assert whole.outcome is Outcome.PASS
    assert "mobility: 17 of 17 probes answered" in end.message["text"]
    told = op.report(phase.session())
    assert told.summary.phases[0].uptime["profile"].answered == 17
    assert "profile 17 of 17" in told.run.checkpoint.message["text"]


def test_one_failed_probe_is_not_100_percent(phase):
    """A probe of 09:15 failed and it answered since: the phase holds, and says how to begin it
    anew.
    """
    phase.endpoints.blinks = {"/profile": 2}
    phase.slot()
    end = _served(phase)
    assert end.state is State.HOLD
    found = named(end.verdict, "uptime:profile")
    assert (found.outcome, found.observed) == (Outcome.FAIL, "94.44 % (17 of 18 probes)")
    assert named(end.verdict, "uptime:mobility").outcome is Outcome.PASS
    assert "--again" in named(end.verdict, "protected webhooks 100 % up").reason


def test_what_nobody_could_look_at_is_not_100_percent_either(phase):
    """Our network was away at one slot: inconclusive, which a named person may acknowledge."""
    phase.endpoints.down = {"/mobility", "/witness"}
    phase.slot()
    phase.endpoints.down = set()
    end = _served(phase)
    assert end.state is State.INCONCLUSIVE
    assert named(end.verdict, "uptime:mobility").outcome is Outcome.COULD_NOT_LOOK


def test_the_log_of_a_protected_webhook_is_read_too(phase):
    """Its probe answers, and three webhooks in four fail: a hold by its rows; one failing webhook
    is a warning.
    """
    assert named(phase.slot().verdict, "rows of mobility").outcome is Outcome.PASS
    fail = (
        "UPDATE webhook_routing_logs SET status = 'error' WHERE domain = %s AND created_at > %s AND"
        " id %% %s = 0"
    )
    phase.world.connection.execute(fail, ("mobility", phase.world.now - QUARTER, 1))
    phase.world.connection.execute(fail, ("profile", phase.world.now - QUARTER, 40))
    found = phase.slot()
    assert named(found.verdict, "rows of mobility").outcome is Outcome.FAIL
    assert named(found.verdict, "rows of profile").outcome in (Outcome.WARN, Outcome.PASS)
    assert found.state is State.HOLD
    assert phase.enabled()
    assert json.loads(json.dumps(found.message))["subject"].endswith("Hold at 10%")


def test_an_outage_of_one_slot_is_named_at_the_end_of_the_phase_however_few_of_its_rows_failed(
    phase,
):
    """Down from 09:15 to 09:30, well since, every probe answered: the phase does not pass, and says
    which check.
    """
    phase.slot()
    phase.world.connection.execute(
        "UPDATE webhook_routing_logs SET status = 'error' WHERE domain = 'mobility' "
        "AND created_at > %s",
        (phase.world.now - QUARTER,),
    )
    assert phase.slot().state is State.HOLD
    end = _served(phase)
    assert end.state is State.HOLD
    found = named(end.verdict, "uptime:mobility")
    assert (found.outcome, found.limit) == (Outcome.FAIL, "100 %")
    assert found.observed.endswith("probes), down by its own rows at 09:30")
    whole = named(end.verdict, "protected webhooks 100 % up")
    assert "mobility: 17 of 17 probes answered" in whole.reason
    assert "down by its own rows at the checks of 09:30" in whole.reason
    assert named(end.verdict, "uptime:profile").outcome is Outcome.PASS
    told = op.report(phase.session()).run.checkpoint.evidence["uptime"]
    assert "mobility 17 of 17 probes answered, its own rows failed at 1 check" in told


def test_a_hold_after_the_pass_blocks_the_raise_until_it_is_evaluated_anew(phase):
    """Passed at 13:00, a protected endpoint fails a probe in the night: 25 % is refused, by name
    and by reason.
    """
    assert _served(phase).state is State.PASS
    phase.endpoints.down = {"/mobility"}
    assert phase.round().verdict.state is State.HOLD
    phase.endpoints.down = set()
    phase.round()
    op.attest(phase.session(), subject="complaints", value="none")
    refused = op.change_percentage(
        phase.session(), to=Decimal(25), reason="the next morning", dry_run=False
    )
    assert refused.checkpoint.exit_code == 60
    unmet = {gate.name: gate.reason for gate in refused.checkpoint.change.gates if not gate.met}
    assert "revoked by HOLD" in unmet["phase passed"]
    handed_over = dict(op.report(phase.session()).summary.handover)
    assert "The pass was revoked: HOLD" in handed_over["stands"]
    assert (
        op.evaluate_phase(phase.session()).checkpoint.state is State.HOLD
    )  # and the failed probe is not forgotten
