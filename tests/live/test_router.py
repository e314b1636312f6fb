"""The reference router with real processes, sockets and PostgreSQL."""

from __future__ import annotations

import json
import time
from collections import Counter

import httpx2
import pytest

from rollout_lib.rehearsal.live.router import SECRET
from rollout_lib.rehearsal.live.webhook import LARGEST_BODY, signature

pytestmark = pytest.mark.slow

ONLY_JOBS = {"jobs": 1.0}


def identities(received) -> Counter:
    return Counter(identity for got in received.values() for _, identity in got)


def test_every_webhook_runs_once_and_is_one_row(live):
    """At 50 %, each request is answered, reaches exactly one function, and has exactly one row that
    says which.
    """
    live.route(50)
    sent = live.send(rate=80, seconds=3)
    rows, received = live.rows(), live.stage.received()
    assert {one["status"] for one in sent} == {200}
    assert (
        Counter(row[0] for row in rows)
        == Counter(one["correlation_id"] for one in sent)
        == identities(received)
    )
    told = {one["correlation_id"]: (one["domain"], one["routed_to"]) for one in sent}
    assert {row[0]: (row[1], row[2]) for row in rows} == told
    at_unified = {row[1] for row in rows if row[2] == "unified"}
    assert at_unified
    assert at_unified <= {"jobs", "marketplace", "property"}
    assert len(received["wa-webhook-unified"]) == sum(row[2] == "unified" for row in rows)


def test_protected_domains_stay_on_legacy_at_a_hundred_percent(live):
    """With 100 % and `unknown` listed, protected and unknown webhooks still never reach unified."""
    live.connection.execute("UPDATE webhook_routing_config SET domains = '{jobs,unknown}'")
    live.route(100)
    mix = {"jobs": 1, "mobility": 1, "profile": 1, "insurance": 1, "unknown": 1}
    live.send(rate=60, seconds=2, mix=mix)
    routed = {(row[1], row[2]) for row in live.rows()}
    # A machine that stalls for over a second has no configuration meanwhile: then jobs go to
    # legacy, too.
    assert routed - {("jobs", "legacy")} == {
        ("jobs", "unified"),
        *((name, "legacy") for name in mix if name != "jobs"),
    }


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE webhook_routing_config SET domains = '{jobs, Mobility}'", "protected domain"),
        ("UPDATE webhook_routing_config SET domains = '{jobs, NULL}'", "list of names"),
        ("ALTER TABLE webhook_routing_config ALTER domains TYPE text USING 'jobs'", "list of"),
        ("ALTER TABLE webhook_routing_config ALTER percentage TYPE text", "not a number"),
        ("UPDATE webhook_routing_config SET percentage = 'NaN'", "not a share"),
        ("INSERT INTO webhook_routing_config (percentage, enabled) VALUES (9, true)", "second row"),
        (
            "INSERT INTO webhook_routing_config (percentage, enabled, created_at)"
            " VALUES (9, true, '2020-01-01')",
            "second row",
        ),
        ("DELETE FROM webhook_routing_config", "no row"),
    ],
)
def test_a_configuration_that_is_not_sound_means_legacy(live, statement, problem):
    """From the moment that such a row is read, nothing goes to unified, and health says why."""
    live.route(100)
    for name in ("protected_domains_never_routed", "domains_not_empty", "percentage_is_a_share"):
        drop = f"ALTER TABLE webhook_routing_config DROP CONSTRAINT {name}"
        live.connection.execute(drop)
    live.connection.execute("ALTER TABLE webhook_routing_config ALTER domains DROP DEFAULT")
    live.connection.execute("ALTER TABLE webhook_routing_config ALTER domains SET DEFAULT '{jobs}'")
    live.connection.execute(statement)
    live.until(lambda: live.stage.health()["configuration"] is None)
    assert {one["routed_to"] for one in live.send(rate=20, seconds=0.5, mix=ONLY_JOBS)} == {
        "legacy"
    }
    assert problem in live.stage.health()["configuration_problem"]


def test_a_percentage_that_the_suite_never_set_is_what_the_router_is_told(live):
    """The router cannot know the ledger: 77.5 % by hand are obeyed, and the suite raises the
    alarm.
    """
    live.route(77.5)
    assert live.stage.health()["configuration"]["percentage"] == "77.50"
    assert "unified" in {one["routed_to"] for one in live.send(rate=40, seconds=1, mix=ONLY_JOBS)}


def test_an_unreachable_unified_falls_back_to_legacy_once(live):
    """No connection could be made: legacy serves it, and two rows say so, the failed one first."""
    live.route(100)
    live.stage.set("wa-webhook-unified", outage="refuse")
    sent = live.send(rate=20, seconds=1, mix=ONLY_JOBS)
    assert {(one["status"], one["routed_to"]) for one in sent} == {(200, "legacy")}
    rows = live.rows()
    said = {
        tuple((row[2], row[4]) for row in rows if row[0] == one["correlation_id"]) for one in sent
    }
    # Where the machine stalled for over a second there was no configuration, and legacy alone was
    # asked.
    assert said - {(("legacy", "success"),)} == {(("unified", "error"), ("legacy", "success"))}
    assert set(identities(live.stage.received()).values()) == {1}


@pytest.mark.parametrize(("outage", "status"), [("hang", 504), ("reset", 502)])
def test_what_may_have_run_is_never_sent_again(live, outage, status):
    """Once bytes were sent to unified, a timeout or a broken connection is an error, and legacy
    never sees it.
    """
    live.route(100)
    live.stage.set("wa-webhook-unified", outage=outage)
    sent = live.send(rate=10, seconds=1, mix=ONLY_JOBS)
    # Where the machine stalled for over a second there was no configuration, and legacy alone was
    # asked.
    assert {(one["status"], one["routed_to"]) for one in sent} - {(200, "legacy")} == {
        (status, "unified")
    }
    rows = live.rows()
    assert Counter(row[0] for row in rows) == Counter(one["correlation_id"] for one in sent)
    assert {(row[2], row[4]) for row in rows} - {("legacy", "success")} == {("unified", "error")}
    received = live.stage.received()
    assert set(identities(received).values()) == {1}
    asked = {one["correlation_id"] for one in sent if one["routed_to"] == "unified"}
    assert not asked & {identity for _, identity in received["wa-webhook-jobs"]}


def test_a_dead_legacy_is_one_row_of_the_router(live):
    """Where no destination was reached the row says `error`, which is the router's own stream."""
    live.stage.set("wa-webhook-mobility", outage="refuse")
    sent = live.send(rate=10, seconds=1, mix={"mobility": 1.0})
    assert {one["status"] for one in sent} == {502}
    assert {row[1:] for row in live.rows()} == {
        ("mobility", "error", "wa-webhook-mobility", "error")
    }


def test_a_failing_destination_is_its_own_answer_and_an_error_row(live):
    """A destination's 500 is handed back as it is."""
    live.stage.set("wa-webhook-jobs", errors=1.0)
    sent = live.send(rate=10, seconds=1, mix=ONLY_JOBS)
    assert {(one["status"], one["routed_to"]) for one in sent} == {(500, "legacy")}
    assert {row[4] for row in live.rows()} == {"error"}


def test_a_rollback_takes_effect_within_the_caches_second(live):
    """No request sent more than a second after the commit goes to unified."""
    live.route(100)
    before = live.send(rate=50, seconds=1, mix=ONLY_JOBS)
    live.connection.execute("SELECT set_routing_enabled(false, 'rollback')")
    at = time.time()
    after = live.send(rate=50, seconds=3, mix=ONLY_JOBS)
    assert "unified" in {one["routed_to"] for one in before}
    assert {one["routed_to"] for one in after if one["at"] > at + 1.0} == {"legacy"}


def test_sigterm_writes_what_is_in_the_buffer(live):
    """A router that is stopped right after its last answer leaves no row behind."""
    sent = live.send(rate=200, seconds=1, mix=ONLY_JOBS)
    assert live.stage.end("router") == 0
    rows = live.connection.execute("SELECT count(*) FROM webhook_routing_logs").fetchone()
    assert rows == (len(sent),)


def test_an_unreadable_configuration_means_legacy(live):
    """Without the table, nothing goes to unified, and health says that there is
    no configuration.
    """
    live.route(100)
    live.connection.execute("ALTER TABLE webhook_routing_config RENAME TO elsewhere")
    live.until(lambda: live.stage.health()["configuration"] is None)
    sent = live.send(rate=20, seconds=1, mix=ONLY_JOBS)
    assert {one["routed_to"] for one in sent} == {"legacy"}
    assert live.stage.health()["status"] == "degraded"
    live.connection.execute("ALTER TABLE elsewhere RENAME TO webhook_routing_config")
    live.route(100)
    assert "unified" in {one["routed_to"] for one in live.send(rate=20, seconds=1, mix=ONLY_JOBS)}


def test_a_refused_request_is_a_clear_4xx_and_no_row(live):
    """Size, signature, JSON and method are refused in words; no destination and
    no row hears of it.
    """
    secret, address = live.stage.environment[SECRET].encode(), live.stage.address("router")

    def post(body: bytes, **headers: str) -> httpx2.Response:
        return httpx2.post(address, content=body, headers=headers, trust_env=False)

    def signed(body: bytes) -> httpx2.Response:
        return post(body, **{"x-hub-signature-256": signature(secret, body)})

    assert post(b"{}").status_code == 401
    assert post(b"{}", **{"x-hub-signature-256": "sha256=" + "0" * 64}).status_code == 401
    assert signed(b"{").status_code == 400
    assert signed(b"[1]").status_code == 400
    assert signed(b"[" * 100_000).status_code == 400
    assert signed(b" " * (LARGEST_BODY + 1)).status_code == 413
    assert httpx2.put(address, content=b"{}", trust_env=False).status_code == 405
    assert json.loads(post(b"{}").text)["error"] == "X-Hub-Signature-256 is missing"
    assert live.rows() == []
    assert not identities(live.stage.received())
    assert live.stage.health()["requests"]["refused 401"] == 3


def test_a_row_that_the_table_refuses_stops_no_other(live):
    """With a constraint of somebody else's on the log, the refused row is counted and the others
    are written.
    """
    live.connection.execute("ALTER TABLE webhook_routing_logs ADD CHECK (domain <> 'unknown')")
    sent = live.send(rate=100, seconds=1, mix={"jobs": 1, "unknown": 1})
    rows = live.rows()
    wanted = {one["correlation_id"] for one in sent if one["domain"] == "jobs"}
    assert {row[0] for row in rows} == wanted
    assert live.stage.health()["log"]["refused"] == len(sent) - len(wanted)
