"""Whatever a real database is like, pre-flight names it, and what it prints mends it: run here as
the role that it names, on the database that provokes it, until pre-flight passes."""

from __future__ import annotations

import re

import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import open_session
from rollout_lib.errors import ShapeRefused, TablesMissing
from rollout_lib.model import Check, Outcome
from tests.db.conftest import Site

LOG = "webhook_routing_logs"
RELOG = f"ALTER TABLE {LOG} ENABLE ROW LEVEL SECURITY"
PARTITIONED = f"""DROP VIEW webhook_routing_stats; ALTER TABLE {LOG} RENAME TO log_before;
    CREATE TABLE {LOG} (LIKE log_before INCLUDING DEFAULTS INCLUDING IDENTITY) PARTITION BY RANGE (created_at);
    CREATE TABLE {LOG}_default PARTITION OF {LOG} DEFAULT;
    INSERT INTO {LOG} (created_at, domain, routed_to, webhook_name, status, response_time_ms, message_id)
    SELECT created_at, domain, routed_to, webhook_name, status, response_time_ms, message_id FROM log_before;
    CREATE VIEW webhook_routing_stats AS SELECT domain, routed_to, count(*) AS request_count,
           avg(response_time_ms) AS avg_response_ms, percentile_cont(0.5) WITHIN GROUP (ORDER BY response_time_ms)
           AS p50_ms, percentile_cont(0.95) WITHIN GROUP (ORDER BY response_time_ms) AS p95_ms,
           percentile_cont(0.99) WITHIN GROUP (ORDER BY response_time_ms) AS p99_ms,
           count(*) FILTER (WHERE status = 'error') AS error_count, 0.0 AS error_rate_pct
      FROM {LOG} GROUP BY 1, 2"""
# (what is arranged, the check that finds it, its outcome, words of what it observed)
PROVOKED = {
    "a column of the router's is gone": (
        f"ALTER TABLE {LOG} DROP COLUMN from_number",
        "the router's rows",
        Outcome.FAIL,
        "from_number is missing",
    ),
    "a column that must be given, and nobody gives": (
        f"ALTER TABLE {LOG} ADD COLUMN region text NOT NULL DEFAULT 'x';"
        f" ALTER TABLE {LOG} ALTER COLUMN region DROP DEFAULT",
        "the router's rows",
        Outcome.FAIL,
        'null value in column "region"',
    ),
    "a CHECK that forbids the router's errors": (
        f"ALTER TABLE {LOG} ADD CONSTRAINT two CHECK (routed_to IN ('unified', 'legacy'))",
        "the router's rows",
        Outcome.FAIL,
        '"two"',
    ),
    "a sender that must be known": (
        f"ALTER TABLE {LOG} ALTER COLUMN message_id SET DEFAULT 'x';"
        f" UPDATE {LOG} SET from_number = 'x'; ALTER TABLE {LOG} ALTER COLUMN from_number SET NOT NULL",
        "the router's rows",
        Outcome.FAIL,
        "from_number",
    ),
    "no default for the time": (
        f"ALTER TABLE {LOG} ALTER COLUMN created_at DROP DEFAULT,"
        " ALTER COLUMN created_at DROP NOT NULL",
        "the router's rows",
        Outcome.FAIL,
        "created_at has no default",
    ),
    "errors longer than their column": (
        f"ALTER TABLE {LOG} ALTER COLUMN error_message TYPE varchar(500)",
        "the router's rows",
        Outcome.FAIL,
        "too long",
    ),
    "answers slower than their column": (
        f"DROP VIEW webhook_routing_stats; ALTER TABLE {LOG} ALTER COLUMN response_time_ms"
        " TYPE smallint; CREATE VIEW other AS SELECT response_time_ms FROM webhook_routing_logs;"
        + PARTITIONED[PARTITIONED.index("CREATE VIEW") :],
        "the router's rows",
        Outcome.FAIL,
        "smallint",
    ),
    "a webhook that may come once": (
        f"CREATE UNIQUE INDEX once ON {LOG} (message_id)",
        "the router's rows",
        Outcome.FAIL,
        "duplicate key",
    ),
    "an index that a long error does not fit into": (
        f"CREATE INDEX words ON {LOG} (error_message)",
        "the router's rows",
        Outcome.FAIL,
        "index row size",
    ),
    "a domain that another table must know": (
        "CREATE TABLE known AS SELECT unnest(ARRAY['jobs', 'marketplace', 'property']) AS name;"
        " ALTER TABLE known ADD PRIMARY KEY (name);"
        f" ALTER TABLE {LOG} ADD CONSTRAINT is_known FOREIGN KEY (domain) REFERENCES known"
        " DEFERRABLE INITIALLY DEFERRED",
        "the router's rows",
        Outcome.FAIL,
        "foreign key",
    ),
    "a partition for no row": (
        f"{PARTITIONED}; DROP TABLE {LOG}_default; CREATE INDEX ON {LOG} (created_at)",
        "the router's rows",
        Outcome.FAIL,
        "no partition",
    ),
    "a partitioned log without an index": (
        PARTITIONED,
        "index on created_at",
        Outcome.WARN,
        "missing",
    ),
    "a log that is a view, without an index": (
        "DROP VIEW webhook_routing_stats; CREATE SCHEMA inner_rooms;"
        f" ALTER TABLE {LOG} SET SCHEMA inner_rooms;"
        " DROP INDEX inner_rooms.webhook_routing_logs_created_at;"
        f" CREATE VIEW {LOG} WITH (security_invoker = true) AS SELECT * FROM inner_rooms.{LOG};"
        f" ALTER VIEW {LOG} ALTER COLUMN created_at SET DEFAULT now();"
        + PARTITIONED[PARTITIONED.index("CREATE VIEW") :],
        "index on created_at",
        Outcome.WARN,
        "missing",
    ),
    "functions that return another system's record": (
        "CREATE TABLE webhook_routing_config_old (domain text, target_function text);"
        " DROP FUNCTION get_current_routing_config(); CREATE FUNCTION get_current_routing_config()"
        " RETURNS SETOF webhook_routing_config_old LANGUAGE sql AS"
        " 'SELECT * FROM webhook_routing_config_old';"
        " REVOKE ALL ON FUNCTION get_current_routing_config() FROM PUBLIC",
        "records of functions",
        Outcome.FAIL,
        "webhook_routing_config_old",
    ),
    "a function that fails when it is called": (
        "CREATE OR REPLACE FUNCTION set_routing_enabled(p_enabled boolean, p_notes text DEFAULT NULL)"
        " RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS"
        " 'BEGIN UPDATE gone SET enabled = p_enabled; END'",
        "functions answer",
        Outcome.FAIL,
        'relation "gone" does not exist',
    ),
    "a function that writes another table": (
        "CREATE OR REPLACE FUNCTION update_routing_percentage(p_percentage numeric, p_notes text"
        " DEFAULT NULL) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS"
        " 'BEGIN END'",
        "functions answer",
        Outcome.WARN,
        "the newest row was not written",
    ),
    "a second set in another schema": (
        "CREATE SCHEMA app; CREATE TABLE app.webhook_routing_config"
        " (LIKE webhook_routing_config INCLUDING ALL); CREATE FUNCTION app.check_routing_health()"
        " RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "one set of objects",
        Outcome.FAIL,
        "also app.webhook_routing_config",
    ),
    "a function that is gone": (
        "DROP FUNCTION update_routing_percentage(numeric, text)",
        "functions",
        Outcome.FAIL,
        "update_routing_percentage(numeric, text) is missing",
    ),
}
FIRE = "CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS"
ON_ROW = f"CREATE TRIGGER on_row BEFORE INSERT ON {LOG} FOR EACH ROW EXECUTE FUNCTION fire()"
# What loses rows, each seen by the rows that are tried: {what: (arranged, words of what is observed)}
LOSES = {
    "a rule instead": (
        f"CREATE RULE quiet AS ON INSERT TO {LOG} WHERE new.status = 'error' DO INSTEAD NOTHING",
        "not in the log as it was written",
    ),
    "a rule that takes rows away afterwards": (
        f"CREATE RULE tidy AS ON INSERT TO {LOG} DO ALSO DELETE FROM {LOG} WHERE routed_to = 'error'",
        "not in the log as it was written",
    ),
    "a trigger that drops a row": (
        f"{FIRE} 'BEGIN IF NEW.routed_to = ''unified'' THEN RETURN NULL; END IF; RETURN NEW; END'; {ON_ROW}",
        "not in the log as it was written",
    ),
    "a trigger that refuses some row": (
        f"{FIRE} 'BEGIN IF NEW.response_time_ms > 60000 THEN RAISE EXCEPTION ''slow''; END IF;"
        f" RETURN NEW; END'; {ON_ROW}",
        "slow",
    ),
    "a trigger that writes another domain": (
        f"{FIRE} 'BEGIN NEW.domain := ''jobs''; RETURN NEW; END'; {ON_ROW}",
        "not in the log as it was written",
    ),
    "a trigger that gives another time": (
        f"{FIRE} 'BEGIN NEW.created_at := NEW.created_at - interval ''1 day''; RETURN NEW; END'; {ON_ROW}",
        "not in the log as it was written",
    ),
    "a trigger that takes rows away at the end": (
        f"{FIRE} 'BEGIN DELETE FROM {LOG} WHERE id = NEW.id AND NEW.status = ''error''; RETURN NULL; END';"
        f" CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT ON {LOG} DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION fire()",
        "not in the log as it was written",
    ),
    "a webhook that may fail once": (
        f"CREATE UNIQUE INDEX once ON {LOG} (message_id) WHERE status = 'error' AND routed_to = 'legacy'",
        "duplicate key",
    ),
    "an id that another table must know": (
        f"CREATE TABLE messages (id text PRIMARY KEY); ALTER TABLE {LOG} ADD CONSTRAINT is_known"
        " FOREIGN KEY (message_id) REFERENCES messages NOT VALID",
        "foreign key",
    ),
    "numbers longer than their column": (
        f"ALTER TABLE {LOG} ALTER COLUMN from_number TYPE varchar(11)",
        "too long",
    ),
    "an id longer than its column": (
        f"ALTER TABLE {LOG} ALTER COLUMN message_id TYPE varchar(40) USING left(message_id, 40)",
        "too long",
    ),
    "a partition of the days before": (
        f"{PARTITIONED}; DROP TABLE {LOG}_default; CREATE TABLE {LOG}_old PARTITION"
        f" OF {LOG} FOR VALUES FROM ('2020-01-01') TO ('2020-02-01'); CREATE INDEX ON {LOG} (created_at)",
        "no partition",
    ),
}


@pytest.mark.parametrize("case", LOSES)
def test_what_loses_rows_of_the_router_is_found_and_its_statement_mends_it(site, case):
    """Every kind of row is written twice and read back; after the statement each of them arrives."""
    arranged, observed = LOSES[case]
    site.arrange(arranged)
    found = site.look()["the router's rows"]
    assert (found.outcome, observed in found.observed) == (Outcome.FAIL, True), found
    mend(site, found)
    assert site.look()["the router's rows"].outcome is Outcome.PASS


@pytest.mark.parametrize("case", sorted(LOSES))
def test_what_loses_rows_is_found_where_none_may_be_written(site, server, case):
    """A trigger that reaches outside is never set off: the rest is judged by the catalog, and a rule
    or a trigger that may drop rows is no pass."""
    arranged, _ = LOSES[case]
    site.arrange(arranged)
    site.arrange(
        "CREATE SEQUENCE outside; CREATE FUNCTION counts() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM nextval(''outside''); RETURN NEW; END';"
        f" CREATE TRIGGER also BEFORE INSERT ON {LOG} FOR EACH ROW EXECUTE FUNCTION counts()"
    )
    found = site.look()["the router's rows"]
    by_text = {"a trigger that writes another domain", "a trigger that gives another time"}
    by_text |= {
        "a rule that takes rows away afterwards",
        "a trigger that takes rows away at the end",
    }
    expected = (
        (Outcome.FAIL, Outcome.COULD_NOT_LOOK) if case not in by_text else (Outcome.COULD_NOT_LOOK,)
    )
    assert found.outcome in expected, found
    with psycopg.connect(site.direct) as connection:
        assert connection.execute("SELECT is_called FROM outside").fetchone() == (False,)


HARMLESS = {
    "an id once at a time": f"CREATE UNIQUE INDEX once ON {LOG} (message_id, created_at)",
    "a time once": f"CREATE UNIQUE INDEX once ON {LOG} (created_at)",
    "ids by their sign": f"ALTER TABLE {LOG} ADD CHECK (message_id LIKE 'wamid.%') NOT VALID",
    "ids by a pattern": rf"ALTER TABLE {LOG} ADD CHECK (message_id ~ '^wamid\.[A-Za-z0-9+/=_-]+$') NOT VALID",
    "numbers by a pattern": rf"ALTER TABLE {LOG} ADD CHECK (from_number ~ '^\+?[1-9][0-9]{{6,14}}$') NOT VALID",
    "a trigger that keeps a copy": (
        f"CREATE TABLE copies (LIKE {LOG}); {FIRE} 'BEGIN INSERT INTO copies SELECT NEW.*; RETURN NEW;"
        f" END'; {ON_ROW}"
    ),
    "a trigger that spells words alike": (
        f"{FIRE} 'BEGIN NEW.from_number := md5(NEW.from_number); RETURN NEW; END'; {ON_ROW}"
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_takes_every_row_is_no_alarm(site, case):
    """Rows are tried as real ones are: ids with WhatsApp's sign, and each at its own time."""
    site.arrange(HARMLESS[case])
    assert site.look()["the router's rows"].outcome is Outcome.PASS


SETTINGS = {
    "read-only": ("default_transaction_read_only", "on"),
    "no time": ("statement_timeout", "'5ms'"),
    "another path": ("search_path", "nowhere"),
    "no row security": ("row_security", "off"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_of_the_routers_role_that_loses_its_rows_is_found(
    supabase_roles, database, direct, tmp_path, case
):
    """The rows are tried with the settings that the role finds when it connects."""
    site, (name, value) = Site(direct, tmp_path), SETTINGS[case]
    site.arrange("ALTER ROLE service_role NOBYPASSRLS")
    try:
        site.arrange(
            f'ALTER ROLE service_role IN DATABASE "{database.place.database}" SET {name} = {value}'
        )
        found = site.look()["the router's rows"]
        assert (found.outcome, name in found.reason or "row-level" in found.reason) == (
            Outcome.FAIL,
            True,
        ), found
        if name != "row_security":
            mend(site, found)
            assert site.look()["the router's rows"].outcome is Outcome.PASS
    finally:
        site.arrange(
            f'ALTER ROLE service_role IN DATABASE "{database.place.database}" RESET ALL;'
            " ALTER ROLE service_role BYPASSRLS"
        )


SQL = re.compile(r"^(ALTER|BEGIN|CREATE|DELETE|DROP|GRANT|INSERT|REVOKE|SELECT|UPDATE)\b")


def mend(site: Site, check: Check) -> None:
    """Run what the check prints, as the role it names."""
    assert SQL.match(check.mend or ""), check
    named = re.search(r"/\* as (\w+)", check.mend)
    with psycopg.connect(site.direct, autocommit=True) as connection:
        if named:
            connection.execute(f"SET ROLE {named.group(1)}")
        connection.execute(check.mend)


def failing(site: Site) -> dict[str, Check]:
    return {name: c for name, c in site.look().items() if c.outcome is Outcome.FAIL}


@pytest.mark.parametrize("case", PROVOKED)
def test_what_is_provoked_is_found_and_its_statement_mends_it(site, case):
    """Each shape is a named check; after its statement the same pre-flight passes, and the rows of
    the log are the same."""
    arranged, name, outcome, observed = PROVOKED[case]
    site.arrange(arranged)
    rows = f"SELECT count(*), min(created_at) FROM {LOG}"
    with psycopg.connect(site.direct) as connection:
        before = connection.execute(rows).fetchone()
    found = site.look()[name]
    assert (found.outcome, observed in found.observed) == (outcome, True), found
    if found.mend:
        mend(site, found)
        assert site.look()[name].outcome is Outcome.PASS
    assert failing(site) == {}
    with psycopg.connect(site.direct) as connection:
        assert connection.execute(rows).fetchone() == before


def test_a_time_without_a_zone_is_read_as_utc_past_the_views_that_read_it(site):
    """Pre-flight refuses with statements that give the column its type whatever zone the session
    has, and put the views back with their rights."""
    naive = """BEGIN; DROP VIEW webhook_routing_stats; SET LOCAL timezone = 'UTC';
        ALTER TABLE webhook_routing_logs ALTER COLUMN created_at DROP DEFAULT,
            ALTER COLUMN created_at TYPE timestamp,
            ALTER COLUMN created_at SET DEFAULT (now() AT TIME ZONE 'UTC');"""
    site.arrange(
        naive
        + PARTITIONED[PARTITIONED.index("CREATE VIEW") :]
        + "; CREATE VIEW busiest AS SELECT max(request_count) AS most FROM webhook_routing_stats;"
        " CREATE INDEX ON webhook_routing_logs (created_at); COMMIT"
    )
    with pytest.raises(ShapeRefused, match="ask in which zone it was written") as caught:
        site.run()
    line = next(
        item for item in str(caught.value).splitlines() if "shape of webhook_routing_logs" in item
    )
    with psycopg.connect(site.direct, autocommit=True) as connection:
        written = connection.execute(
            f"SELECT max(created_at AT TIME ZONE 'UTC') FROM {LOG}"
        ).fetchone()
        connection.execute("SET timezone = 'America/New_York'")
        connection.execute(line.split("Mend: ")[1])
        assert connection.execute(f"SELECT max(created_at) FROM {LOG}").fetchone() == written
        assert connection.execute("SELECT most FROM busiest").fetchone() == (200,)
        stamped = connection.execute(  # by the column's default, in this session's zone
            f"INSERT INTO {LOG} (domain, routed_to, status) VALUES ('jobs', 'legacy', 'success')"
            " RETURNING abs(extract(epoch FROM created_at - now()))"
        ).fetchone()
        assert stamped < (60,)
    assert failing(site) == {}


@pytest.mark.parametrize(
    "added",
    [
        "webhook_routing_logs ADD latency_ms integer",
        "webhook_routing_logs ADD success boolean, ADD routed_at timestamptz",
        "webhook_routing_config ADD target_function text",
    ],
)
def test_a_column_more_makes_no_set_an_older_one(site, added):
    """A set that runs is never renamed away for what somebody added to it: nothing to mend."""
    site.arrange(f"ALTER TABLE {added}")
    assert failing(site) == {}
    found = site.look()[f"shape of {added.split()[0]}"]
    assert (found.outcome, "older system" in found.reason) == (Outcome.WARN, True)


def test_one_column_less_in_a_set_that_runs_is_that_column(site):
    """Dropped beside one more of an older name: the statement gives it back, and renames nothing."""
    site.arrange(f"ALTER TABLE {LOG} ADD latency_ms integer, DROP COLUMN webhook_name")
    with pytest.raises(ShapeRefused, match="webhook_name is missing") as caught:
        site.look()
    assert "RENAME" not in str(caught.value)
    site.arrange(str(caught.value).split("Mend: ")[1].splitlines()[0])
    assert failing(site) == {}


def test_an_older_set_is_set_aside_whole_and_the_migration_then_applies(
    empty_database, direct_of, tmp_path
):
    """A configuration per domain, and functions made for it: after the one statement nothing of it
    keeps the migration away, and no function returns its record."""
    direct = direct_of(empty_database)
    with psycopg.connect(direct, autocommit=True) as connection:
        connection.execute(
            """CREATE TABLE webhook_routing_config (id serial PRIMARY KEY, domain text,
                   target_function text, traffic_percentage integer, enabled boolean);
               CREATE TABLE webhook_routing_logs (id serial PRIMARY KEY, domain text,
                   latency_ms integer, success boolean, routed_at timestamptz DEFAULT now());
               CREATE FUNCTION get_current_routing_config() RETURNS SETOF webhook_routing_config
                   LANGUAGE sql AS 'SELECT * FROM webhook_routing_config';
               CREATE FUNCTION set_routing_enabled(p boolean, n text) RETURNS void LANGUAGE sql
                   AS 'UPDATE webhook_routing_config SET enabled = p'"""
        )
        with pytest.raises(ShapeRefused) as caught:
            op.preflight(open_session())
        line = next(
            i for i in str(caught.value).splitlines() if "shape of webhook_routing_config" in i
        )
        connection.execute(line.split("Mend: ")[1])
    migrate(empty_database, apply=True)
    assert failing(Site(direct, tmp_path)) == {}


@pytest.fixture
def direct_of(server):
    """From a database to its address past the pooler."""
    return lambda database: psycopg.conninfo.make_conninfo(server, dbname=database.place.database)


def test_objects_off_the_search_path_are_found_and_no_second_set_is_made(
    database, direct, server, tmp_path, plan
):
    """They are named with their schema; neither pre-flight nor migrate acts beside them; after the
    statement, and a new connection, both find them."""
    site = Site(direct, tmp_path)
    names = [f"TABLE {LOG}", "TABLE webhook_routing_config", "VIEW webhook_routing_stats"]
    functions = [
        "set_routing_enabled(boolean, text)",
        "update_routing_percentage(numeric, text)",
        "check_routing_health()",
        "get_current_routing_config()",
    ]
    moves = [f"ALTER {name} SET SCHEMA app" for name in names]
    moves += [f"ALTER FUNCTION {name} SET SCHEMA app" for name in functions]
    moves += [f"ALTER FUNCTION app.{name} RESET search_path" for name in functions]
    site.arrange("CREATE SCHEMA app; " + "; ".join(moves))
    for refused in (site.run, lambda: migrate(database, apply=True)):
        with pytest.raises(
            ShapeRefused, match="in app, which this connection's search path"
        ) as caught:
            refused()
    line = next(i for i in str(caught.value).splitlines() if f"shape of {LOG}" in i)
    site.arrange(line.split("Mend: ")[1])
    try:
        with psycopg.connect(server, autocommit=True) as admin:  # a pooler keeps sessions of before
            admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
                (database.place.database,),
            )
        assert migrate(database, apply=True).missing == ()
        with psycopg.connect(direct, autocommit=True) as admin:
            tables = (
                "SELECT count(*) FROM pg_class WHERE relname ~ '^webhook_routing_(config|logs)$'"
            )
            assert admin.execute(tables).fetchone() == (2,)
        assert site.look()["search_path of functions"].outcome is Outcome.FAIL
        mend(site, site.look()["search_path of functions"])
        bodies = [  # their bodies name public; that is what calling them finds
            name for name, c in failing(site).items() if name == "functions answer"
        ]
        assert bodies == ["functions answer"]
        mend(site, failing(site)["functions answer"])
        assert failing(site) == {}
    finally:
        site.arrange(f'ALTER ROLE postgres IN DATABASE "{database.place.database}" RESET ALL')


def test_a_trigger_on_the_log_is_not_set_off(site):
    """What a trigger does may not be undone (a number of a sequence is not): the rows are judged by the catalog then, which finds a
    CHECK and a column that must be given just the same."""
    site.arrange(
        f"""CREATE TABLE fired (n int); CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM nextval(''fired_once''); RETURN NEW; END'; CREATE SEQUENCE fired_once;
        CREATE TRIGGER on_row BEFORE INSERT ON {LOG} FOR EACH ROW EXECUTE FUNCTION fire()"""
    )
    found = site.look()["the router's rows"]
    assert found.outcome is Outcome.WARN
    assert "on_row would run" in found.reason
    site.arrange(
        f"ALTER TABLE {LOG} ADD CONSTRAINT two CHECK (routed_to IN ('unified', 'legacy')) NOT VALID;"
        f" ALTER TABLE {LOG} ADD COLUMN region text NOT NULL DEFAULT 'x';"
        f" ALTER TABLE {LOG} ALTER COLUMN region DROP DEFAULT"
    )
    found = site.look()["the router's rows"]
    assert found.outcome is Outcome.FAIL
    assert all(words in found.observed for words in ('"two"', "region must be given"))
    mend(site, found)
    assert site.look()["the router's rows"].outcome is Outcome.WARN
    with psycopg.connect(site.direct) as connection:
        assert connection.execute("SELECT is_called FROM fired_once").fetchone() == (False,)


def test_what_is_tried_leaves_nothing(site):
    """Neither a row of the log nor another configuration, and nobody else sees one meanwhile."""
    with psycopg.connect(site.direct, autocommit=True) as connection:
        read = f"SELECT (SELECT count(*) FROM {LOG}), (SELECT max(xmin::text) FROM webhook_routing_config)"
        before = connection.execute(read).fetchone()
        assert site.look()["the router's rows"].observed == "29 kinds taken"
        assert site.look()["functions answer"].observed == "4 called"
        assert connection.execute(read).fetchone() == before


def test_without_tables_pre_flight_still_says_what_makes_them(empty_database):
    """Nothing is tried on a database that has nothing."""
    with pytest.raises(TablesMissing, match="rollout migrate --apply"):
        op.preflight(open_session())
