"""The whole live path for two minutes, with a fault: router, destinations, client, watcher,
PostgreSQL.
"""

from __future__ import annotations

import pytest

from rollout_lib.rehearsal.live.conductor import run_live
from rollout_lib.rehearsal.live.load import Kind
from rollout_lib.rehearsal.live.router import DATABASE

# A dead protected function is seen by its probes and by the router's own rows; either may be first.
NAMED = {
    "errors": (" failed in the last ",),
    # The router gives up after its own patience: a 504 that is an error row and a slow one.
    "hang": (" failed in the last ", "p95 "),
    "protected": ("mobility failed 2 probes in a row", "reached no function"),
}
# Requests a second: calm enough for two cores that other tests share.
RATE = 8


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["errors", "protected", "hang"])
def test_two_minutes_with_a_fault_lose_nothing_and_end_with_routing_off(
    server, tmp_path, monkeypatch, fault
):
    """No request lost, each logged, none run twice, none to unified later than the cache's second,
    protected kept.
    """
    monkeypatch.setenv(DATABASE, server)
    run = run_live(minutes=2, rate=RATE, fault=fault, outputs=tmp_path)
    counted = run.tally
    assert run.ended_off, run.problems
    assert counted.sent > 60 * RATE
    said = counted.messages
    assert (counted.lost, said.lost, said.twice) == ((), (), ())
    assert (counted.miscounted, counted.wrong) == ((), ())
    assert said.logged == said.answered == said.sent
    assert all(counted.kinds[kind] > 0 for kind in Kind)
    assert counted.late == 0
    assert counted.protected_touched == 0
    assert (counted.protected_failed > 0) is (fault == "protected")
    assert sum(share.unified for share in counted.shares) > 0  # it was routed before it broke
    assert run.decided.startswith("ROLL_BACK: ")
    assert any(words in run.decided for words in NAMED[fault]), run.decided
    assert counted.fault_to_off_s is not None
    assert run.ok, run.problems


@pytest.mark.slow
def test_a_minute_without_a_fault_ends_as_it_began(server, tmp_path, monkeypatch):
    """Nothing breaks: routing stays on, and the platform's habits lose nothing and run nothing
    twice.
    """
    monkeypatch.setenv(DATABASE, server)
    run = run_live(minutes=1, rate=RATE, fault="none", outputs=tmp_path)
    assert run.ok, run.problems
    assert not run.ended_off
    assert (run.tally.lost, run.tally.messages.lost, run.tally.messages.twice) == ((), (), ())
    assert run.tally.messages.redelivered > 0
