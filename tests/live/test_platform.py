"""The platform's habits through real sockets: what the tally says of requests and messages."""

from __future__ import annotations

import asyncio
import io

import pytest

from rollout_lib.rehearsal.live.load import Kind, read_sent, send
from rollout_lib.rehearsal.live.platform import MIX, Habits
from rollout_lib.rehearsal.live.router import SECRET, UNIFIED_NAME, VERIFY
from rollout_lib.rehearsal.live.tally import Moments, tally

pytestmark = pytest.mark.slow

MANY = Habits(batch=0.2, status=0.1, redelivered=0.3, handshake=0.2, rotated=0.1, known_sender=0.3)


@pytest.mark.parametrize("errors", [0.0, 0.5])
def test_batches_redeliveries_and_statuses_lose_nothing_and_run_nothing_twice(live, plan, errors):
    """Also while unified fails half of its requests: then only what failed runs again."""
    live.route(50)
    live.stage.set(UNIFIED_NAME, errors=errors)
    out = io.StringIO()
    asyncio.run(
        send(
            live.stage.address("router"),
            rate=30,
            seconds=4,
            mix=MIX,
            secret=live.stage.environment[SECRET].encode(),
            seed=5,
            out=out,
            habits=MANY,
            verify_token=live.stage.environment[VERIFY],
        )
    )
    live.rows()
    statement = "SELECT correlation_id, domain, routed_to, message_id FROM webhook_routing_logs"
    sent = read_sent(out.getvalue().splitlines())
    counted = tally(
        sent,
        live.connection.execute(statement).fetchall(),
        live.stage.ran(),
        unified_name=UNIFIED_NAME,
        protected=plan.protected_domains,
        configured_pct=50.0,
        moments=Moments(on=0.0, fault=None, off=None),
    )
    said = counted.messages
    kept = [one for one in sent if one.domain in plan.protected_domains]
    assert [(one.kind, one.status) for one in kept if (one.status or 500) >= 500] == []
    assert (counted.lost, said.lost, said.twice, counted.miscounted) == ((), (), (), ())
    assert (counted.wrong, counted.protected_touched, counted.protected_failed) == ((), 0, 0)
    assert said.sent == said.answered == said.logged
    assert said.redelivered > 0
    assert set(counted.kinds) >= {Kind.MESSAGES, Kind.STATUS, Kind.REDELIVERY, Kind.FORGED}
