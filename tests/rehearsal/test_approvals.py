"""A day whose plan asks for two approvals: the people give them, and each raise is theirs."""

from __future__ import annotations

import psycopg
import pytest

from rollout_lib import frames
from rollout_lib.database.connection import connect
from rollout_lib.database.ledger import read_facts
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.conductor import rehearse


@pytest.mark.slow
def test_a_day_with_two_approvals_reaches_its_phase_by_two_names(server, tmp_path, monkeypatch):
    """25 % as without them; four approvals on the ledger, two names for each raise."""
    source = tmp_path / "plan.yaml"
    text = load_plan("parameters/week6.rehearsal.yaml").path
    with open(text, encoding="utf-8") as file:
        source.write_text(file.read() + "\napprovals: 2\n", encoding="utf-8")
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", server)
    day = rehearse("healthy", plan_path=str(source), outputs=tmp_path)
    assert day.ok, day.problems
    plan = load_plan(day.plan_path)
    assert plan.approvals == 2
    address = psycopg.conninfo.make_conninfo(server, dbname=plan.database.name)
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", address)
    with connect(plan).transaction(readonly=True) as connection:
        stated = frames.stated(read_facts(connection, plan).entries)
    approved = stated.query("subject == 'approval'")
    assert approved.groupby("value")["by"].nunique().to_dict() == {"10": 2, "25": 2}
