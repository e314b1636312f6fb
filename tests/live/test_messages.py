"""Batches, redeliveries, statuses and the draw, through the router's own application."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout_lib.rehearsal.live.configuration import _POINTS, point
from rollout_lib.rehearsal.live.forward import Answer
from rollout_lib.rehearsal.live.webhook import signature
from tests.live.in_process import PROTECTED, SECRET, Bench, ids, message, post, status

UNIFIED = "wa-webhook-unified"
FAILED = Answer(status=500, problem="failed")
HUNG = Answer(status=None, timed_out=True, problem="did not answer in time")
UNREACHED = Answer(status=None, sent=False, problem="no connection")


def rows(bench: Bench) -> list[tuple]:
    return [(row.message_id, row.domain, row.routed_to, row.status) for row in bench.logbook.rows]


def test_a_batch_of_what_may_go_is_one_post_to_unified_and_a_row_for_each_message():
    """The bytes and the signature are those that came; each row has its own id and domain."""

    async def run(bench: Bench) -> None:
        payload = post({"messages": [message("a", "a job"), message("b", "a house")]})
        assert (await bench.send(payload))[0] == 200
        assert [one[1] for one in bench.destinations.handed] == [json.dumps(payload).encode()]

    bench = Bench()
    asyncio.run(run(bench))
    assert rows(bench) == [
        ("a", "jobs", "unified", "success"),
        ("b", "property", "unified", "success"),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("apart", [False, True])
def test_one_protected_message_keeps_all_on_legacy_each_at_its_own_function(order, apart):
    """In any order, in one change or several: no message is handed to another domain's function,
    and each part is signed anew.
    """
    every = [message("a", "a job"), message("b", "a taxi"), message("c", "a house")]
    mixed = [every[number] for number in order]
    values = [{"messages": [one]} for one in mixed] if apart else [{"messages": mixed}]
    bench = Bench()
    asyncio.run(bench.send(post(*values)))
    found = {name: ids(body) for name, body, _ in bench.destinations.handed}
    assert found == {
        "wa-webhook-jobs": ["a"],
        "wa-webhook-mobility": ["b"],
        "wa-webhook-property": ["c"],
    }
    assert {row[0]: row[1:3] for row in rows(bench)} == {
        "a": ("jobs", "legacy"),
        "b": ("mobility", "legacy"),
        "c": ("property", "legacy"),
    }
    for _, body, headers in bench.destinations.handed:
        assert headers["x-hub-signature-256"] == signature(SECRET, body)


def test_a_domain_that_is_not_listed_keeps_a_batch_on_legacy():
    """With jobs alone in `domains`, jobs and property together never reach unified."""
    bench = Bench()
    bench.domains = ["jobs"]
    asyncio.run(bench.send(post({"messages": [message("a", "a job"), message("b", "a house")]})))
    assert bench.destinations.at(UNIFIED) == []
    assert bench.destinations.at("wa-webhook-jobs") == ["a"]


def test_without_the_secret_a_signed_batch_stays_whole_at_the_protected_function():
    """A signature that cannot be made again is not broken."""

    async def run(bench: Bench) -> None:
        payload = post({"messages": [message("a", "a job"), message("b", "a taxi")]})
        body = json.dumps(payload).encode()
        await bench.ask(body, {"x-hub-signature-256": signature(b"unknown here", body)})
        assert [one[:2] for one in bench.destinations.handed] == [("wa-webhook-mobility", body)]

    bench = Bench(secret=None)
    asyncio.run(run(bench))
    assert [row[:2] for row in rows(bench)] == [("a", "jobs"), ("b", "mobility")]


def test_a_part_names_no_other_parts_customer():
    """Contacts follow their messages."""
    contacts = [{"wa_id": "1"}, {"wa_id": "2"}, {"wa_id": "of nobody"}]
    value = {
        "contacts": contacts,
        "messages": [message("a", "a job", "1"), message("b", "a taxi", "2")],
    }
    bench = Bench()
    asyncio.run(bench.send(post(value)))
    found = {
        name: [
            one["wa_id"] for one in json.loads(body)["entry"][0]["changes"][0]["value"]["contacts"]
        ]
        for name, body, _ in bench.destinations.handed
    }
    assert found == {
        "wa-webhook-jobs": ["1", "of nobody"],
        "wa-webhook-mobility": ["2", "of nobody"],
    }


def test_what_was_answered_is_answered_again_and_not_handed_on():
    """Alone, in another batch, or twice in one POST: one run, one row, the same answer."""

    async def run(bench: Bench) -> None:
        first = await bench.send(post({"messages": [message("a", "a job")]}))
        again = await bench.send(post({"messages": [message("a", "a job")]}))
        assert (again[0], again[2]) == (first[0], first[2])
        assert again[1]["x-answered-again"] == first[1]["x-correlation-id"]
        await bench.send(post({"messages": [message("b", "a job"), message("a", "a job")]}))
        await bench.send(post({"messages": [message("c", "a job"), message("c", "a job")]}))

    bench = Bench()
    asyncio.run(run(bench))
    assert bench.destinations.at(UNIFIED) == ["a", "b", "c"]
    assert [row[0] for row in rows(bench)] == ["a", "b", "c"]


def test_a_redelivery_after_a_rollback_is_still_not_run_again():
    """Answered by unified, redelivered when routing is off: legacy does not run it too."""

    async def run(bench: Bench) -> None:
        await bench.send(post({"messages": [message("a", "a job")]}))
        bench.enabled = False
        await bench.send(post({"messages": [message("a", "a job")]}))
        await bench.send(post({"messages": [message("b", "a job")]}))

    bench = Bench()
    asyncio.run(run(bench))
    assert bench.destinations.at(UNIFIED) == ["a"]
    assert bench.destinations.at("wa-webhook-jobs") == ["b"]  # a rollback moves the sender


def test_a_delivery_while_the_first_one_runs_waits_for_its_answer():
    """The platform is impatient: both are answered with the one answer."""

    async def run(bench: Bench) -> None:
        bench.destinations.held = asyncio.Event()
        payload = post({"messages": [message("a", "a job")]})
        first = asyncio.create_task(bench.send(payload))
        await bench.destinations.reached.wait()
        second = asyncio.create_task(bench.send(payload))
        while not bench.router._counts["waited for the first delivery"]:
            await asyncio.sleep(0)
        bench.destinations.held.set()
        answers = await asyncio.gather(first, second)
        assert [answer[0] for answer in answers] == [200, 200]

    bench = Bench()
    asyncio.run(run(bench))
    assert bench.destinations.at(UNIFIED) == ["a"]
    assert len(rows(bench)) == 1


@pytest.mark.parametrize(
    ("answer", "handed_on_again"), [(FAILED, True), (HUNG, False), (UNREACHED, True)]
)
def test_only_what_surely_did_not_run_is_handed_on_again(answer, handed_on_again):
    """A function that said it failed, or was never reached, is asked again; one that may have run
    is not, and the platform hears the same answer.
    """

    async def run(bench: Bench) -> list[int]:
        bench.destinations.script = {
            UNIFIED: [answer],
            "wa-webhook-jobs": [answer] if answer is UNREACHED else [],
        }
        payload = post({"messages": [message("a", "a job")]})
        return [(await bench.send(payload))[0] for _ in range(2)]

    bench = Bench()
    first, second = asyncio.run(run(bench))
    assert first >= 500
    assert second == (200 if handed_on_again else first)
    assert len(bench.destinations.at(UNIFIED)) == (2 if answer is FAILED else 1)


def test_an_unreachable_unified_falls_back_to_each_messages_own_function():
    """A batch of two domains: two rows each, the failed one first."""
    bench = Bench()
    bench.destinations.script = {UNIFIED: [UNREACHED]}
    asyncio.run(bench.send(post({"messages": [message("a", "a job"), message("b", "a house")]})))
    assert bench.destinations.at("wa-webhook-jobs") == ["a"]
    assert bench.destinations.at("wa-webhook-property") == ["b"]
    assert Counter(rows(bench)) == Counter(
        [
            ("a", "jobs", "unified", "error"),
            ("b", "property", "unified", "error"),
            ("a", "jobs", "legacy", "success"),
            ("b", "property", "legacy", "success"),
        ]
    )


def test_statuses_follow_the_message_they_speak_of():
    """By its id; else by the customer, and then at legacy; else they are unknown. A protected
    customer's stay.
    """

    async def run(bench: Bench) -> None:
        await bench.send(post({"messages": [message("a", "a job", "1")]}))
        await bench.send(post({"messages": [message("b", "a taxi", "2")]}))
        await bench.send(post({"messages": [message("c", "a job", "2")]}))
        for one in (
            status("a"),
            status("b"),
            status("ours", sender="1"),
            status("of ours", sender="2"),
            status("nobody's"),
        ):
            await bench.send(post({"statuses": [one]}))

    bench = Bench()
    asyncio.run(run(bench))
    assert bench.destinations.at(UNIFIED) == ["a", "c", "a#delivered"]
    assert bench.destinations.at("wa-webhook-jobs") == ["ours#delivered"]
    assert bench.destinations.at("wa-webhook-mobility") == ["b", "b#delivered", "of ours#delivered"]
    assert bench.destinations.at("wa-webhook-unknown") == ["nobody's#delivered"]
    assert Counter(row[1] for row in rows(bench)) == {
        "jobs": 4,
        "mobility": 3,
        "unknown": 1,
    }


def test_a_status_that_comes_before_its_protected_message_never_reaches_unified():
    """The customer spoke of jobs before, and the status of a taxi is faster than the taxi."""

    async def run(bench: Bench) -> None:
        await bench.send(post({"messages": [message("a", "a job", "1")]}))
        await bench.send(post({"statuses": [status("b", sender="1")]}))
        await bench.send(post({"messages": [message("b", "a taxi", "1")]}))

    bench = Bench()
    asyncio.run(run(bench))
    assert bench.destinations.at(UNIFIED) == ["a"]


def test_a_status_of_what_legacy_answered_stays_on_legacy_after_a_rise():
    """The message ran on legacy at 0 %; at 100 % its statuses go where it went."""

    async def run(bench: Bench) -> None:
        bench.percentage = 0.0
        await bench.send(post({"messages": [message("a", "a job")]}))
        bench.percentage = 100.0
        await bench.send(post({"statuses": [status("a", "sent"), status("a", "read")]}))

    bench = Bench()
    asyncio.run(run(bench))
    assert bench.destinations.at("wa-webhook-jobs") == ["a", "a#sent", "a#read"]


def test_the_share_is_right_and_a_rise_only_adds():
    """Of 100,000 senders, each percentage takes its own within four standard errors, and a higher
    one takes all of a lower one's. Another rollout takes others.
    """
    places = [point(b"one", str(number).encode()) * 100 / _POINTS for number in range(100_000)]
    taken: set[int] = set()
    for percentage in (1, 5, 10, 25, 35, 50):
        now = {number for number, place in enumerate(places) if place < percentage}
        share = percentage / 100
        assert abs(len(now) / 100_000 - share) < 4 * (share * (1 - share) / 100_000) ** 0.5
        assert taken <= now
        taken = now
    others = sum(point(b"two", str(number).encode()) * 100 / _POINTS < 50 for number in taken)
    assert 0.45 < others / len(taken) < 0.55


def test_a_conversation_stays_on_one_side():
    """At 50 %, each of 200 senders has all messages on one side, and about half are on each."""

    async def run(bench: Bench) -> None:
        bench.percentage = 50.0
        for turn in range(3):
            for sender in range(200):
                one = message(f"{turn}-{sender}", "a job", str(sender))
                await bench.send(post({"messages": [one]}))

    bench = Bench()
    asyncio.run(run(bench))
    sides: dict[str, set[str]] = {}
    for row in bench.logbook.rows:
        sides.setdefault(row.from_number, set()).add(row.routed_to)
    assert all(len(found) == 1 for found in sides.values())
    assert 70 < sum(found == {"unified"} for found in sides.values()) < 130


WORDS = ("a job", "a house", "buy", "a taxi", "my account", "my policy", "hello")
KINDS = ("message", "message", "message", "status")
item = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 7), st.sampled_from([500, 200, 200, None, "unreached"])
)
batch = st.lists(item, min_size=1, max_size=4)
deliveries = st.lists(st.tuples(batch, st.sampled_from([0, 25, 50, 100])), min_size=1, max_size=8)


def _build(kind: str, number: int) -> tuple[str, dict]:
    """Message n is the same each time it comes: its words and its sender follow from n."""
    words, sender = WORDS[number % len(WORDS)], str(number % 3)
    if kind == "status":
        return "statuses", status(f"m{number}", sender=sender)
    return "messages", message(f"m{number}", words, sender)


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
@given(deliveries=deliveries, together=st.booleans())
def test_any_batch_any_order_any_redelivery(deliveries, together):
    """No protected item at unified, none run twice, each a row (two where it fell back), whatever
    comes in which order, one after the other or all at once, while functions fail and hang.
    """
    bench = Bench()

    async def run() -> None:
        async def one(items, percentage) -> None:
            bench.percentage = percentage
            answers = {500: FAILED, None: HUNG, "unreached": UNREACHED}
            bench.destinations.script = {UNIFIED: [answers[a] for *_, a in items if a in answers]}
            value: dict[str, list] = {}
            for kind, number, _ in items:
                part, built = _build(kind, number)
                value.setdefault(part, []).append(built)
            await bench.send(post(value))

        if together:
            await asyncio.gather(*(one(*delivery) for delivery in deliveries))
        else:
            for delivery in deliveries:
                await one(*delivery)

    asyncio.run(run())
    done = Counter()  # rows that say it ran, or may have: a failure that was said is none
    for row in bench.logbook.rows:
        assert row.routed_to != "unified" or row.domain not in {*PROTECTED, "unknown"}
        known = (row.error_message or "") not in ("failed", "no connection")
        done[row.message_id] += known
    assert max(done.values()) <= 1
    for name, body, _ in bench.destinations.handed:
        found = ids(body)
        assert len(found) == len(set(found))
        if name == UNIFIED:
            assert not {f for f in found if "#" not in f and int(f[1:]) % len(WORDS) > 2}
    came = {
        f"m{number}" + ("#delivered" if kind == "status" else "")
        for items, _ in deliveries
        for kind, number, _ in items
    }
    handed = Counter(found for _, body, _ in bench.destinations.handed for found in ids(body))
    assert set(done) == set(handed) == came
    assert sum(handed.values()) == sum(
        row.error_message != "no connection" for row in bench.logbook.rows
    )


def test_a_status_without_an_id_follows_no_message_without_an_id():
    """Beside a jobs message that has no id either, it is the customer's, or unknown: all stays on
    legacy.
    """
    bench = Bench()
    value = {"messages": [{"text": {"body": "a job"}}], "statuses": [{"status": "read"}]}
    asyncio.run(bench.send(post(value)))
    assert [name for name, _, _ in bench.destinations.handed] == [
        "wa-webhook-jobs",
        "wa-webhook-unknown",
    ]


def test_a_status_that_overtakes_the_answer_to_its_message_follows_it():
    """The customer spoke of jobs before; the status of a taxi that still runs is mobility's."""

    async def run(bench: Bench) -> None:
        await bench.send(post({"messages": [message("a", "a job", "1")]}))
        bench.destinations.held = asyncio.Event()
        bench.destinations.reached.clear()
        first = asyncio.create_task(bench.send(post({"messages": [message("b", "a taxi", "1")]})))
        await bench.destinations.reached.wait()
        second = asyncio.create_task(bench.send(post({"statuses": [status("b", sender="1")]})))
        while len(bench.destinations.handed) < 3:
            await asyncio.sleep(0)
        bench.destinations.held.set()
        await asyncio.gather(first, second)

    bench = Bench()
    asyncio.run(run(bench))
    assert bench.destinations.at("wa-webhook-mobility") == ["b", "b#delivered"]
    assert bench.destinations.at(UNIFIED) == ["a"]
