"""Supabase as it is: its roles, auth.role(), default privileges that give everything to the public
keys, and (on one of the servers) a pooler in transaction mode in front."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import open_session
from rollout_lib.model import Outcome
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World
from tests.db.conftest import Site

PLATFORM = """
CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO anon, authenticated, service_role;
CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql STABLE AS $$ SELECT coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role') $$;
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT CAST(
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub' AS uuid) $$;
GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
"""


@pytest.fixture
def supabase(supabase_roles, empty_database, server, tmp_path) -> Site:
    """A project of Supabase with the runbook's objects, a day of legacy, and nothing else."""
    direct = psycopg.conninfo.make_conninfo(server, dbname=empty_database.place.database)
    with psycopg.connect(direct, autocommit=True) as admin:
        admin.execute(PLATFORM)
    migrate(empty_database, apply=True)
    return Site(direct, tmp_path)


def test_the_day_through_it(supabase, plan):
    """Pre-flight passes, with the router's rows tried as service_role; a raise, a check and a
    rollback go through."""
    found = supabase.look()
    assert [name for name, c in found.items() if c.outcome is Outcome.FAIL] == []
    assert "written as service_role" in found["the router's rows"].reason
    supabase.arrange("TRUNCATE webhook_routing_logs")
    world = World(supabase.direct, plan, SCENARIOS["healthy"], seed=1)
    world.prelude(world.start)

    def session():
        return open_session(str(supabase.plan_file), as_of=world.now.isoformat(), operator="Rita")

    op.attest(session(), subject="complaints", value="none")
    raised = op.change_percentage(session(), to=Decimal(10), reason="start", dry_run=False)
    assert raised.checkpoint.change.applied, raised.checkpoint.sentence
    world.advance(world.now + timedelta(minutes=15))
    assert op.monitor(session(), slot="now").checkpoint.exit_code == 0
    assert op.roll_back(session(), reason="enough").checkpoint.change.after == (Decimal(0), False)
    world.close()


# (what is arranged, the outcome of `logs not public`, words of what it observed)
EXPOSED = {
    "grants, and a policy by auth.role()": (
        "GRANT ALL ON webhook_routing_logs TO anon; CREATE POLICY service ON webhook_routing_logs"
        " USING (auth.role() = 'service_role')",
        Outcome.PASS,
        "closed by policy",
    ),
    "a policy that lets the public key in": (
        "GRANT SELECT ON webhook_routing_logs TO anon; CREATE POLICY everyone ON"
        " webhook_routing_logs USING (auth.role() IN ('anon', 'service_role'))",
        Outcome.FAIL,
        "anon may select webhook_routing_logs",
    ),
    "a policy by what stands in a row": (
        "GRANT SELECT ON webhook_routing_logs TO anon; CREATE POLICY own ON webhook_routing_logs"
        " FOR SELECT USING (from_number = current_setting('request.jwt.claims', true))",
        Outcome.PASS,
        "closed by policy",
    ),
    "one column": (
        "ALTER TABLE webhook_routing_logs DISABLE ROW LEVEL SECURITY;"
        " GRANT SELECT (from_number) ON webhook_routing_logs TO anon",
        Outcome.FAIL,
        "anon may select webhook_routing_logs",
    ),
    "a view over the log that reads as its owner": (
        "CREATE VIEW numbers AS SELECT from_number FROM webhook_routing_logs",
        Outcome.FAIL,
        "anon may select numbers",
    ),
    "a materialized view": (
        "CREATE MATERIALIZED VIEW kept AS SELECT from_number FROM webhook_routing_logs",
        Outcome.FAIL,
        "anon may select kept",
    ),
    "everyone's right": (
        "ALTER TABLE webhook_routing_config DISABLE ROW LEVEL SECURITY;"
        " GRANT UPDATE ON webhook_routing_config TO PUBLIC",
        Outcome.FAIL,
        "anon may update webhook_routing_config",
    ),
}


@pytest.mark.parametrize("what", EXPOSED)
def test_what_the_public_keys_reach_is_tried_and_its_mend_closes_it(supabase, what):
    """Rights on a column, a view or by everyone count; a policy counts by what it lets through."""
    arranged, outcome, observed = EXPOSED[what]
    supabase.arrange(arranged)
    found = supabase.look()["logs not public"]
    assert (found.outcome, observed in found.observed) == (outcome, True), found
    if found.mend:
        supabase.arrange(found.mend)
        assert supabase.look()["logs not public"].outcome is Outcome.PASS
    assert supabase.look()["the router's rows"].outcome is Outcome.PASS


def test_a_function_that_reads_the_log_for_the_public_key_is_found(supabase):
    """SECURITY DEFINER, callable by anon, and about the log: named with its revoke."""
    supabase.arrange(
        "CREATE FUNCTION last_number() RETURNS text LANGUAGE sql SECURITY DEFINER SET search_path ="
        " public AS 'SELECT from_number FROM webhook_routing_logs LIMIT 1'"
    )
    found = supabase.look()["functions not public"]
    assert (found.outcome, "last_number" in found.observed) == (Outcome.FAIL, True)
    supabase.arrange(found.mend)
    assert supabase.look()["functions not public"].outcome is Outcome.PASS


# Ways to what is ours that no grant to anon on it shows: {what: (arranged, words of what is named)}
ROUNDABOUT = {
    "a group": (
        "GRANT EXECUTE ON FUNCTION set_routing_enabled(boolean, text) TO service_role;"
        " GRANT service_role TO anon",
        "set_routing_enabled",
    ),
    "a function that calls ours": (
        "CREATE FUNCTION raise_it() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path ="
        " public AS 'SELECT update_routing_percentage(100)'",
        "raise_it",
    ),
    "a function that calls one that calls ours": (
        "CREATE FUNCTION inner_one() RETURNS void LANGUAGE sql AS 'SELECT"
        " public.update_routing_percentage(100)'; REVOKE ALL ON FUNCTION inner_one() FROM PUBLIC, anon,"
        " authenticated; CREATE FUNCTION outer_one() RETURNS void LANGUAGE sql SECURITY DEFINER"
        " SET search_path = public AS 'SELECT inner_one()'",
        "outer_one",
    ),
    "a procedure": (
        "CREATE PROCEDURE empty_it() LANGUAGE sql SECURITY DEFINER SET search_path = public AS"
        " 'DELETE FROM webhook_routing_logs'",
        "empty_it",
    ),
    "a body of its own": (
        "CREATE FUNCTION raised() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public"
        " BEGIN ATOMIC SELECT set_routing_enabled(true, 'x'); END",
        "raised",
    ),
}


@pytest.mark.parametrize("what", ROUNDABOUT)
def test_a_way_around_to_our_functions_is_found_and_its_mend_closes_it(supabase, what):
    """Membership, wrappers, procedures and SQL bodies lead the public key as far as a grant does."""
    arranged, observed = ROUNDABOUT[what]
    supabase.arrange(arranged)
    try:
        found = supabase.look()["functions not public"]
        assert (found.outcome, observed in found.observed) == (Outcome.FAIL, True), found
        supabase.arrange(found.mend)
        assert supabase.look()["functions not public"].outcome is Outcome.PASS
    finally:
        supabase.arrange("REVOKE service_role FROM anon")
