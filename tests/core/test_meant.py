"""The database that was meant: an address as people and tools write it, and a plan that is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rollout_lib.database.connection import connect
from rollout_lib.database.session import open_session
from rollout_lib.emergency.address import NoAddress, project_of, read_address
from rollout_lib.emergency.identity import Found, Mark, Wanted, differences
from rollout_lib.errors import UsageError, WrongDatabase
from rollout_lib.plan import load_plan

PLAIN = "postgresql://rita:hunter2@db.example.org:6543/postgres"
MEANT = {
    "host": "db.example.org",
    "port": "6543",
    "dbname": "postgres",
    "user": "rita",
    "password": "hunter2",
}
# How it is written, and what is named of it.
WRITTEN = {
    PLAIN: (),
    PLAIN.replace("postgresql", "postgres"): (),
    f"{PLAIN}?pgbouncer=true": ("pgbouncer",),
    f"{PLAIN}?supa=base-pooler.x": ("supa",),
    f"{PLAIN}?pgbouncer=true&connection_limit=1&pool_timeout=0": (
        "pgbouncer",
        "connection_limit",
        "pool_timeout",
    ),
    f"{PLAIN}?schema=public": ("schema",),
    f"{PLAIN}?pgbouncer": ("pgbouncer",),
    f"{PLAIN}?": (),
    f"{PLAIN}?hunter2/secret=x": ("a word that is none",),
    f"{PLAIN}?sslmode=no-verify": ("sslmode (its value is none that PostgreSQL knows)",),
    f"{PLAIN}?connect_timeout=none": ("connect_timeout (its value is none that PostgreSQL knows)",),
    PLAIN.replace("postgresql", "postgresql+asyncpg"): ("postgresql+asyncpg (read as postgresql)",),
    PLAIN.replace("postgresql", "postgresql+psycopg"): ("postgresql+psycopg (read as postgresql)",),
    PLAIN.replace("postgresql", "prisma+postgres"): ("prisma+postgres (read as postgresql)",),
    PLAIN.replace("postgresql", "jdbc:postgresql"): ("jdbc:postgresql (read as postgresql)",),
    f'"{PLAIN}"': ("quotes around it",),
    f"'{PLAIN}?supa=x'\n": ("quotes around it", "supa"),
    f'{PLAIN}"': ("a quote at its end",),
    f"\ufeff {PLAIN}\r\n": (),
    f"DATABASE_URL={PLAIN}": ("the variable's name in front of it",),
    f"export DATABASE_URL='{PLAIN}'": ("the variable's name in front of it", "quotes around it"),
    f"psql '{PLAIN}'": ("psql in front of it", "quotes around it"),
    PLAIN.replace("@db", "@\n  db"): ("white space inside it",),
    "host=db.example.org port=6543 dbname=postgres user=rita password=hunter2 pgbouncer=true": (
        "pgbouncer",
    ),
}


def test_a_name_beside_the_address_of_another_server_is_not_believed(tmp_path, monkeypatch):
    """libpq goes to hostaddr, in the address or in the environment, whatever host says."""
    plan = tmp_path / "plan.yaml"
    text = Path("parameters/week6.rehearsal.yaml").read_text(encoding="utf-8")
    text = text.replace('name: "rehearsal_*"', "name: postgres\n  host: db.example.org")
    plan.write_text(text)
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", PLAIN)
    assert connect(load_plan(plan)).found.host == "db.example.org"
    monkeypatch.setenv("PGHOSTADDR", "203.0.113.7")
    with pytest.raises(WrongDatabase, match=r"203\.0\.113\.7"):
        connect(load_plan(plan))
    monkeypatch.delenv("PGHOSTADDR")
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", f"{PLAIN}?hostaddr=203.0.113.7")
    with pytest.raises(WrongDatabase, match=r"203\.0\.113\.7"):
        connect(load_plan(plan))


@pytest.mark.parametrize("text", WRITTEN)
def test_a_foreign_word_is_dropped_and_named(text):
    """Host, port, database, user and password are found however the address is written; what was
    not used is named, and no value of it."""
    found = read_address(text)
    assert {key: found.parts[key] for key in MEANT} == MEANT
    assert found.dropped == WRITTEN[text]
    assert "hunter2" not in found.note


def test_what_libpq_knows_is_kept():
    """sslmode, options and the rest of libpq's own words stay as they stand, percent signs too."""
    found = read_address(f"{PLAIN}?sslmode=require&x=1&options=-c%20geqo%3Doff")
    assert (found.parts["sslmode"], found.parts["options"]) == ("require", "-c geqo=off")
    odd = read_address("postgresql://rita:100%sure?@db.example.org/postgres")
    assert odd.parts["password"] == "100%sure?"


@pytest.mark.parametrize(
    "text", ["mysql://rita:hunter2@h/d", "hunter2", "postgresql//rita:hunter2@h/d", "a=b c"]
)
def test_what_is_no_address_is_not_quoted(text):
    """Nothing of it stands in the words."""
    try:
        found = read_address(text)
    except NoAddress as error:
        assert "hunter2" not in str(error)  # noqa: PT017  # no error is well, too
    else:
        assert not found.parts


@pytest.mark.parametrize(
    ("host", "user", "project"),
    [
        ("aws-0-eu-central-1.pooler.supabase.com", "postgres.abcdefgh", "abcdefgh"),
        ("aws-0-eu-central-1.pooler.supabase.com", "rollout_operator.abcdefgh", "abcdefgh"),
        ("db.abcdefgh.supabase.co", "postgres", "abcdefgh"),
        ("localhost", "postgres.abcdefgh", "abcdefgh"),
        ("localhost", "postgres", ""),
    ],
)
def test_the_project_is_in_the_host_or_in_the_user(host, user, project):
    """Supabase's pooler has one host for all projects; a tunnel to it keeps the user."""
    assert project_of(host, user) == project


def a_plan(tmp_path: Path, **database: str) -> str:
    text = Path("parameters/week6.production.yaml").read_text(encoding="utf-8")
    lines = "".join(f"\n  {key}: {value}" for key, value in database.items())
    file = tmp_path / "plan.yaml"
    file.write_text(text.replace("\n  require_tls", f"{lines}\n  require_tls", 1))
    return str(file)


def test_another_project_behind_the_same_host_is_refused(tmp_path, monkeypatch):
    """Production's plan and the staging project's address: exit 2 and both projects."""
    pooler = "postgresql://postgres.{}@aws-0-eu.pooler.supabase.com/postgres"
    plan = load_plan(a_plan(tmp_path, project="prodprod"))
    monkeypatch.setenv("DATABASE_URL", pooler.format("prodprod"))
    assert connect(plan).found.project == "prodprod"
    monkeypatch.setenv("DATABASE_URL", pooler.format("stagstag"))
    with pytest.raises(WrongDatabase, match="its project is stagstag, the plan says prodprod"):
        connect(plan)


def a_mark(**how: str) -> Mark:
    said = {"rollout": "blue", "environment": "production", "id": "ab12cd34-0", "project": "one"}
    return Mark(**(said | how))


@pytest.mark.parametrize(
    ("mark", "wanted", "words"),
    [
        ({}, {}, ""),
        ({"environment": "production"}, {"environment": "staging"}, "says production"),
        ({"rollout": "green"}, {}, "is of green, the plan is of blue"),
        ({"project": "two"}, {}, "was marked in project two"),
        ({}, {"marker": "ab12cd34"}, ""),
        ({}, {"marker": "00000000"}, "its marker is ab12cd34"),
    ],
)
def test_a_marker_says_which_database_it_is(mark, wanted, words):
    """A tunnel that ends elsewhere and a restored dump carry another marker, and each difference is
    named."""
    meant = {"rollout": "blue", "environment": "production"} | wanted
    found = Found(host="localhost", database="postgres", project="one", marks=(a_mark(**mark),))
    lines = differences(Wanted(**meant), found)
    assert bool(lines) == bool(words)
    assert words in " ".join(lines)


ADDRESSES = ("DATABASE_URL", "PGHOST", "PGSERVICE", "PGDATABASE", "PGHOSTADDR", "PROD_URL")


@pytest.fixture
def nothing_set(monkeypatch):
    for name in (*ADDRESSES, "ROLLOUT_PLAN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_without_a_plan_is_no_rehearsal(name, nothing_set, monkeypatch, tmp_path):
    """A new terminal with an address and no plan: exit 2, what is set, and how to name either."""
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "blue.yaml").write_text("database:\n  variable: PROD_URL\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "postgresql://h/d")
    with pytest.raises(UsageError, match=rf"\${name} leads to a database") as error:
        open_session()
    assert "--plan" in str(error.value)
    assert "week6.rehearsal.yaml" in str(error.value)


def test_with_nothing_set_it_is_the_rehearsal(nothing_set, monkeypatch, tmp_path):
    """From any folder; a rehearsal's own address is no other database."""
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", "postgresql://h/d")
    monkeypatch.chdir(tmp_path)
    assert load_plan().environment == "rehearsal"


def test_a_relative_plan_is_found_from_the_notebooks_folder(nothing_set, monkeypatch):
    """nbconvert and nbval run there; a plan that is nowhere says which path it is."""
    monkeypatch.setenv("ROLLOUT_PLAN", "parameters/week6.production.yaml")
    monkeypatch.chdir("notebooks")
    assert load_plan().environment == "production"
    with pytest.raises(UsageError, match=r"parameters/gone\.yaml"):
        load_plan("parameters/gone.yaml")


def test_a_mark_and_line_ends_of_an_editor_are_no_edit(tmp_path):
    """A byte order mark and CRLF: the same plan, the same digest."""
    text = Path("parameters/week6.rehearsal.yaml").read_bytes()
    file = tmp_path / "plan.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert load_plan(file).digest == load_plan("parameters/week6.rehearsal.yaml").digest


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes a user without a name")
def test_a_user_without_a_name_opens_a_session(nothing_set, monkeypatch):
    """A container's user that no passwd file knows operates as its number."""
    monkeypatch.setenv("ROLLOUT_REHEARSAL_URL", "postgresql://h/rehearsal_x")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "ROLLOUT_OPERATOR"):
        monkeypatch.delenv(name, raising=False)
    plan = str(Path("parameters/week6.rehearsal.yaml").resolve())
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(54321)
            os.write(write, open_session(plan).operator.encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    assert os.read(read, 100) == b"user 54321"
