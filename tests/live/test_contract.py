"""The contract: the reference router passes it, a router that breaks it is told, production never
hears of it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
import yaml

from rollout_lib import operations as op
from rollout_lib.cli.app import run
from rollout_lib.database.connection import connect
from rollout_lib.errors import CouldNotMeasure, UsageError
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.live.checking import check_router
from rollout_lib.rehearsal.live.contract import TABLE, Contract, read_contract
from rollout_lib.rehearsal.live.router import SECRET, VERIFY
from rollout_lib.rehearsal.live.staging import taken_configuration

pytestmark = pytest.mark.slow


@pytest.fixture
def staged(live, plan, monkeypatch):
    """The secrets of the router in the environment, as `rollout router check` finds them."""
    for name in (SECRET, VERIFY):
        monkeypatch.setenv(name, live.stage.environment[name])
    # As the migration is deployed, but a protected domain may be listed: the router must refuse it.
    live.connection.execute(
        "ALTER TABLE webhook_routing_config DROP CONSTRAINT protected_domains_never_routed"
    )
    return live


def test_the_reference_router_does_what_the_contract_says(staged, plan):
    """Every configuration and request of the table, through real sockets; the configuration is as
    it was.
    """
    statement = "SELECT percentage, enabled, domains, notes FROM webhook_routing_config"
    before = staged.connection.execute(statement).fetchall()
    report = check_router(plan, staged.stage.address("router"), read_contract())
    assert report.differences == ()
    assert report.ok
    assert report.requests > 400
    assert staged.connection.execute(statement).fetchall() == before
    handed = staged.stage.ran()
    assert len({identity for _, _, identity, _ in handed}) == len(handed)
    at_unified = {identity for _, name, identity, _ in handed if name == "wa-webhook-unified"}
    assert not [identity for identity in at_unified if "taxi" in identity or "mobil" in identity]


def test_what_comes_otherwise_is_a_difference(staged, plan):
    """A table that demands mobility at unified, another answer and another domain: three lines,
    exit 20.
    """
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    table["steps"] = [table["steps"][1]]
    table["steps"][0]["requests"] = [
        {"name": "a", "messages": [["ann", "mobility"]], "answer": 200, "routed_to": ["unified"]},
        {"name": "b", "body": "{", "answer": 200},
    ]
    report = check_router(plan, staged.stage.address("router"), Contract.model_validate(table))
    assert [difference.line() for difference in report.differences] == [
        "b: the answer must be 200, is 400.",
        "a: the rows of message 0 must be mobility to unified, is mobility to legacy.",
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_whoever_ends_the_check_finds_the_configuration_as_it_was(staged, plan, number):
    """A check that is told to stop, or loses its terminal, while it has routing on at some share
    puts the configuration back before it goes.
    """
    statement = "SELECT percentage, enabled, domains, notes FROM webhook_routing_config"
    before = staged.connection.execute(statement).fetchall()
    command = ["router", "check", "--url", staged.stage.address("router"), "--plan", plan.path]
    with subprocess.Popen(
        [sys.executable, "-m", "rollout_lib", *command],
        env={**os.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        while not any(row[1] for row in staged.connection.execute(statement).fetchall()):
            assert child.poll() is None, "it ended before it had routing on"
        child.send_signal(number)
        assert child.wait(60) != 0
    assert staged.connection.execute(statement).fetchall() == before


@pytest.mark.parametrize("what", ["its phase runs", "another is watched"])
def test_beside_a_rollout_that_runs_nothing_is_sent(evening, monkeypatch, what):
    """Its watcher would act on what the check sets: refused before the router is asked, and the
    configuration is as it was.
    """
    for name in (SECRET, VERIFY):
        monkeypatch.setenv(name, "secret")
    if what == "another is watched":
        op.roll_back(evening.session(), reason="the end of its day")
        evening.sql(
            "INSERT INTO rollout.lease (rollout, holder, taken_at, until) VALUES ('blue', 'x', now(),"
            " now() + interval '1 minute')"
        )
    statement = "SELECT percentage, enabled, domains, notes FROM webhook_routing_config"
    before = evening.sql(statement)
    with pytest.raises(UsageError, match="A rollout runs in"):
        check_router(load_plan(evening.plan_file), "http://127.0.0.1:1/", read_contract())
    assert evening.sql(statement) == before


def test_what_cannot_be_put_back_is_said_also_by_a_check_that_is_ended(staged, plan):
    """Somebody else changed it meanwhile: it stays theirs, and the end says that it does."""

    def ended() -> None:
        with taken_configuration(connect(plan)):
            staged.connection.execute("UPDATE webhook_routing_config SET percentage = 33")
            raise SystemExit(143)

    with pytest.raises(CouldNotMeasure, match="NOT put back"):
        ended()


def test_a_stop_that_something_swallowed_ends_the_check_at_its_next_step(staged, plan):
    """As a callback or a finalizer does with what is raised in it: the configuration is put back."""
    statement = "SELECT percentage, enabled, domains, notes FROM webhook_routing_config"
    before = staged.connection.execute(statement).fetchall()
    state = read_contract().steps[1].configuration

    def swallowing() -> None:
        with taken_configuration(connect(plan)) as taken:
            taken.set(state)
            with contextlib.suppress(SystemExit):
                os.kill(os.getpid(), signal.SIGTERM)
            taken.set(state)

    with pytest.raises(SystemExit) as ended:
        swallowing()
    assert ended.value.code == 128 + signal.SIGTERM
    assert staged.connection.execute(statement).fetchall() == before


def test_production_is_refused_and_nothing_is_asked(tmp_path, capsys):
    """Exit 2, whatever the address is."""
    url = "http://127.0.0.1:9"
    plan = load_plan("parameters/week6.production.yaml").path
    assert run(["router", "check", "--url", url, "--plan", plan]) == 2
    assert "production" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a", "answer": 200},
        {"name": "a", "messages": [["ann", "jobs"]], "answer": 200},
        {"name": "a", "messages": [["ann", "nonsense"]], "answer": 200, "routed_to": []},
        {"name": "a", "again": "nobody", "answer": 200},
        {"name": "a", "body": "{", "answer": 200, "typo": 1},
    ],
)
def test_a_table_is_checked_whole_before_anything_is_sent(tmp_path, wrong, capsys):
    """A request that says nothing, forgets its sides, or refers to nothing: exit 2."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    table["steps"][0]["requests"] = [wrong]
    table["steps"] = table["steps"][:1]
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(table), encoding="utf-8")
    asked = ["router", "check", "--url", "http://127.0.0.1:9", "--contract", str(path)]
    assert run([*asked, "--plan", "parameters/week6.rehearsal.yaml"]) == 2
    assert "own.yaml" in capsys.readouterr().err
