"""What keeps the ledger as it was written is compared whole: a guard that is there and cannot act
is none.
"""

from __future__ import annotations

import psycopg
import pytest

from rollout_lib.database.guards import read_guards

APPEND_ONLY = (
    "CREATE OR REPLACE TRIGGER ledger_is_append_only BEFORE {events} ON rollout.ledger"
    " FOR EACH ROW {when} EXECUTE FUNCTION rollout.refuse_rewriting()"
)
LET_GO = {
    "a condition that never holds": APPEND_ONLY.format(
        events="UPDATE OR DELETE", when="WHEN (current_user = 'nobody')"
    ),
    "only some of the columns": APPEND_ONLY.format(events="UPDATE OF run_id OR DELETE", when=""),
    "for replicas only": "ALTER TABLE rollout.ledger ENABLE REPLICA TRIGGER ledger_is_append_only",
    "switched off": "ALTER TABLE rollout.ledger DISABLE TRIGGER ledger_is_never_truncated",
    "sessions of the database are replicas": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica',"
        " current_database()); END $$"
    ),
    "the way in is its caller's": (
        "ALTER FUNCTION rollout.append_entry(text, text, text, timestamptz, timestamptz,"
        " timestamptz, text, text) SECURITY INVOKER"
    ),
    "the hash looks elsewhere first": (
        "ALTER FUNCTION rollout.entry_hash(text, bigint, text, text, text, timestamptz,"
        " timestamptz, timestamptz, timestamptz, text, text) SET search_path = public, pg_catalog"
    ),
    "no path of its own": "ALTER FUNCTION rollout.refuse_rewriting() RESET ALL",
    "granted to everybody": "GRANT INSERT ON rollout.ledger TO PUBLIC",
    "a column of it granted": (
        "GRANT USAGE ON SCHEMA rollout TO pg_monitor; "
        "GRANT UPDATE (body) ON rollout.ledger TO pg_monitor"
    ),
    "its triggers granted": (
        "GRANT USAGE ON SCHEMA rollout TO pg_monitor; GRANT TRIGGER ON rollout.ledger TO pg_monitor"
    ),
    "the way in is everybody's": (
        "GRANT EXECUTE ON FUNCTION rollout.append_entry(text, text, text, timestamptz,"
        " timestamptz, timestamptz, text, text) TO PUBLIC"
    ),
    "rows of another table": "CREATE TABLE rollout.more () INHERITS (rollout.ledger)",
    "rows that a policy hides": "ALTER TABLE rollout.ledger ENABLE ROW LEVEL SECURITY",
}


def guards(database) -> list[str]:
    with database.transaction(readonly=True) as connection:
        return read_guards(connection)


@pytest.mark.parametrize("how", LET_GO)
def test_a_guard_that_cannot_act_is_none(database, direct, how):
    """However the ledger's guard was let go, it is told, and of what the migrations made nothing."""
    assert guards(database) == []
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute(LET_GO[how])
    assert guards(database), f"{how}: it reads as guarding"
