"""Hostile bodies and headers, through the router's own application."""

from __future__ import annotations

import asyncio
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg_pool import AsyncConnectionPool

from rollout_lib.rehearsal.live.beside import running
from rollout_lib.rehearsal.live.configuration import Configuration
from rollout_lib.rehearsal.live.logbook import Logbook
from rollout_lib.rehearsal.live.recognise import WORDS
from rollout_lib.rehearsal.live.webhook import signature
from tests.live.in_process import PROTECTED, ROUTED, SECRET, Bench

FUZZ = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)

# With halves of surrogate pairs, which JSON can spell and PostgreSQL cannot store.
texts = st.text(st.characters(exclude_categories=()))
words = st.one_of(texts, st.sampled_from([word for found in WORDS.values() for word in found]))
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4)
)
loose = st.one_of(words, anything)
reply = st.fixed_dictionaries({}, optional={"id": loose, "title": loose})
choice = st.fixed_dictionaries({}, optional={"button_reply": reply, "list_reply": reply})
message = st.fixed_dictionaries(
    {},
    optional={
        "id": loose,
        "from": loose,
        "type": loose,
        "text": st.one_of(anything, st.fixed_dictionaries({"body": loose})),
        "button": st.one_of(anything, st.fixed_dictionaries({"payload": loose})),
        "interactive": st.one_of(anything, choice),
    },
)
value = st.one_of(
    anything,
    st.fixed_dictionaries({"messages": st.one_of(anything, st.lists(message, max_size=3))}),
)
change = st.one_of(anything, st.fixed_dictionaries({"value": value}))
entry = st.one_of(anything, st.fixed_dictionaries({"changes": st.lists(change, max_size=2)}))
webhooks = st.fixed_dictionaries({"entry": st.one_of(anything, st.lists(entry, max_size=2))})
names = st.sampled_from(
    [
        b"x-correlation-id",
        b"content-length",
        b"content-type",
        b"x-hub-signature-256",
        b"transfer-encoding",
        b"x-forwarded-for",
        b"cookie",
    ]
)
headers = st.lists(
    st.tuples(st.one_of(names, st.binary(min_size=1, max_size=20)), st.binary(max_size=80)),
    max_size=6,
)


def _ask(body: bytes, given: list[tuple[bytes, bytes]]) -> tuple[int, Bench]:
    """One request straight into the application, headers byte for byte."""
    bench = Bench()
    return asyncio.run(bench.ask(body, given))[0], bench


@FUZZ
@given(
    body=st.one_of(st.binary(max_size=300), anything.map(lambda value: json.dumps(value).encode())),
    given=headers,
    signed=st.booleans(),
)
def test_no_bytes_and_no_headers_make_the_router_fail(body, given, signed):
    """Whatever comes: a 4xx, or handed on exactly once with the bytes unchanged; never a 5xx of its
    own.
    """
    if signed:
        given = [(b"x-hub-signature-256", signature(SECRET, body).encode()), *given]
    status, bench = _ask(body, given)
    assert status == 200 or 400 <= status < 500
    assert [part[1] for part in bench.destinations.handed] == ([body] if status == 200 else [])
    assert signed or status != 200


def test_no_shape_of_a_webhook_makes_the_router_fail(database):
    """Any signed JSON object is handed on, each function once; every row that comes of it is one
    that the table takes.
    """
    pool = AsyncConnectionPool(
        database.address, min_size=1, max_size=1, kwargs={"autocommit": True}, open=False
    )
    logbook = Logbook(pool)

    @FUZZ
    @given(payload=webhooks, correlation_id=st.binary(max_size=80))
    def check(payload, correlation_id):
        body = json.dumps(payload).encode()
        given = [
            (b"x-hub-signature-256", signature(SECRET, body).encode()),
            (b"x-correlation-id", correlation_id),
        ]
        status, bench = _ask(body, given)
        names = [name for name, _, _ in bench.destinations.handed]
        assert status == 200
        assert names
        assert len(names) == len(set(names))
        for name, _, passed in bench.destinations.handed:
            assert name == "wa-webhook-unified" or name.removeprefix("wa-webhook-") in (
                *PROTECTED,
                *ROUTED,
                "unknown",
            )
            assert all(
                sign.isascii() and sign.isprintable() for text in passed.values() for sign in text
            )
        for row in bench.logbook.rows:
            logbook.note(row)

    async def store() -> None:
        async with pool, running(Configuration(nothing), logbook, drain_s=60):
            pass

    check()
    asyncio.run(store())
    assert (logbook.refused, logbook.dropped, logbook.buffered) == (0, 0, 0)
    with database.transaction(readonly=True) as connection:
        assert (
            connection.exec_driver_sql("SELECT count(*) FROM webhook_routing_logs").scalar_one()
            == logbook.written
        )


async def nothing() -> list:
    """A configuration without a row."""
    return []


@FUZZ
@given(payload=webhooks, shielded=st.sampled_from(sorted(PROTECTED)), first=st.booleans())
def test_a_protected_word_anywhere_keeps_a_webhook_on_legacy(payload, shielded, first):
    """However a webhook is built, a message of a protected domain in it keeps all of it on legacy,
    and its own function has it once.
    """
    spoken = {"changes": [{"value": {"messages": [{"text": {"body": f"hello {shielded}"}}]}}]}
    entries = payload["entry"] if isinstance(payload["entry"], list) else []
    body = json.dumps({"entry": [spoken, *entries] if first else [*entries, spoken]}).encode()
    _, bench = _ask(body, [(b"x-hub-signature-256", signature(SECRET, body).encode())])
    names = [name for name, _, _ in bench.destinations.handed]
    assert "wa-webhook-unified" not in names
    assert names.count(f"wa-webhook-{shielded}") == 1 or "NaN" in body.decode()
