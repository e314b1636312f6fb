"""What the router remembers: which messages were answered, and what customers spoke about.

All of it is in this process, bounded in number and in time, and gone when it ends. Keys are
digests: no number and no message id is kept."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from rollout_lib.rehearsal.live.forward import Answer
from rollout_lib.rehearsal.live.recognise import UNKNOWN, Item, Kind

MOST = 50_000  # answers; as many messages and senders that a status may follow
ANSWERED_S = 3_600.0  # an answered message is answered again for an hour
UNSURE_S = 600.0  # one that may have run is not handed on again for ten minutes
LARGEST_ANSWER = 1_000  # bytes of an answer's body; a larger one is not repeated


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a message: the answer, and who gave it."""

    answer: Answer
    routed_to: str
    name: str
    correlation_id: str  # of the request that was handed on

    @property
    def may_have_run(self) -> bool:
        """Handed on, and never said to have failed: a second time could be a second run."""
        status = self.answer.status
        return self.answer.sent if status is None else status < 400


def _digest(*parts: str) -> bytes:
    said = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        said.update(len(raw).to_bytes(8) + raw)
    return said.digest()


def identity(item: Item) -> bytes:
    """Return what tells an item from every other, the same each time it is delivered.

    Where it has no id, all of its content tells it. The domain belongs to it, so that one id with
    two contents never keeps a protected message from being handed on."""
    named = ("id", item.message_id) if item.message_id is not None else ("content", item.content)
    sort = (item.kind.value, item.status, item.timestamp)
    domain = item.domain if item.kind is Kind.MESSAGE else ""
    return _digest(*named, *sort, item.sender or "", domain)


def draw_key(item: Item, body: bytes) -> bytes:
    """Return what the draw is a function of: the sender, else the message id, else the bytes."""
    known = item.sender or item.message_id
    return _digest(known) if known else hashlib.blake2b(body, digest_size=16).digest()


class Answered:
    """Messages that were handed on. Who brings one again waits for its answer, or gets it again."""

    def __init__(self, *, most: int = MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._running: dict[bytes, asyncio.Future[Outcome]] = {}
        self._known: OrderedDict[bytes, tuple[float, Outcome]] = OrderedDict()  # until when

    def __len__(self) -> int:
        return len(self._known)

    def look(self, key: bytes) -> Outcome | asyncio.Future[Outcome] | None:
        """The answer, or the one to wait for; None where the message is new (or forgotten)."""
        if key in self._running:
            return self._running[key]
        until, outcome = self._known.get(key, (0.0, None))
        return outcome if self._clock() < until else None

    def begin(self, keys: Collection[bytes]) -> None:
        """These are being handed on from now; `settle` must follow, whatever happens."""
        for key in keys:
            self._running[key] = asyncio.get_running_loop().create_future()

    def settle(self, keys: Collection[bytes], outcome: Outcome) -> None:
        """Give the answer to all who wait. One that said it failed, or never left, may be tried
        again; every other one is kept.
        """
        for key in keys:
            self._running.pop(key).set_result(outcome)
            if outcome.may_have_run:
                kept_s = UNSURE_S if outcome.answer.status is None else ANSWERED_S
                self._known.pop(key, None)
                self._known[key] = (self._clock() + kept_s, _small(outcome))
        while len(self._known) > self._most:
            self._known.popitem(last=False)


def _small(outcome: Outcome) -> Outcome:
    if len(outcome.answer.body) <= LARGEST_ANSWER:
        return outcome
    plain = replace(outcome.answer, body=b"", content_type="text/plain")
    return replace(outcome, answer=plain)


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What a status follows: the domain, the key of the draw, and whether unified may have it."""

    domain: str
    key: bytes | None  # None: the status' own
    unified: bool


class Conversations:
    """Which message an id names, and what a sender last spoke about: where a status belongs."""

    def __init__(self, protected: Collection[str], *, most: int = MOST) -> None:
        self._protected, self._most = frozenset(protected), most
        self._messages: OrderedDict[bytes, Spoken] = OrderedDict()
        self._senders: OrderedDict[bytes, str] = OrderedDict()

    def note(self, item: Item, key: bytes, unified: bool) -> None:
        """Remember a message that was routed. A sender who named a protected domain keeps it."""
        if item.kind is not Kind.MESSAGE:
            return
        if item.message_id is not None:
            spoken = Spoken(domain=item.domain, key=key, unified=unified)
            self._keep(self._messages, _digest(item.message_id), spoken)
        if item.sender is not None:
            sender = _digest(item.sender)
            before = self._senders.get(sender, UNKNOWN)
            # The last domain that was recognised; a protected one stays.
            keeps = before in self._protected or item.domain == UNKNOWN
            self._keep(self._senders, sender, before if keeps else item.domain)

    def followed(self, item: Item) -> Spoken:
        """What a status belongs to: its message, else its customer, else nothing known. Only one
        whose message is known may go to unified: any other may be of a protected one.
        """
        if item.message_id is not None:
            spoken = self._messages.get(_digest(item.message_id))
            if spoken is not None:
                return spoken
        domain = self._senders.get(_digest(item.sender), UNKNOWN) if item.sender else UNKNOWN
        return Spoken(domain=domain, key=None, unified=False)

    def _keep(self, where: OrderedDict[bytes, Any], key: bytes, value: object) -> None:
        where[key] = value
        where.move_to_end(key)
        while len(where) > self._most:
            where.popitem(last=False)
