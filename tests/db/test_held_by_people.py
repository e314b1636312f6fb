"""What people hold by name: a pause, approvals, the time after a rollback; and the way down to what
passed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib.cli.app import run
from rollout_lib.control_room.view import View, view_of
from rollout_lib.errors import ParameterError
from rollout_lib.operations.status import look
from rollout_lib.operations.tripwire import glance

pytestmark = pytest.mark.one_server


class Planned:
    """An evening whose plan has these keys too."""

    def __init__(self, evening, **keys) -> None:
        self.evening, self.keys = evening, keys

    def session(self, operator: str = "Rita"):
        session = self.evening.session(operator)
        return replace(session, plan=session.plan.model_copy(update=self.keys))

    def unmet(self, to: int = 25) -> set[str]:
        done = op.change_percentage(
            self.session(), to=Decimal(to), reason="scaling", dry_run=True
        ).checkpoint
        return {gate.name for gate in done.change.gates if not gate.met}

    def approve(self, by: str, value: str = "25") -> None:
        op.attest(self.session(by), subject="approval", value=value)


def state(evening, subject: str, reason: str = "so we agreed", by: str = "Rita") -> None:
    op.attest(evening.session(by), subject=subject, value="", reason=reason)


def test_nothing_rises_while_somebody_holds_it_and_lowering_goes_on(evening):
    """The gate names who and why; a check and a rollback are not held; resumed, it rises."""
    evening.attest()
    state(evening, "pause", "waiting for INC-7", "Ada")
    assert evening.unmet() == {"not paused"}
    (gate,) = [one for one in evening.raise_to(25).change.gates if one.name == "not paused"]
    assert "Ada holds the rollout: waiting for INC-7" in gate.reason
    lines = "\n".join(look(evening.session()).lines(evening.session()))
    assert "Paused by Ada since" in lines
    said = dict(op.report(evening.session()).summary.handover)
    assert "by Ada" in said["paused"]
    assert "held by Ada: waiting for INC-7" in room(evening).phase_words
    state(evening, "resume")
    assert "held by" not in room(evening).phase_words
    assert evening.raise_to(25).change.applied


def room(evening) -> View:
    session = evening.session()
    return view_of(
        session.plan, session.place, glance(session), None, read_at=evening.now, simulated=True
    )


def test_a_pause_outlives_a_rollback_and_a_restart(evening):
    """It ends by a name alone."""
    state(evening, "pause")
    assert op.roll_back(evening.session(), reason="errors").checkpoint.exit_code == 0
    evening.goes_on(15)
    evening.attest()
    evening.acknowledge("restart", "mended")
    assert evening.unmet(10) == {"not paused"}
    state(evening, "resume")
    assert evening.raise_to(10).change.applied


@pytest.mark.parametrize(
    ("subject", "value", "reason", "said"),
    [
        ("pause", "", "", "reason"),
        ("resume", "", "why not", "nobody holds the rollout"),
        ("approval", "26", "", "a percentage of the plan"),
        ("approval", "0", "", "a percentage of the plan"),
    ],
)
def test_what_cannot_be_stated_is_refused(evening, subject, value, reason, said):
    """And nothing is written."""
    before = evening.sql("SELECT count(*) FROM rollout.ledger")
    with pytest.raises(ParameterError, match=said):
        op.attest(evening.session(), subject=subject, value=value, reason=reason)
    assert evening.sql("SELECT count(*) FROM rollout.ledger") == before


def test_two_different_people_approve_this_raise(evening):
    """The same name in another case is one; another percentage, another plan is none."""
    evening.attest()
    planned = Planned(evening, approvals=2)
    assert planned.unmet() == {"approvals"}
    for by in ("Ada Lovelace", "ada  lovelace", "ADA LOVELACE"):
        planned.approve(by)
    planned.approve("Bo", "35")
    op.attest(evening.session("Bo"), subject="approval", value="35")
    assert planned.unmet() == {"approvals"}
    planned.approve("Bo")
    assert planned.unmet() == set()


def test_an_approval_expires_and_is_of_its_evaluation(evening):
    """Older than an attestation may be, or before the phase was evaluated again: none."""
    planned = Planned(evening, approvals=2)
    planned.approve("Ada")
    planned.approve("Bo")
    evening.attest()
    assert planned.unmet() == set()
    op.evaluate_phase(evening.session())
    assert "approvals" in planned.unmet()
    planned.approve("Ada")
    planned.approve("Bo")
    assert "approvals" not in planned.unmet()
    evening.now += evening.session().plan.monitoring.attestation_valid + timedelta(minutes=1)
    assert "approvals" in planned.unmet()


def test_nothing_begins_again_before_the_time_after_a_rollback_is_over(evening):
    """By the database's clock; lowering is no matter of it."""
    planned = Planned(evening, cool_down=timedelta(hours=1))
    op.roll_back(evening.session(), reason="errors")
    evening.goes_on(15)
    evening.attest()
    evening.acknowledge("restart", "mended")
    assert planned.unmet(10) == {"cooled down"}
    evening.goes_on(46)
    evening.attest()
    assert planned.unmet(10) == set()


def at_50(evening) -> None:
    """25 % by the gates; 35 and 50 % are the ledger's too, as a longer rollout leaves them."""
    evening.attest()
    assert evening.raise_to(25).change.applied


def test_the_way_down_to_what_passed_is_one_step(evening, capsys):
    """From 25 %, after 10 % passed: 10 %. From 10 % itself, nothing below passed: off."""
    at_50(evening)
    where = ["--plan", evening.session().plan.path, "--reason", "errors"]
    assert run(["rollback", *where, "--to", "passed"]) == 0
    assert "go down to 10 %" in capsys.readouterr().out
    done = op.roll_back(evening.session(), reason="errors", to_passed=True)
    assert done.checkpoint.change.after == (10, True)
    again = op.roll_back(evening.session(), reason="more errors", to_passed=True)
    assert again.checkpoint.change.after[1] is False


def test_there_is_no_other_way_down_by_that_name(evening, capsys):
    """One sentence, exit 2, and routing as it was."""
    before = evening.configuration()
    where = ["--plan", evening.session().plan.path, "--reason", "errors", "--apply"]
    assert run(["rollback", *where, "--to", "10"]) == 2
    assert "only `passed`" in capsys.readouterr().err
    assert run(["rollback", *where, "--to", "passed", "--off"]) == 2
    assert evening.configuration() == before
