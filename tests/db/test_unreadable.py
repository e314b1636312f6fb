"""Entries that cannot be read, on a real ledger: checks and lowering go on, a raise waits for a
person.
"""

from __future__ import annotations

import pytest

from rollout_lib import operations as op
from rollout_lib.cli.app import run
from rollout_lib.database.ledger import read_facts, read_pulse
from rollout_lib.errors import ParameterError
from rollout_lib.model import State

SPOILT = [
    ("attestation", "complaints", '{"subject":"complaints"}'),
    ("checkpoint", "monitor", '{"state":"PAUSED","operation":"monitor"}'),
    ("message", "sending", '{"nobody":1}'),
]


def plant(evening, kind, operation, body, at="clock_timestamp()"):
    """An entry as somebody with the operator's role can append it."""
    evening.sql(
        f"SELECT rollout.append_entry('{kind}', '{operation}', '{evening.session().plan.rollout}',"
        f" {at}, NULL, NULL, 'planted-{operation}', '{body}')"
    )


def test_checks_and_lowering_go_on_beside_entries_that_cannot_be_read(evening, capsys):
    """A check, an evaluation, a status, a look between slots and a report come to their end; the
    raise is refused by one gate; `change --to 0` and a rollback switch off.
    """
    for spoilt in SPOILT:
        plant(evening, *spoilt)
    plant(evening, "missed", "monitor", "{}", at="'infinity'")
    evening.attest()
    verdict = op.monitor(evening.session()).checkpoint
    assert (verdict.state, verdict.exit_code) == (State.HOLD, 20)
    assert "rollout acknowledge --unreadable" in verdict.verdict.next_step
    assert op.trip(evening.session()).verdict.state is State.HOLD
    assert op.evaluate_phase(evening.session()).checkpoint.state is State.HOLD
    assert op.report(evening.session()).run.checkpoint.exit_code == 0
    assert "ledger readable" in evening.unmet(25)
    assert evening.raise_to(0).change.applied
    assert evening.sql("SELECT enabled FROM webhook_routing_config") == [(False,)]


def test_a_named_person_sets_them_aside(evening, capsys):
    """By number and with a reason; what waits is told for a wrong number, and the raise is free."""
    for spoilt in SPOILT:
        plant(evening, *spoilt)
    numbers = [
        row[0] for row in evening.sql("SELECT seq FROM rollout.ledger WHERE run_id LIKE 'planted%'")
    ]
    with pytest.raises(ParameterError, match=f"#{numbers[0]}"):
        op.attest(evening.session(), subject="unreadable", value="1", reason="planted by psql")
    first, last = min(numbers), max(numbers)
    where = [
        "--plan",
        str(evening.plan_file),
        "--as-of",
        evening.now.isoformat(),
        "--operator",
        "Rita",
    ]
    named = ["--unreadable", f"{first}-{last}", "--reason", "planted by psql"]
    assert run(["acknowledge", *named, *where]) == 0
    assert "Rita stated unreadable" in capsys.readouterr().out
    evening.attest()
    assert evening.raise_to(25).change.applied


def test_what_was_read_before_is_not_read_again(evening):
    """After new entries the facts are the same as read afresh, the old ones being the very same
    values; after a dump was restored they are read anew.
    """
    session = evening.session()
    with session.database.transaction(readonly=True) as connection:
        known = read_facts(connection, session.plan)
    evening.attest()
    plant(evening, *SPOILT[0])
    with session.database.transaction(readonly=True) as connection:
        again = read_pulse(connection, session.plan, known)
        afresh = read_facts(connection, session.plan)
    assert (again.entries, again.head) == (afresh.entries, afresh.head)
    assert all(one is other for one, other in zip(again.entries, known.entries, strict=False))
    evening.sql(
        "SET session_replication_role = replica;"
        f" DELETE FROM rollout.ledger WHERE seq > {known.head[0] - 2}"
    )
    evening.attest("some")
    with session.database.transaction(readonly=True) as connection:
        restored = read_pulse(connection, session.plan, again)
        afresh = read_facts(connection, session.plan)
    assert (restored.entries, restored.head) == (afresh.entries, afresh.head)
