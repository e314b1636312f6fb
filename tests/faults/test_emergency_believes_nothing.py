"""Databases whose functions, triggers, rules, settings and rows are not what their names say: off is
what a new connection reads after the commit, and nothing else is called off."""

from __future__ import annotations

import os
import threading
from decimal import Decimal

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib import spool
from rollout_lib.cli.app import run
from rollout_lib.emergency import line, lower, switch_off
from rollout_lib.errors import CouldNotMeasure, DatabaseUnreachable, NotSwitchedOff
from rollout_lib.operations.lowering import lower_to
from rollout_lib.operations.status import look
from rollout_lib.text import both_times

TABLE = "webhook_routing_config"
ENABLED = "p_enabled boolean, p_notes text DEFAULT NULL"
SHARE = "p_percentage numeric, p_notes text DEFAULT NULL"


def function(name: str, arguments: str, body: str) -> str:
    return (
        f"CREATE OR REPLACE FUNCTION public.{name}({arguments}) RETURNS void LANGUAGE plpgsql"
        f" SECURITY DEFINER SET search_path = public, pg_temp AS $$ BEGIN {body} END $$;"
    )


def trigger(how: str, body: str, constraint: str = "", each: str = "ROW") -> str:
    return (
        f"CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f" CREATE {constraint} TRIGGER again {how} ON {TABLE}"
        f" {'DEFERRABLE INITIALLY DEFERRED' if constraint else ''} FOR EACH {each}"
        " EXECUTE FUNCTION again();"
    )


ENABLES = f"UPDATE {TABLE} SET enabled = true WHERE NOT enabled; RETURN NULL;"
SECOND_ROW = f"""ALTER TABLE {TABLE} DROP CONSTRAINT newest_is_unambiguous;
    INSERT INTO {TABLE} (percentage, enabled, created_at)
    SELECT 25, true, created_at FROM {TABLE};"""
NULLABLE = f"ALTER TABLE {TABLE} ALTER enabled DROP NOT NULL, ALTER percentage DROP NOT NULL;"
UNCHECKED = f"ALTER TABLE {TABLE} DROP CONSTRAINT percentage_is_a_share;"

# What stands in the way of a superuser's emergency, which gets past each of them.
PASSED = {
    "a percentage function that keeps 1 % and enables": function(
        "update_routing_percentage",
        SHARE,
        f"UPDATE {TABLE} SET percentage = greatest(p_percentage, 1), enabled = true;",
    ),
    "a deferred trigger that enables at commit": trigger("AFTER UPDATE", ENABLES, "CONSTRAINT"),
    "a trigger that enables after each update": trigger(
        "AFTER UPDATE", f"IF pg_trigger_depth() < 2 THEN {ENABLES} END IF; RETURN NULL;"
    ),
    "a trigger that keeps it enabled": trigger("BEFORE UPDATE", "NEW.enabled := true; RETURN NEW;"),
    "a trigger that keeps it enabled above 0 %": trigger(
        "BEFORE UPDATE", "NEW.enabled := NEW.percentage > 0; RETURN NEW;"
    ),
    "a trigger that drops every update": trigger("BEFORE UPDATE", "RETURN NULL;"),
    "a trigger that raises": trigger("BEFORE UPDATE", "RAISE EXCEPTION 'frozen';"),
    "a rule that does nothing": (
        f"CREATE RULE nothing AS ON UPDATE TO {TABLE} DO INSTEAD NOTHING;"
    ),
    "a function that does nothing": function("set_routing_enabled", ENABLED, "RETURN;"),
    "a function that enables": function(
        "set_routing_enabled", ENABLED, f"UPDATE {TABLE} SET enabled = true, percentage = 50;"
    ),
    "a function that raises": function("set_routing_enabled", ENABLED, "RAISE EXCEPTION 'no';"),
    "no function": "DROP FUNCTION set_routing_enabled; DROP FUNCTION update_routing_percentage;",
    "a function that sets NULL": NULLABLE
    + function("set_routing_enabled", ENABLED, f"UPDATE {TABLE} SET enabled = NULL;"),
    "several rows of one instant": SECOND_ROW,
    "a row without an instant": (
        f"ALTER TABLE {TABLE} ALTER created_at DROP NOT NULL;"
        f" INSERT INTO {TABLE} (percentage, enabled, created_at) VALUES (25, true, NULL);"
    ),
    "a percentage that is NULL": f"{NULLABLE} UPDATE {TABLE} SET percentage = NULL;",
    "a percentage that is NaN": f"{UNCHECKED} UPDATE {TABLE} SET percentage = 'NaN';",
    "a percentage that is infinite": (
        f"{UNCHECKED} ALTER TABLE {TABLE} ALTER percentage TYPE numeric;"
        f" UPDATE {TABLE} SET percentage = 'Infinity';"
    ),
    "a newer row that is inserted by the update": trigger(
        "AFTER UPDATE",
        f"IF (SELECT count(*) FROM {TABLE}) < 2 THEN INSERT INTO {TABLE} (percentage, enabled)"
        " VALUES (50, true); END IF; RETURN NULL;",
    ),
    "another schema's table first in the path": (
        f"CREATE SCHEMA first; CREATE TABLE first.{TABLE} AS SELECT 7.0 AS percentage, false AS"
        " enabled, now() AS created_at; ALTER DATABASE {database} SET search_path = first, public;"
    ),
    "a time limit of 100 ms": "ALTER DATABASE {database} SET statement_timeout = '100ms';"
    " ALTER DATABASE {database} SET lock_timeout = '1ms';"
    " ALTER DATABASE {database} SET idle_in_transaction_session_timeout = '1ms';",
    "read-only by default": (
        "ALTER DATABASE {database} SET default_transaction_read_only = on;"
        " ALTER DATABASE {database} SET default_transaction_isolation = 'serializable';"
        " ALTER DATABASE {database} SET default_transaction_deferrable = on;"
    ),
    "LATIN1 by default": "ALTER DATABASE {database} SET client_encoding = 'LATIN1';",
    "dates in another style": "ALTER DATABASE {database} SET datestyle = 'German, DMY';",
}


def arrange(day, statements: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(day.direct)["dbname"]
    day.sql(statements.replace("{database}", name))


def routing(day) -> set[tuple]:
    """Every row that the router may read, as a connection of the test's own sees it."""
    rows = day.sql(
        f"SELECT percentage, enabled FROM public.{TABLE} WHERE created_at IS NULL OR created_at ="
        f" (SELECT max(created_at) FROM public.{TABLE})"
    )
    return set(rows)


LEDGER_WAKES = f"""CREATE FUNCTION rollout.again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE public.{TABLE} SET enabled = true, percentage = 10; RETURN NULL; END $$;
    CREATE TRIGGER again AFTER INSERT ON rollout.ledger FOR EACH ROW
    EXECUTE FUNCTION rollout.again();"""
MARKER_WAKES = f"""CREATE FUNCTION rollout.again() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    UPDATE public.{TABLE} SET enabled = true, percentage = 10; RETURN true; END $$;
    ALTER TABLE rollout.marker RENAME TO inner_marker;
    CREATE VIEW rollout.marker AS SELECT * FROM rollout.inner_marker WHERE rollout.again();"""
SHADOW = f"""CREATE FUNCTION public.row_to_json({TABLE}) RETURNS json LANGUAGE sql AS
    $$ SELECT json_build_object('percentage', 0, 'enabled', false) $$;"""


@pytest.mark.parametrize("wakes", [LEDGER_WAKES, MARKER_WAKES, SHADOW])
def test_off_is_the_last_word(evening, wakes):
    """What wakes with the ledger's entry or the marker's question, or speaks for the row, is seen:
    off is what a new connection reads after all that was sent, and a person is told why."""
    arrange(evening, wakes)
    done = switch_off(evening.direct, reason="x", operator="Rita")
    assert routing(evening) == {(0, False)}, done.trouble
    if wakes is LEDGER_WAKES:
        assert "10.00 %, enabled: switched again" in str(done.trouble)


def test_a_run_that_lowers_says_the_last_word_too(evening):
    """`rollout rollback` writes its entry after the change: a ledger that enables is undone."""
    arrange(evening, LEDGER_WAKES)
    done = op.roll_back(evening.session(), reason="complaints from shop 7")
    assert routing(evening) == {(0, False)}
    assert any("lowered again" in line for line in done.told)


def test_a_run_that_lowers_and_is_undone_for_good_says_so(evening, operator, monkeypatch):
    """The ledger raises it again with each entry, and the table takes no second lowering: exit 50
    by the command line, and "ROLLED BACK" is nowhere said.
    """
    arrange(
        evening,
        LEDGER_WAKES.replace(
            "RETURN NULL;",
            f"CREATE RULE stuck AS ON UPDATE TO public.{TABLE} DO INSTEAD NOTHING; RETURN NULL;",
        ).replace("LANGUAGE plpgsql", "LANGUAGE plpgsql SECURITY DEFINER"),
    )
    evening.sql(
        "GRANT USAGE ON SCHEMA rollout TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA rollout TO PUBLIC;"
        " GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA rollout TO PUBLIC"
    )
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", operator)
    monkeypatch.setattr(line, "DEADLINE", 13.0)
    with pytest.raises(NotSwitchedOff, match="NOT read back as off"):
        op.roll_back(evening.session(), reason="complaints from shop 7")
    assert routing(evening) == {(10, True)}
    assert len(evening.sql("SELECT 1 FROM rollout.ledger WHERE operation = 'rollback'")) == 1
    assert not list(spool.folder().glob("*.json"))


TWO = "CREATE SCHEMA app; CREATE TABLE app.{table} (LIKE public.{table} INCLUDING DEFAULTS);"
# Where the second table stands in the path, and what the two hold at first.
SCHEMAS = {
    "the path's first is on": ("app, public", "25, true", "10, true"),
    "the path's first is on, public's is off": ("app, public", "25, true", "0, false"),
    "public's is on": ("app, public", "0, false", "25, true"),
    "public is not on the path": ("app", "25, true", "25, true"),
}


def two_tables(evening, how: str) -> None:
    path, app, public = SCHEMAS[how]
    arrange(
        evening,
        TWO.replace("{table}", TABLE)
        + f"INSERT INTO app.{TABLE} (percentage, enabled) VALUES ({app});"
        f" UPDATE public.{TABLE} SET (percentage, enabled) = ROW({public});"
        f" ALTER DATABASE {{database}} SET search_path = {path};",
    )


def both(evening) -> list[tuple]:
    return evening.sql(
        f"SELECT percentage, enabled FROM app.{TABLE}"
        f" UNION ALL SELECT percentage, enabled FROM public.{TABLE}"
    )


@pytest.mark.parametrize("how", SCHEMAS)
def test_of_two_tables_on_the_path_both_are_switched_off(evening, how):
    """Nobody here knows which of them the router reads: OFF is said of both, or not at all."""
    two_tables(evening, how)
    done = switch_off(evening.direct, reason="x", operator="Rita")
    assert both(evening) == [(0, False), (0, False)], done.trouble
    assert not done.already
    assert switch_off(evening.direct, reason="x", operator="Rita").already


def test_one_step_down_of_two_tables_raises_neither(evening):
    """25 and 5 %, one step down to 10: the one that is lower stays as it is."""
    two_tables(evening, "public is not on the path")
    evening.sql(f"UPDATE public.{TABLE} SET percentage = 5")
    lower(evening.direct, reason="x", to=Decimal(10))
    assert both(evening) == [(10, True), (5, True)]


def test_a_second_table_that_may_not_be_changed_is_never_called_off(evening, operator):
    """Its own table is off, the other one is not this role's: exit 50, and which could not."""
    two_tables(evening, "the path's first is on")
    evening.sql("GRANT USAGE ON SCHEMA app TO PUBLIC")
    for grants in ("", f"GRANT SELECT ON app.{TABLE} TO PUBLIC"):
        if grants:
            evening.sql(grants)
        with pytest.raises(NotSwitchedOff) as error:
            switch_off(operator, reason="x", operator="Rita")
        assert "permission denied" in str(error.value)


def test_a_table_that_no_path_leads_to_is_named(evening):
    """It is not ours to change, and the router might read it."""
    arrange(evening, f"CREATE SCHEMA old; CREATE TABLE old.{TABLE} AS TABLE public.{TABLE}")
    done = switch_off(evening.direct, reason="x", operator="Rita")
    assert f"old.{TABLE}" in str(done.trouble)
    assert evening.sql(f"SELECT percentage, enabled FROM old.{TABLE}") == [(10, True)]


AROUND = {
    "PGTZ": "Mars/Olympus",
    "PGTARGETSESSIONATTRS": "standby",
    "PGSERVICE": "nobody-wrote-it",
    "PGSSLNEGOTIATION": "direct",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGCHANNELBINDING": "require",
    "PGOPTIONS": "-c nothing.of.that",
}


@pytest.mark.parametrize("name", AROUND)
def test_what_the_environment_adds_to_an_address_keeps_nothing_on(evening, monkeypatch, name):
    """Off, by the address alone; and any other command names the variable that is in its way."""
    monkeypatch.setenv(name, AROUND[name])
    with pytest.raises(CouldNotMeasure, match=rf"\${name}"):
        look(evening.session())
    done = switch_off(evening.direct, reason="x", operator="Rita")
    assert (done.after.percentage, done.after.enabled) == (0, False)
    assert os.environ[name] == AROUND[name]
    monkeypatch.delenv(name)
    assert routing(evening) == {(0, False)}


BEHIND = """ALTER TABLE {table} RENAME TO inner_config;
    ALTER TABLE inner_config ENABLE ROW LEVEL SECURITY;
    CREATE POLICY shown ON inner_config USING (notes IS DISTINCT FROM 'hidden');
    INSERT INTO inner_config (percentage, enabled, notes) VALUES (25, true, 'hidden');
    CREATE VIEW {table} WITH (security_invoker = {invoker}) AS SELECT * FROM inner_config;
    GRANT SELECT, UPDATE ON {table}, inner_config TO PUBLIC;
    DROP FUNCTION set_routing_enabled;"""


@pytest.mark.parametrize("invoker", ["true", "on", "'t'"])
def test_row_security_behind_a_view_is_looked_through(evening, operator, invoker):
    """The newest row is hidden from this role, not from the router: it is not called off."""
    evening.sql(
        f"UPDATE {TABLE} SET percentage = 0, enabled = false, created_at = now() - interval '1 h'"
    )
    evening.sql(BEHIND.replace("{table}", TABLE).replace("{invoker}", invoker))
    with pytest.raises(NotSwitchedOff, match="row security may hide"):
        switch_off(operator, reason="x", operator="Rita")


@pytest.mark.parametrize("way", PASSED)
def test_what_stands_in_its_way_is_gone_around(evening, way):
    """Whatever the database does with it: disabled at 0 %, for a connection of ours; and the same
    by an automatic lowering."""
    arrange(evening, PASSED[way])
    done = switch_off(evening.direct, reason="причина: 停止", operator="Rita")
    assert routing(evening) == {(0, False)}, done.trouble
    assert (done.after.percentage, done.after.enabled) == (0, False)
    again = lower(evening.direct, reason="again")
    assert again.already
    assert routing(evening) == {(0, False)}


@pytest.mark.parametrize("way", PASSED)
def test_one_step_down_takes_the_same_way(evening, way):
    """From 10 % to 5 %: at most that is read back, or it is off; a function that raises it instead
    is gone around."""
    arrange(evening, PASSED[way].replace("1), enabled", "40), enabled"))
    done = lower_to(evening.session(), Decimal(5), "stepping back")
    assert done.applied
    assert all(share <= 5 or not enabled for share, enabled in routing(evening)), done.detail


def test_a_lock_of_another_table_does_not_keep_the_row(evening, monkeypatch):
    """set_routing_enabled waits for a table that somebody holds: the row itself is free, and is
    updated."""
    arrange(
        evening,
        "CREATE TABLE audit (t text);"
        + function(
            "set_routing_enabled",
            ENABLED,
            f"LOCK TABLE audit; UPDATE {TABLE} SET enabled = p_enabled;",
        ),
    )
    with psycopg.connect(evening.direct, application_name="psql") as other:
        other.execute("LOCK TABLE audit")
        done = switch_off(evening.direct, reason="x", operator="Rita")
        assert routing(evening) == {(0, False)}
        other.rollback()
    assert any("waited too long" in words for words in done.trouble)


def test_a_row_that_somebody_holds_for_a_while_is_tried_until_it_is_free(evening):
    """A person's session, which is not ours to end, holds the row past the first turns: each way
    is tried again until the deadline.
    """
    other = psycopg.connect(evening.direct, application_name="psql")
    other.execute(f"SELECT * FROM {TABLE} FOR UPDATE")
    released = threading.Timer(12, other.close)
    released.start()
    try:
        switch_off(evening.direct, reason="x", operator="Rita")
    finally:
        released.join()
    assert routing(evening) == {(0, False)}


@pytest.mark.parametrize(
    "body",
    ["PERFORM pg_sleep(60); RETURN NEW;", "LOCK TABLE audit; RETURN NEW;"],
    ids=["it hangs", "it waits for a lock"],
)
def test_a_trigger_that_does_not_end_is_gone_around(evening, monkeypatch, body):
    """The plain UPDATE can never come to its end: it is not all that is tried until the deadline."""
    monkeypatch.setattr(line, "LIMIT", 0.5)
    arrange(evening, "CREATE TABLE audit (t text);" + trigger("BEFORE UPDATE", body))
    with psycopg.connect(evening.direct, application_name="psql") as other:
        other.execute("LOCK TABLE audit")
        done = switch_off(evening.direct, reason="x", operator="Rita")
        other.rollback()
    assert routing(evening) == {(0, False)}, done.trouble


def test_a_function_that_swallows_its_limit_is_cut_off(evening, monkeypatch):
    """It holds the row and catches the cancel: our own session that hangs in it is ended."""
    monkeypatch.setattr(line, "LIMIT", 0.5)
    monkeypatch.setattr(line, "SLACK", 0.5)
    arrange(
        evening,
        function(
            "set_routing_enabled",
            ENABLED,
            f"UPDATE {TABLE} SET notes = 'mine'; FOR i IN 1..60 LOOP BEGIN PERFORM pg_sleep(60);"
            " EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP;",
        ),
    )
    switch_off(evening.direct, reason="x", operator="Rita")
    assert routing(evening) == {(0, False)}


WAKES = f"""CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    UPDATE {TABLE} SET enabled = true, percentage = 10 WHERE NOT enabled; RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER again AFTER UPDATE ON {TABLE} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NOT NEW.enabled) EXECUTE FUNCTION again();"""


@pytest.fixture
def operator(evening):
    """A role that may read and use the functions, and change nothing past triggers."""
    name = psycopg.conninfo.conninfo_to_dict(evening.direct)["dbname"].replace("-", "_")
    evening.sql(f"CREATE ROLE {name} LOGIN; GRANT SELECT, UPDATE ON {TABLE} TO {name}")
    evening.sql(f"ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY")
    evening.sql(f"GRANT EXECUTE ON FUNCTION set_routing_enabled TO {name}")
    yield psycopg.conninfo.make_conninfo(evening.direct, user=name)
    evening.sql(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_what_is_off_at_zero_is_not_written_again(evening, operator):
    """A trigger that enables at commit sleeps while nobody writes: the second emergency, and that
    of a run, read off at 0 %, send nothing, and say that it was so already.
    """
    switch_off(evening.direct, reason="x", operator="Rita")
    arrange(evening, WAKES)
    (as_it_was,) = evening.sql(f"SELECT xmin::text, updated_at FROM {TABLE}")
    again = switch_off(operator, reason="y", operator="Rita")
    assert again.already
    assert lower(operator, reason="z").already
    assert routing(evening) == {(0, False)}
    assert evening.sql(f"SELECT xmin::text, updated_at FROM {TABLE}") == [as_it_was]


def test_what_is_disabled_above_zero_still_gets_its_zero(evening):
    """Disabled by hand at 10 %: off stays off, and `enabled` alone brings nothing back."""
    evening.sql(f"UPDATE {TABLE} SET enabled = false")
    assert routing(evening) == {(10, False)}
    done = switch_off(evening.direct, reason="x", operator="Rita")
    assert not done.already
    assert routing(evening) == {(0, False)}


HIDES = f"""ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY;
    INSERT INTO {TABLE} (percentage, enabled, notes) VALUES (25, true, 'hidden');
    CREATE POLICY shown ON {TABLE} USING (notes IS DISTINCT FROM 'hidden');"""
# What this role cannot get past, and what it must say.
STAYS = {
    "a deferred trigger": (
        trigger("AFTER UPDATE", ENABLES, "CONSTRAINT") + "ALTER FUNCTION again() SECURITY DEFINER;",
        "reads 0.00 %, enabled after the commit|trigger again",
    ),
    "a rule": (
        f"CREATE RULE nothing AS ON UPDATE TO {TABLE} DO INSTEAD NOTHING;"
        + function("set_routing_enabled", ENABLED, "RETURN;"),
        "rule nothing",
    ),
    "an empty table": (f"DELETE FROM {TABLE};", "has no row"),
    "row security that hides the newest row": (
        HIDES + "DROP FUNCTION set_routing_enabled;",
        "NOT verified",
    ),
    "a view that swallows it": (
        f"ALTER TABLE {TABLE} RENAME TO inner_config; CREATE VIEW {TABLE} AS SELECT * FROM"
        " inner_config; CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RETURN NEW; END $$; CREATE TRIGGER again INSTEAD OF UPDATE ON {TABLE} FOR EACH ROW"
        f" EXECUTE FUNCTION again(); GRANT SELECT, UPDATE ON {TABLE} TO PUBLIC;"
        + function("set_routing_enabled", ENABLED, f"UPDATE {TABLE} SET enabled = false;"),
        "enabled after the commit",
    ),
    "a table that is locked": ("", "stays locked"),
}


@pytest.mark.parametrize("way", STAYS)
def test_what_it_cannot_get_past_is_never_called_off(evening, operator, way, monkeypatch):
    """Exit 50, what was read, and what a person does now; the run that wanted it says "NOT DONE"."""
    statements, words = STAYS[way]
    if statements:
        evening.sql(statements)
    monkeypatch.setattr(line, "DEADLINE", 13.0)
    with psycopg.connect(evening.direct, application_name="psql") as other:
        if not statements:
            other.execute(f"SELECT 1 FROM {TABLE} FOR UPDATE")
        with pytest.raises(NotSwitchedOff) as error:
            switch_off(operator, reason="x", operator="Rita")
        other.rollback()
    assert error.value.exit_code == 50
    for part in words.split("|"):
        assert part in str(error.value), str(error.value)
    assert "ROUTING IS OFF" not in str(error.value)


def test_a_read_back_that_does_not_come_is_not_called_off(evening, proxy, through, monkeypatch):
    """The line is gone after the commit: exit 50, "NOT verified", with the statement for the
    console."""
    monkeypatch.setattr(line, "RECONNECT", 0.5)
    number = 1
    while number < 30:
        evening.sql(f"UPDATE {TABLE} SET enabled = true, percentage = 10")
        proxy.arm(number, "unanswered", gone=True)
        said = ""
        try:
            switch_off(through(evening.direct), reason="x", operator="Rita")
        except DatabaseUnreachable as error:
            said = str(error)
        assert "NOT" in said or not said
        assert "ROUTING IS OFF" not in said
        if not proxy.happened.is_set():
            break
        proxy.mend()
        number += 1
    assert number > 8


def test_the_tripwire_and_a_spike_take_the_same_way(evening):
    """A deferred trigger enables at commit: a spike of complaints gets past it, and says off of what
    is off."""
    arrange(evening, PASSED["a deferred trigger that enables at commit"])
    done = op.attest(evening.session(), subject="complaints", value="spike", reason="calls")
    assert done.rollback.checkpoint.change.after == (0, False)
    assert routing(evening) == {(0, False)}
    assert both_times(done.rollback.checkpoint.at, "UTC") in both_times(evening.now, "UTC")


def test_a_spike_that_could_not_be_carried_out_says_so(evening, operator, monkeypatch):
    """Nobody is told "disabled" where a trigger keeps it on: exit 50 and what a person does."""
    evening.sql(STAYS["a deferred trigger"][0])
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", operator)
    with pytest.raises(CouldNotMeasure, match="NOT read back as off"):
        op.attest(evening.session(), subject="complaints", value="spike", reason="calls")


def test_how_a_database_writes_its_values_stops_no_command(evening):
    """Dates, intervals and zones as somebody else likes them: a check, a status, a step down and a
    spike are done as ever."""
    styles = ("datestyle = 'German, DMY'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Tokyo'")
    arrange(evening, "".join(f"ALTER DATABASE {{database}} SET {style};" for style in styles))
    assert run(["monitor", "--json"]) != 1
    assert run(["status"]) == 0
    assert lower_to(evening.session(), Decimal(5), "stepping back").applied
    assert routing(evening) == {(5, True)}
    op.attest(evening.session(), subject="complaints", value="spike", reason="calls")
    assert routing(evening) == {(0, False)}
