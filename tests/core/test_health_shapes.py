"""What the database's own health function says is read in the runbook's shape and the deployed one's."""

from __future__ import annotations

import pytest

from rollout_lib.judgement.safety import health_check
from rollout_lib.model import Health, Outcome, State

DEPLOYED = [{"is_healthy": False, "issue": "Error rate 3.10 % on jobs"}]
SAID = {
    "the deployed system's, unhealthy": (DEPLOYED, Outcome.WARN, State.WATCH, "Error rate 3.10 %"),
    "the deployed system's, healthy": (
        [{"is_healthy": True, "issue": None}],
        Outcome.PASS,
        None,
        "says ok",
    ),
    "one of two domains is unhealthy": (
        [{"domain": "jobs", "is_healthy": True, "issue": ""}, *DEPLOYED],
        Outcome.WARN,
        State.WATCH,
        "jobs",
    ),
    "the runbook's, bad": (
        [{"metric": "p95_ms", "status": "rollback"}],
        Outcome.WARN,
        State.WATCH,
        "not ok",
    ),
    "one JSON value": (
        [{"check_routing_health": {"is_healthy": False, "issue": "slow"}}],
        Outcome.WARN,
        State.WATCH,
        "slow",
    ),
    "one boolean": ([{"check_routing_health": False}], Outcome.WARN, State.WATCH, "not ok"),
    "healthy is NULL": ([{"is_healthy": None, "issue": "?"}], Outcome.COULD_NOT_LOOK, None, "?"),
    "healthy is a word": ([{"is_healthy": "yes"}], Outcome.COULD_NOT_LOOK, None, "yes"),
    "another shape": ([{"verdict": "fine"}], Outcome.COULD_NOT_LOOK, None, "fine"),
    "bad and unknown words": (
        [{"status": "critical"}, {"status": "purple"}],
        Outcome.WARN,
        State.WATCH,
        "not ok",
    ),
    "no row": ([], Outcome.COULD_NOT_LOOK, None, "no row"),
    "a number to call": (
        [{"is_healthy": False, "issue": "call +49 151 2345 6789"}],
        Outcome.WARN,
        State.WATCH,
        "call [number]",
    ),
}


@pytest.mark.parametrize("shape", SAID)
def test_unhealthy_is_at_least_a_watch_and_its_issue_is_shown(shape):
    """Both shapes are compared with a clean hour of ours; what cannot be read is never a pass."""
    rows, outcome, state, words = SAID[shape]
    check = health_check(Health(rows=tuple(rows), reason="asked"), State.CLEAN)
    assert (check.outcome, check.state) == (outcome, state)
    assert words in check.reason
