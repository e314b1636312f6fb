"""What a named person puts a name to, on the real ledger: the findings of one evaluation, no hold,
and how long waiting would take.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollout_lib import operations as op
from rollout_lib.errors import ParameterError
from rollout_lib.model import FindingKind, State

pytestmark = pytest.mark.one_server

ONE_FAILS = """
UPDATE webhook_routing_logs SET status = 'error', error_message = 'HTTP 502'
 WHERE id = (SELECT id FROM webhook_routing_logs WHERE routed_to = 'unified' AND status = 'success'
              AND created_at > now_is - interval '2 hours' ORDER BY created_at LIMIT 1)"""


def one_fails(evening) -> None:
    """One unified row of the passed phase is an error, as one that was logged late would be."""
    evening.sql(ONE_FAILS.replace("now_is", f"'{evening.now.isoformat()}'::timestamptz"))


def evaluated(evening):
    return op.evaluate_phase(evening.session()).checkpoint


def acknowledge(evening, subject="acknowledgement", value="inconclusive", evaluation=0):
    return op.attest(
        evening.session(),
        subject=subject,
        value=value,
        reason="support saw it",
        evaluation=evaluation,
    )


def test_a_name_covers_what_the_evaluation_named_and_no_more(evening):
    """One failure: undecided, acknowledged, passed. Then nobody looks at 13:15: undecided again,
    and the name of before is not of that. A number binds it to the evaluation that was read.
    """
    one_fails(evening)
    read = op.evaluate_phase(evening.session())
    first = read.checkpoint
    assert first.state is State.INCONCLUSIVE
    assert first.rules == 2
    done = acknowledge(evening)
    assert [item.kind for item in done.covers] == [FindingKind.ERROR_RATE, FindingKind.LATE_ROWS]
    assert done.covers[0].figures["failing"] == 1
    assert evaluated(evening).state is State.PASS
    with pytest.raises(ParameterError, match="only an INCONCLUSIVE one"):
        acknowledge(evening)
    assert evaluated(evening).state is State.PASS  # again, with nothing new
    one_fails(evening)
    second = op.evaluate_phase(evening.session())
    assert second.checkpoint.state is State.INCONCLUSIVE
    newer, older = second.head[0], read.head[0]
    with pytest.raises(ParameterError, match=f"last evaluation is #{newer}, not #{older}"):
        acknowledge(evening, evaluation=older)
    with pytest.raises(ParameterError, match="only an acknowledgement is of one"):
        acknowledge(evening, "extension", "auto", evaluation=newer)
    acknowledge(evening, evaluation=newer)
    (missed,) = evening.sql("SELECT max(slot) FROM rollout.ledger")[0]
    evening.now += timedelta(minutes=31)
    evening.sql(
        "INSERT INTO webhook_routing_logs (created_at, domain, message_id, routed_to,"
        " webhook_name, status, response_time_ms)"
        " SELECT created_at + interval '30 minutes', domain, message_id || 'x', routed_to,"
        " webhook_name, 'success', response_time_ms FROM webhook_routing_logs"
        f" WHERE created_at > '{missed.isoformat()}'::timestamptz - interval '29 minutes'"
    )
    later = evaluated(evening)
    assert later.state is State.INCONCLUSIVE
    assert later.sentence.endswith("Rita's acknowledgement was not of: every slot checked.")


def test_waiting_takes_as_long_as_the_evaluation_says(evening):
    """`--extend auto` holds the phase for what 541 requests and more need, from the evaluation on,
    in whole checks; a second one asks for another evaluation.
    """
    one_fails(evening)
    found = evaluated(evening)
    (errors,) = (
        item for item in found.findings if item.kind is FindingKind.ERROR_RATE and item.requests
    )
    assert f"{errors.requests:,} more" in found.sentence
    done = acknowledge(evening, "extension", "auto")
    assert 0 <= int(done.value) - errors.seconds < 15 * 60
    held = evaluated(evening)
    assert held.state is State.HOLD  # until then
    with pytest.raises(ParameterError, match="no undecided evaluation"):
        acknowledge(evening, "extension", "auto")


def test_a_hold_since_the_evaluation_has_no_name(evening):
    """Undecided at 13:00, HOLD at 13:15: the acknowledgement is refused and writes nothing."""
    one_fails(evening)
    assert evaluated(evening).state is State.INCONCLUSIVE
    evening.now += timedelta(minutes=15)
    evening.sql("UPDATE webhook_routing_config SET percentage = 11")
    assert op.monitor(evening.session(), slot="now").checkpoint.state in (
        State.HOLD,
        State.STEP_BACK,
    )
    before = evening.sql("SELECT count(*) FROM rollout.ledger")
    with pytest.raises(ParameterError, match="no name covers a hold"):
        acknowledge(evening)
    assert evening.sql("SELECT count(*) FROM rollout.ledger") == before
