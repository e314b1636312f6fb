"""A whole day through a transaction pooler, as Supabase's port 6543 does it."""

from __future__ import annotations

import pytest

from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.conductor import rehearse


@pytest.mark.slow
@pytest.mark.parametrize("server_kind", ["pgbouncer"], indirect=True)
def test_a_day_through_pgbouncer_ends_as_it_must(server, door, tmp_path, monkeypatch):
    """Raised through the gates, 5 % errors from the second hour on, rolled back by itself: each
    step a notebook.
    """
    monkeypatch.setenv(load_plan("parameters/week6.rehearsal.yaml").database.variable, door(server))
    day = rehearse("errors", outputs=tmp_path)
    assert day.ok, day.problems
    assert (day.found.percentage, day.found.enabled, day.found.decided) == ("0", False, "ROLL_BACK")
