"""The address: from the environment, a service or a passfile; TLS beyond this
machine; never shown.
"""

from __future__ import annotations

import psycopg
import pytest

from rollout_lib.database.connection import connect, explain
from rollout_lib.emergency.address import read_address
from rollout_lib.emergency.connection import open_connection
from rollout_lib.errors import DatabaseMissing, RolloutError, UsageError, WrongDatabase
from rollout_lib.plan import Plan, load_plan, parse_plan

SECRET = "hunter2-canary"


def a_plan(**database: object) -> Plan:
    content = load_plan("parameters/week6.production.yaml").model_dump(mode="python")
    content["database"] |= {"host": "*", **database}
    return Plan.model_validate({**content, "path": "plan.yaml", "digest": "d"}, strict=False)


@pytest.fixture(autouse=True)
def no_settings_of_the_machine(monkeypatch, tmp_path):
    for name in ("PGHOST", "PGSSLMODE", "PGSERVICE", "PGDATABASE", "PGPASSFILE", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))


def sslmode(database) -> str | None:
    return psycopg.conninfo.conninfo_to_dict(database.address).get("sslmode")


@pytest.mark.parametrize(
    "host", ["db.example.org", "10.0.0.4", "2001:db8::1", "127.0.0.1.example.org"]
)
def test_beyond_this_machine_tls_is_asked_for_by_itself(monkeypatch, host):
    """An address without an sslmode gets sslmode=require, not libpq's `prefer`, which also does
    without.
    """
    monkeypatch.setenv("DATABASE_URL", f"host={host} dbname=postgres user=x password={SECRET}")
    assert sslmode(connect(a_plan())) == "require"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_beyond_this_machine_an_address_without_tls_is_refused(monkeypatch, mode):
    """Exit 2, before anything is sent, and the words hold neither the address nor its password."""
    monkeypatch.setenv(
        "DATABASE_URL", f"postgresql://x:{SECRET}@db.example.org/postgres?sslmode={mode}"
    )
    with pytest.raises(UsageError, match=f"sslmode={mode}") as caught:
        connect(a_plan())
    assert caught.value.exit_code == 2
    assert SECRET not in str(caught.value)
    assert sslmode(connect(a_plan(require_tls=False))) == mode, "unless the plan says otherwise"


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_what_is_strict_enough_stays_as_it_is(monkeypatch, mode):
    """A stricter mode than ours is never weakened."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://x@db.example.org/postgres?sslmode={mode}")
    assert sslmode(connect(a_plan())) == mode


@pytest.mark.parametrize("mode", ["REQUIRE", "Verify-Full", "require%20"])
def test_a_mode_in_another_spelling_is_that_mode(mode):
    """Dropped, it would leave libpq's own, which also does without TLS."""
    found = read_address(f"postgresql://x@db.example.org/postgres?sslmode={mode}")
    assert found.parts["sslmode"] == mode.replace("%20", "").lower()
    assert not found.dropped


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "/run/postgresql"])
def test_on_this_machine_tls_is_not_asked_for(monkeypatch, host):
    """Loopback and Unix sockets leave nothing to read on the way."""
    monkeypatch.setenv("DATABASE_URL", f"host={host} dbname=postgres")
    assert sslmode(connect(a_plan())) is None


def test_the_environment_cannot_weaken_it(monkeypatch):
    """$PGSSLMODE and $PGHOST count as if they stood in the address."""
    monkeypatch.setenv("DATABASE_URL", "dbname=postgres")
    monkeypatch.setenv("PGHOST", "db.example.org")
    assert sslmode(connect(a_plan())) == "require"
    monkeypatch.setenv("PGSSLMODE", "disable")
    with pytest.raises(UsageError, match="sslmode=disable"):
        connect(a_plan())


def test_a_service_is_held_to_the_same_rules(monkeypatch, tmp_path):
    """Host, name and sslmode of a pg service are read before anything is sent."""
    services = tmp_path / "services"
    services.write_text(f"[week6]\nhost=db.example.org\ndbname=postgres\npassword={SECRET}\n")
    monkeypatch.setenv("DATABASE_URL", "service=week6")
    found = connect(a_plan())
    assert sslmode(found) == "require"
    assert (found.place.host, found.place.database) == ("db.example.org", "postgres")
    with pytest.raises(WrongDatabase, match=r"its host is db\.example\.org"):
        connect(a_plan(host="*.supabase.com"))
    services.write_text("[week6]\nhost=db.example.org\ndbname=postgres\nsslmode=disable\n")
    with pytest.raises(UsageError, match="sslmode=disable"):
        connect(a_plan())


def test_another_database_or_host_than_the_plans_is_refused(monkeypatch):
    """A plan of another rollout must not act here: exit 2, the difference, no address."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://x:{SECRET}@db.example.org/staging")
    with pytest.raises(
        WrongDatabase, match="it is called staging, the plan says postgres"
    ) as caught:
        connect(a_plan())
    assert SECRET not in str(caught.value)


def test_production_without_an_address_never_falls_back_to_an_embedded_server():
    """The variable is named, exit 2, nothing is started."""
    with pytest.raises(DatabaseMissing, match="DATABASE_URL") as caught:
        connect(a_plan())
    assert caught.value.exit_code == 2


def test_what_is_no_address_is_not_repeated(monkeypatch):
    """A mistyped address holds the password as well."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql//x:{SECRET}@db.example.org/postgres")
    with pytest.raises(UsageError, match="is not a PostgreSQL address") as caught:
        connect(a_plan())
    assert SECRET not in str(caught.value)


def test_a_database_shows_neither_its_address_nor_its_engine(monkeypatch):
    """In a traceback, a log line or a notebook a Database is its place alone."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://x:{SECRET}@127.0.0.1/postgres")
    found = connect(a_plan())
    assert SECRET not in repr(found)
    failed = psycopg.OperationalError(
        f'connection to "postgresql://x:{SECRET}@127.0.0.1/postgres" failed'
    )
    assert SECRET not in str(explain(failed, found.place))


def test_an_address_in_a_plan_is_refused():
    """There is no key for one."""
    content = load_plan("parameters/week6.production.yaml").model_dump(mode="python")
    content["database"]["url"] = f"postgresql://x:{SECRET}@h/d"
    with pytest.raises(Exception, match="unknown key"):
        parse_plan(content)


@pytest.mark.parametrize("password", ["hunter2@x", "hunter2/x", "a@hunter2/x"])
def test_a_password_that_ends_the_address_early_is_not_shown(password, monkeypatch):
    """Its @ or / stands unencoded: neither way to connect says a part of it, and both say why."""
    address = f"postgresql://postgres:{password}@127.0.0.1:1/db"
    monkeypatch.setenv("DATABASE_URL", address)
    plan = load_plan("parameters/week6.production.yaml")
    for ask in (lambda: connect(plan), lambda: open_connection(address)):
        with pytest.raises(RolloutError, match="%40") as error:
            ask()
        assert "hunter2" not in str(error.value)
