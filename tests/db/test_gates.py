"""The gates of a raise on a real database: each unmet one refuses with its name, and nothing is
changed.

Begun from an evaluated 10 % phase, 13:00 on Day 3, as a template that each test copies.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib.database.session import open_session
from rollout_lib.errors import ParameterError
from rollout_lib.model import State
from rollout_lib.operations import change


@pytest.fixture
def morning(a_day):
    """Before the start, nothing begun."""
    return a_day("morning")


def test_with_every_gate_met_the_next_phase_begins(evening):
    """25 % after a passed 10 %: applied, read back, on the ledger; the second time there is nothing
    to do.
    """
    evening.attest()
    assert evening.raise_to(25, expected=Decimal(10)).change.after == (Decimal(25), True)
    assert evening.sql("SELECT percentage, enabled FROM webhook_routing_config") == [
        (Decimal("25.00"), True)
    ]
    again = evening.raise_to(25)
    assert (again.exit_code, again.change.applied, again.change.detail[:7]) == (0, False, "there i")


def test_a_dry_run_names_the_gates_and_writes_nothing(evening):
    """Neither the configuration nor the ledger knows of it."""
    before = evening.sql("SELECT count(*) FROM rollout.ledger") + evening.configuration()
    assert evening.raise_to(25, dry_run=True).exit_code == 60
    evening_after = evening.sql("SELECT count(*) FROM rollout.ledger") + evening.configuration()
    assert evening_after == before


def test_expectation_a_caller_who_saw_something_else_is_refused(evening):
    """Compare-and-set: 35 % expected, 10 % found."""
    evening.attest()
    assert evening.unmet(25, expected=Decimal(35)) == {"expectation"}


def test_preflight_is_taken_again_inside_the_change(evening):
    """A finding that came after the last pre-flight refuses the raise."""
    evening.attest()
    evening.sql("GRANT EXECUTE ON FUNCTION set_routing_enabled(boolean, text) TO PUBLIC")
    assert evening.unmet() == {"pre-flight"}


def test_next_phase_no_phase_is_skipped(evening):
    """From 10 % neither to 35 nor to 50; only to 25."""
    evening.attest()
    assert evening.unmet(35) == evening.unmet(50) == {"next phase"}


def test_next_phase_the_first_raise_is_to_the_first_phase(morning):
    """From 0 % not to 25, and not to the 5 % that is only for the way down."""
    morning.attest()
    assert morning.unmet(25) == morning.unmet(5) == {"next phase"}


def test_no_drift_a_percentage_edited_by_hand_is_no_ground_to_raise_from(evening):
    """12 % from psql is off the plan, is in no entry of the ledger, and never leads to the next
    phase.
    """
    evening.attest()
    evening.sql("UPDATE webhook_routing_config SET percentage = 12, notes = 'psql'")
    assert {"no drift", "next phase", "pre-flight"} <= evening.unmet()


def test_no_drift_what_was_raised_by_hand_is_not_done_already(evening):
    """25 % from psql: `--to 25` does not say that there is nothing to do, and the monitor asks to
    step back.
    """
    evening.attest()
    evening.sql("UPDATE webhook_routing_config SET percentage = 25, notes = 'psql'")
    assert {"no drift", "next phase"} <= evening.unmet(25)
    evening.goes_on(15)
    found = op.monitor(evening.session(), slot="now").checkpoint
    assert (found.state, found.exit_code, found.change) == (State.STEP_BACK, 30, None)
    assert evening.sql("SELECT percentage FROM webhook_routing_config") == [(Decimal("25.00"),)]


def test_no_drift_what_was_lowered_by_hand_is_accepted_and_recorded(evening):
    """Switched off from psql: the monitor records it, and starting again is a restart."""
    evening.sql("UPDATE webhook_routing_config SET enabled = false, notes = 'psql'")
    evening.goes_on(15)
    assert op.monitor(evening.session(), slot="now").checkpoint.adopted is not None
    evening.attest()
    assert "no rollback stands" in evening.unmet(10)


def test_no_rollback_stands_starting_again_needs_a_named_person_and_a_reason(evening):
    """After a rollback neither the passed phase nor the old attestation opens anything; a restart
    does.
    """
    evening.attest()
    op.roll_back(evening.session(), reason="errors")
    evening.goes_on(5)
    assert evening.unmet(10) == {"no rollback stands", "no complaints"}
    with pytest.raises(ParameterError, match="must say why"):
        op.attest(evening.session(), subject="restart", value="after rollback", reason=" ")
    evening.attest()
    assert evening.unmet(10) == {"no rollback stands"}
    evening.acknowledge("restart", "after rollback")
    assert evening.raise_to(10).change.applied


def test_no_complaints_what_was_said_before_the_first_start_does_not_serve_after_a_rollback(
    morning,
):
    """Attested none at 09:00, raised, rolled back: at 09:10 somebody has to be asked again."""
    morning.attest()
    assert morning.raise_to(10).change.applied
    morning.goes_on(5)
    op.roll_back(morning.session(), reason="errors")
    morning.goes_on(5)
    morning.acknowledge("restart", "after rollback")
    assert morning.unmet(10) == {"no complaints"}


def test_no_freeze_blocks_raising_and_never_lowering(evening):
    """In the plan's freeze window 25 % is refused; the way down stays open."""
    evening.now = datetime.fromisoformat("2025-12-03T14:10:00+01:00")
    evening.attest()
    assert "no freeze" in evening.unmet()
    assert evening.raise_to(5).change.after == (Decimal(5), True)
    assert evening.raise_to(0).change.after == (Decimal(0), False)
    assert evening.raise_to(0).change.detail, "and down to where it is already is nothing to do"


def test_operator_nobody_raises_without_a_name(evening):
    """A blank name is no name."""
    evening.attest()
    assert evening.unmet(operator=" ") == {"operator"}


@pytest.mark.parametrize("value", ["some", None, "expired", "another phase"])
def test_no_complaints_somebody_must_have_said_so_now_for_this_phase(evening, value):
    """None attested, some complaints, two hours ago, or before this phase: each refuses."""
    if value == "expired":
        evening.now -= timedelta(hours=2, minutes=1)
        evening.attest()
        evening.now += timedelta(hours=2, minutes=1)
    elif value == "some":
        evening.attest("none")
        evening.attest("some")
    # "another phase": the morning's attestation is in the copied ledger
    assert evening.unmet() == {"no complaints"}


def test_no_complaints_a_spike_switches_routing_off_at_once(evening):
    """Attesting it is itself the rollback, and names who said so."""
    evening.attest("spike")
    assert evening.sql("SELECT percentage, enabled FROM webhook_routing_config") == [
        (Decimal("0.00"), False)
    ]
    body = evening.sql(
        "SELECT body FROM rollout.ledger WHERE operation = 'rollback' ORDER BY seq DESC LIMIT 1"
    )
    assert "complaints spike" in body[0][0]
    assert '"Rita"' in body[0][0]


def test_phase_passed_a_pass_of_some_hours_ago_no_longer_counts(evening):
    """Four hours later the evaluation has to be taken again."""
    evening.now += timedelta(hours=4, minutes=1)
    evening.attest()
    assert {"phase passed", "slots accounted for"} == evening.unmet()


def test_phase_passed_a_later_check_that_holds_revokes_it(evening):
    """Routing looked at by hand as 50 % and put back: the step back stands, and so does the revoked
    pass.
    """
    evening.sql("UPDATE webhook_routing_config SET percentage = 50")
    evening.goes_on(15)
    assert op.monitor(evening.session(), slot="now").checkpoint.state is State.STEP_BACK
    evening.sql("UPDATE webhook_routing_config SET percentage = 10")
    evening.attest()
    assert evening.unmet() == {"phase passed", "nothing latched"}


def test_hold_served_an_extension_of_the_hold_counts(evening):
    """An hour more, taken on by a named person, is an hour more."""
    evening.attest()
    evening.acknowledge("extension", "3600")
    assert evening.unmet() == {"hold served"}


def test_slots_accounted_for_a_check_that_did_not_run_since_the_evaluation(evening):
    """At 13:31 nobody looked at 13:15."""
    evening.goes_on(31)
    evening.attest()
    assert evening.unmet() == {"slots accounted for"}


def test_plan_unchanged_an_edit_in_the_middle_of_a_phase_is_noticed(evening):
    """The monitor holds, the raise is refused, until the phase is begun anew
    under the edited plan.
    """
    evening.attest()
    text = evening.plan_file.read_text()
    evening.plan_file.write_text(
        text.replace("error_rate_rollback_pct: 0.5", "error_rate_rollback_pct: 5")
    )
    assert evening.unmet() == {
        "plan unchanged",
        "no complaints",
    }, "what was attested was of another plan"
    evening.attest()
    assert evening.unmet() == {"plan unchanged"}
    evening.goes_on(15)
    checks = op.monitor(evening.session(), slot="now").checkpoint.verdict.checks
    assert [check.state for check in checks if check.name == "plan"] == [State.HOLD]
    evening.attest()
    assert evening.raise_to(10, again=True).change.applied
    (before,) = evening.sql(
        "SELECT max(phase_began) FROM rollout.ledger WHERE operation = 'monitor'"
    )
    (after,) = evening.sql(
        "SELECT max(at) FROM rollout.ledger WHERE operation = 'change' AND kind = 'checkpoint'"
    )
    assert after > before


def test_probes_of_now_what_was_asked_too_long_ago_does_not_count(database, monkeypatch):
    """Facts that need HTTP are refused when they are older than the limit, however long a lock was
    waited for.
    """
    monkeypatch.setattr(change, "PROBES_VALID", timedelta(0))
    done = op.change_percentage(
        open_session(operator="Rita"), to=Decimal(10), reason="start", dry_run=False
    )
    assert "probes of now" in {gate.name for gate in done.checkpoint.change.gates if not gate.met}


def test_production_asks_for_the_environments_name(database, direct, tmp_path, monkeypatch):
    """Without --environment production nothing rises there; with it, and everything else met, it
    does.
    """
    file = tmp_path / "production.yaml"
    file.write_text(
        Path("parameters/week6.rehearsal.yaml")
        .read_text()
        .replace("environment: rehearsal", "environment: production")
    )
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute(
            """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms)
            SELECT now() - interval '1 minute' * n, (ARRAY['jobs', 'marketplace', 'property'])[1 + n % 3], 'legacy',
                   'success', 700 FROM generate_series(3, 600) n"""
        )
        admin.execute("UPDATE rollout.marker SET environment = 'production'")
    session = open_session(str(file), operator="Rita")
    op.attest(session, subject="complaints", value="none")
    for typed in ("", "rehearsal", "Production"):
        refused = op.change_percentage(
            session, to=Decimal(10), reason="x", dry_run=False, typed_environment=typed
        )
        assert {gate.name for gate in refused.checkpoint.change.gates if not gate.met} == {
            "operator"
        }
    done = op.change_percentage(
        session, to=Decimal(10), reason="x", dry_run=False, typed_environment="production"
    )
    assert done.checkpoint.change.applied


def test_of_two_raises_at_the_same_moment_one_is_made(evening):
    """Two operators press at once: one change, the other finds it done or is
    refused, never 35 %.
    """
    evening.attest()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: evening.raise_to(25, expected=Decimal(10)), range(4)))
    assert sorted(item.change.applied for item in done) == [False, False, False, True]
    assert evening.sql("SELECT percentage, enabled FROM webhook_routing_config") == [
        (Decimal("25.00"), True)
    ]
    assert evening.sql(
        "SELECT count(*) FROM rollout.ledger WHERE operation = 'change' AND kind = 'checkpoint'"
    ) == [(2,)]


def test_a_change_that_does_not_read_back_is_rolled_back(evening):
    """A deployed function that does something else: an error, the old row, no entry that says it
    was done.
    """
    evening.attest()
    evening.sql("""CREATE OR REPLACE FUNCTION
        update_routing_percentage(p_percentage numeric, p_notes text DEFAULT NULL)
        RETURNS void LANGUAGE sql SET search_path = public AS
        'UPDATE webhook_routing_config SET percentage = p_percentage * 2'""")
    before = evening.configuration(), evening.sql("SELECT count(*) FROM rollout.ledger")
    with pytest.raises(Exception, match="it was rolled back") as caught:
        evening.raise_to(25)
    assert caught.value.exit_code == 1
    assert (evening.configuration(), evening.sql("SELECT count(*) FROM rollout.ledger")) == before


def test_a_refusal_is_recorded_when_the_row_is_free_again(evening, monkeypatch):
    """While the refusal is written down nobody holds the configuration's row: an emergency never
    waits for it.
    """
    held = []
    recorded = change.record

    def record(*given):
        with psycopg.connect(evening.direct, autocommit=True) as other:
            held.append(
                other.execute(
                    "SELECT percentage FROM webhook_routing_config FOR UPDATE NOWAIT"
                ).fetchone()
            )
        return recorded(*given)

    monkeypatch.setattr(change, "record", record)
    assert evening.unmet() == {"no complaints"}
    assert held == [(Decimal("10.00"),)]
