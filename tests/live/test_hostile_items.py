"""What is not as the platform writes it: ids, numbers and shapes, in batches and redeliveries."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from rollout_lib.rehearsal.live.webhook import signature
from tests.live.in_process import SECRET, Bench, ids, message, post, status

UNIFIED = "wa-webhook-unified"
JOBS, MOBILITY = "wa-webhook-jobs", "wa-webhook-mobility"


def raw(*items: str) -> bytes:
    """A POST of these messages as they are spelled here, byte for byte."""
    change = '{"value": {"messages": [' + ", ".join(items) + "]}}"
    whole = '{"entry": [{"id": "0", "changes": [' + change + "]}]}"
    return whole.encode("utf-8", "surrogatepass")


def spelled(identity: str, words: str, more: str = "", sender: str = "25078") -> str:
    shown = f'"id": "{identity}", "from": "{sender}", "text": {{"body": "{words}"}}'
    return "{" + shown + (f", {more}" if more else "") + "}"


async def sign_and_send(bench: Bench, body: bytes, secret: bytes = SECRET) -> int:
    return (await bench.ask(body, {"x-hub-signature-256": signature(secret, body)}))[0]


@pytest.mark.parametrize("percentage", [0.0, 100.0])
@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_without_the_secret_what_was_answered_is_not_handed_on_in_another_batch(order, percentage):
    """The rest goes without a signature, since the one that came is not of its bytes."""

    async def run(bench: Bench) -> None:
        bench.percentage = percentage
        for group in (["a"], order, ["b"], order):
            body = json.dumps(post({"messages": [message(one, "a job") for one in group]})).encode()
            assert await sign_and_send(bench, body, b"unknown here") == 200

    bench = Bench(secret=None)
    asyncio.run(run(bench))
    assert [ids(body) for _, body, _ in bench.destinations.handed] == [["a"], ["b"]]
    assert ["x-hub-signature-256" in found for _, _, found in bench.destinations.handed] == [
        True,
        False,
    ]
    assert [row.message_id for row in bench.logbook.rows] == ["a", "b"]


def without_id(**more) -> dict:
    return {"from": "1", "timestamp": "5", "text": {"body": "a job"}, **more}


STRANGE = {
    "a number": ("messages", without_id(id=17)),
    "none": ("messages", without_id()),
    "null": ("messages", without_id(id=None)),
    "a list": ("messages", without_id(id=["x"])),
    "an empty text": ("messages", without_id(id="")),
    "a status of a number": ("statuses", {"id": 17, "status": "read", "timestamp": 5}),
    "a status of none": ("statuses", {"status": "read", "recipient_id": "1"}),
    "no message": ("messages", "a job"),
    "an account's update": ("other", {"event": "VERIFIED_ACCOUNT"}),
}


@pytest.mark.parametrize("what", STRANGE)
def test_an_item_without_an_id_of_text_is_not_run_twice(what):
    """Delivered again, alone and in another batch, with its keys in another order: handed on once."""
    part, item = STRANGE[what]
    turned = dict(reversed(list(item.items()))) if isinstance(item, dict) else item

    async def run(bench: Bench) -> None:
        alone = {part: [item]} if part != "other" else item
        again = {part: [turned]} if part != "other" else turned
        beside = (
            {part: [*again[part], message("b", "a house", "2")]} if part == "messages" else again
        )
        for value in (alone, again, beside):
            assert (await bench.send(post(value)))[0] == 200

    bench = Bench()
    asyncio.run(run(bench))
    handed = Counter(
        json.dumps(found, sort_keys=True)
        for _, body, _ in bench.destinations.handed
        for entry in json.loads(body)["entry"]
        for change in entry["changes"]
        for found in (change["value"].get(part, []) if part != "other" else [change["value"]])
        if not (isinstance(found, dict) and found.get("id") == "b")
    )
    assert handed == {json.dumps(item, sort_keys=True): 1}


def test_two_messages_without_an_id_are_two():
    """Other words, another sender or another time: each is handed on."""

    async def run(bench: Bench) -> None:
        for one in (
            without_id(),
            without_id(text={"body": "another job"}),
            without_id(timestamp="6"),
            {**without_id(), "from": "2"},
            without_id(id=1),
            without_id(id=2),
        ):
            await bench.send(post({"messages": [one]}))

    bench = Bench()
    asyncio.run(run(bench))
    assert len(bench.destinations.handed) == len(bench.logbook.rows) == 6


NESTED = "[" * 5_000 + "]" * 5_000
UNFAITHFUL = {
    "a number that is too large": '"n": 1e999',
    "no number": '"n": NaN',
    "infinity": '"n": -Infinity',
    "more digits than a float has": '"n": 0.12345678901234567890123',
    "more digits than can be read": '"n": ' + "9" * 5_000,
    "a key that stands twice": '"n": 1, "n": 2',
    "deep nesting": f'"n": {NESTED}',
    "bytes that are no UTF-8": '"n": "\ud800"',
}


@pytest.mark.parametrize("secret", [SECRET, None])
@pytest.mark.parametrize("what", UNFAITHFUL)
@pytest.mark.parametrize("words", ["a taxi", "a house"])
def test_what_cannot_be_split_faithfully_is_whole_on_legacy_byte_for_byte(what, secret, words):
    """Whatever is in it, with a protected message or without one: one function of legacy, once."""
    body = raw(spelled("a", "a job", UNFAITHFUL[what]), spelled("b", words))

    async def run(bench: Bench) -> None:
        for _ in range(2):
            signed = {"x-hub-signature-256": signature(SECRET, body)} if secret else {}
            assert (await bench.ask(body, signed))[0] == 200

    bench = Bench(secret=secret)
    asyncio.run(run(bench))
    assert [found for _, found, _ in bench.destinations.handed] == [body]
    name = bench.destinations.handed[0][0]
    expected = MOBILITY if words == "a taxi" else JOBS
    assert name == ("wa-webhook-unknown" if what == "deep nesting" else expected)
    assert {row.routed_to for row in bench.logbook.rows} == {"legacy"}


@pytest.mark.parametrize(
    "more", ['"n": "\\ud800"', '"n": ' + "9" * 400, '"n": 1.50', '"n": -1.94e0']
)
def test_what_can_be_split_faithfully_is_split(more):
    """Half of a surrogate pair as it is escaped, an integer of any size, numbers with an end."""
    body = raw(spelled("a", "a job", more), spelled("b", "a taxi"))
    bench = Bench()
    assert asyncio.run(sign_and_send(bench, body)) == 200
    found = {name: json.loads(part)["entry"] for name, part, _ in bench.destinations.handed}
    assert set(found) == {JOBS, MOBILITY}
    shown = found[JOBS][0]["changes"][0]["value"]["messages"]
    assert shown == json.loads(body)["entry"][0]["changes"][0]["value"]["messages"][:1]


def test_what_was_answered_is_not_handed_on_with_what_cannot_be_split():
    """The new message cannot be taken out of it: 502 and an error's row, and nothing runs twice."""

    async def run(bench: Bench) -> None:
        first, second = spelled("a", "a job"), spelled("b", "a job", '"n": NaN')
        assert await sign_and_send(bench, raw(first)) == 200
        assert await sign_and_send(bench, raw(first, second)) == 502
        assert await sign_and_send(bench, raw(second)) == 200

    bench = Bench()
    asyncio.run(run(bench))
    assert [name for name, _, _ in bench.destinations.handed] == [UNIFIED, JOBS]
    assert [(row.message_id, row.routed_to) for row in bench.logbook.rows] == [
        ("a", "unified"),
        ("b", "error"),
        ("b", "legacy"),
    ]


@pytest.mark.parametrize("percentage", [0.0, 100.0])
def test_a_status_beside_its_message_goes_where_the_message_goes(percentage):
    """In one POST, whichever is named first: never apart."""
    bench = Bench()
    bench.percentage = percentage
    asyncio.run(bench.send(post({"messages": [message("a", "a job")], "statuses": [status("a")]})))
    assert len(bench.destinations.handed) == 1
    assert bench.destinations.at(UNIFIED if percentage else JOBS) == ["a", "a#delivered"]


def test_a_status_beside_two_messages_of_its_id_goes_to_unified_with_both_alone():
    """At 50 %, one message's sender drew legacy: the status stays there."""

    async def run(bench: Bench) -> None:
        bench.percentage = 50.0
        for number in range(40):
            twins = [message(f"m{number}", "a job", f"{number}{side}") for side in "ab"]
            await bench.send(post({"messages": twins, "statuses": [status(f"m{number}")]}))

    bench = Bench()
    asyncio.run(run(bench))
    sides: dict[str, list[str]] = {}
    for row in bench.logbook.rows:
        sides.setdefault(row.message_id, []).append(row.routed_to)
    for number in range(40):
        if "legacy" in sides[f"m{number}"]:
            assert sides[f"m{number}#delivered"] == ["legacy"]


def test_two_readers_can_not_read_two_webhooks():
    """A key that stands twice: a function could read the other one, so it is legacy's, as it came."""
    body = b'{"entry": [], "entry": [{"changes": [{"value": {"messages": [%b]}}]}]}'
    body %= spelled("a", "a job").encode()
    bench = Bench()
    assert asyncio.run(sign_and_send(bench, body)) == 200
    assert [one[:2] for one in bench.destinations.handed] == [(JOBS, body)]


@pytest.mark.parametrize("body", [b"{", b"[" * 5_000, b'{"a": 1} x', b'{"a": \xff}', b"[]", b""])
def test_what_is_no_json_object_is_refused(body):
    """400, and no function hears of it."""
    bench = Bench()
    assert asyncio.run(sign_and_send(bench, body)) == 400
    assert bench.destinations.handed == bench.logbook.rows == []
