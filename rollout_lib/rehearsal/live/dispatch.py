"""What is done with one POST: each item's side, the parts, what was answered before, and the rows.

Everything it needs is handed in; only the logbook and the forwarder hold I/O."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from rollout_lib.model import LEGACY, ROUTER_ERROR, UNIFIED
from rollout_lib.rehearsal.live.batch import Part, part_of
from rollout_lib.rehearsal.live.configuration import Configuration, Configured
from rollout_lib.rehearsal.live.forward import Answer
from rollout_lib.rehearsal.live.logbook import Decision, Logbook
from rollout_lib.rehearsal.live.memory import (
    Answered,
    Conversations,
    Outcome,
    draw_key,
    identity,
)
from rollout_lib.rehearsal.live.recognise import UNKNOWN, Item, Kind, clean
from rollout_lib.rehearsal.live.webhook import signature

UNIFIED_NAME = "wa-webhook-unified"
_STOPPED = Answer(status=None, problem="the router was stopped before the answer")
SIGNATURE = "x-hub-signature-256"


def legacy_name(domain: str) -> str:
    """The function that has served a domain until now."""
    return f"wa-webhook-{domain}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is fixed for a router's life. app_secret None takes unsigned webhooks, and health says
    so.
    """

    protected: frozenset[str]
    app_secret: bytes | None


class Hands(Protocol):
    """What hands bytes to a function by its name; the Forwarder, in production of the rehearsal."""

    async def post(self, name: str, body: bytes, headers: Mapping[str, str]) -> Answer: ...


@dataclass(frozen=True, kw_only=True)
class Post:
    """One accepted POST: its bytes, its JSON, the headers that are passed on, when it began."""

    body: bytes
    payload: Mapping[str, Any]
    headers: Mapping[str, str]  # x-correlation-id always; the signature where one was given
    began: float  # time.monotonic()

    @property
    def correlation_id(self) -> str:
        return self.headers["x-correlation-id"]


class Dispatch:
    """Decides, hands on, remembers and notes; `take` is all of it for one POST."""

    def __init__(
        self,
        settings: Settings,
        configuration: Configuration,
        logbook: Logbook,
        hands: Hands,
        counts: Counter[str],
    ) -> None:
        self._settings, self._configuration = settings, configuration
        self._logbook, self._hands, self._counts = logbook, hands, counts
        self._answered = Answered()
        self._conversations = Conversations(settings.protected)
        self._last = datetime.now(UTC)

    async def take(self, post: Post, items: Sequence[Item]) -> tuple[list[Outcome], bool]:
        """Return what became of the POST's items, and whether any was handed on now."""
        items = self._followed(items)
        fresh, running, outcomes = self._told_apart(items)
        parts = self._parts(post, items, fresh)
        outcomes += await self._hand_on(post, parts, len(items)) if parts else []
        for future in running:
            outcomes.append(await future)
        return outcomes, bool(parts)

    def may_go_to_unified(self, domain: str, config: Configured | None) -> bool:
        """Protected, unknown, not listed, switched off, unreadable: legacy."""
        return (
            config is not None
            and config.enabled
            and domain != UNKNOWN
            and domain not in self._settings.protected
            and domain in config.domains
        )

    def _followed(self, items: Sequence[Item]) -> list[Item]:
        """Statuses with the domain of what they speak of; a message of the same POST counts."""
        here = {
            item.message_id: item.domain
            for item in items
            if item.kind is Kind.MESSAGE and item.message_id is not None
        }
        return [
            item
            if item.kind is not Kind.STATUS
            else replace(
                item,
                domain=here.get(item.message_id or "") or self._conversations.followed(item).domain,
            )
            for item in items
        ]

    def _told_apart(
        self, items: Sequence[Item]
    ) -> tuple[list[Item], list[asyncio.Future[Outcome]], list[Outcome]]:
        """The new items, the running ones to wait for, and the answers of the answered ones."""
        fresh: list[Item] = []
        running: list[asyncio.Future[Outcome]] = []
        known: list[Outcome] = []
        seen: set[bytes] = set()
        for item in items:
            key = identity(item)
            before = self._answered.look(key) if key else None
            if isinstance(before, Outcome):
                known.append(before)
                self._counts["answered again"] += 1
            elif before is not None:
                running.append(before)
                self._counts["waited for the first delivery"] += 1
            elif key is None or key not in seen:
                fresh.append(item)
                seen |= {key} if key else set()
        return fresh, running, known

    def _parts(self, post: Post, items: Sequence[Item], fresh: Sequence[Item]) -> list[Part]:
        """Who is handed what. One item that may not go to unified keeps the whole POST on legacy,
        also where it was answered before.
        """
        config = self._configuration.current()
        may = all(self.may_go_to_unified(item.domain, config) for item in items)
        sides = [(item, may and self._drawn(item, post, config)) for item in fresh]
        return self._grouped(sides) if self._can_be_split(post) else self._whole(sides, items)

    @staticmethod
    def _grouped(sides: Sequence[tuple[Item, bool]]) -> list[Part]:
        """A part for unified, and one for each function of legacy."""
        grouped: dict[tuple[str, str], list[Item]] = {}
        for item, unified in sides:
            name = UNIFIED_NAME if unified else legacy_name(item.domain)
            grouped.setdefault((name, UNIFIED if unified else LEGACY), []).append(item)
        return [
            Part(items=tuple(group), name=name, routed_to=routed_to)
            for (name, routed_to), group in grouped.items()
        ]

    def _drawn(self, item: Item, post: Post, config: Configured | None) -> bool:
        """The side of an item: its sender's draw; a status goes to unified only with its message."""
        if config is None:
            return False
        key = draw_key(item, post.body)
        if item.kind is Kind.STATUS:
            spoken = self._conversations.followed(item)
            return spoken.unified and config.draws(spoken.key or key)
        return config.draws(key)

    def _can_be_split(self, post: Post) -> bool:
        """A part's signature can be made anew, or nobody asked for one."""
        return self._settings.app_secret is not None or SIGNATURE not in post.headers

    def _whole(self, sides: Sequence[tuple[Item, bool]], everything: Sequence[Item]) -> list[Part]:
        """One part: to unified only where each item goes there, else to the protected one's
        function, else to the first one's.
        """
        if not sides:
            return []
        items = tuple(item for item, _ in sides)
        if all(unified for _, unified in sides):
            return [Part(items=items, name=UNIFIED_NAME, routed_to=UNIFIED)]
        domains = [item.domain for item in everything]
        first = next((name for name in domains if name in self._settings.protected), domains[0])
        return [Part(items=items, name=legacy_name(first), routed_to=LEGACY)]

    async def _hand_on(self, post: Post, parts: Sequence[Part], every: int) -> list[Outcome]:
        """Hand on all parts at once; what became of each. every: how many items the POST has."""
        for part in parts:  # before anything is awaited: nobody else may begin the same message
            self._answered.begin(_keys(part))
            for item in part.items:  # a status may overtake the answer to its message
                self._conversations.note(item, draw_key(item, post.body), part.routed_to == UNIFIED)
        return await self._each(post, parts, every)

    async def _each(self, post: Post, parts: Sequence[Part], every: int) -> list[Outcome]:
        if len(parts) == 1:
            return await self._one(post, parts[0], every)
        found = await asyncio.gather(*(self._one(post, part, every) for part in parts))
        return [outcome for outcomes in found for outcome in outcomes]

    async def _one(self, post: Post, part: Part, every: int) -> list[Outcome]:
        """One part at its function; its rows and its answer, whatever happens."""
        outcome = Outcome(
            answer=_STOPPED,
            routed_to=part.routed_to,
            name=part.name,
            correlation_id=post.correlation_id,
        )
        falls_back = False
        try:
            answer = await self._asked(post, part, every)
            falls_back = part.routed_to == UNIFIED and not answer.sent
            reached = answer.sent or falls_back
            outcome = replace(
                outcome, answer=answer, routed_to=part.routed_to if reached else ROUTER_ERROR
            )
        finally:  # also where the process is ending, and may not wait: it was sent, so it is a row
            self._note(post, part.items, outcome)
            if not falls_back:
                self._remember(post, part, outcome)
        if not falls_back:
            return [outcome]
        # Nothing left for unified, so nothing ran: legacy, once. The failure is a row of its own.
        self._counts["fell back"] += 1
        return await self._each(post, self._at_legacy(post, part.items), every)

    def _at_legacy(self, post: Post, items: Sequence[Item]) -> list[Part]:
        sides = [(item, False) for item in items]
        return self._grouped(sides) if self._can_be_split(post) else self._whole(sides, items)

    async def _asked(self, post: Post, part: Part, every: int) -> Answer:
        """The answer to a part. The bytes are those that came where the part is all of the POST."""
        body, headers = post.body, {**post.headers, "x-routed-domain": part.domains}
        if len(part.items) != every and self._can_be_split(post):
            smaller = part_of(post.payload, part.items)
            if smaller is None:
                return Answer(status=None, sent=False, problem="a part is no JSON of its own")
            body = smaller
            if self._settings.app_secret is not None:
                headers[SIGNATURE] = signature(self._settings.app_secret, body)
        return await self._hands.post(part.name, body, headers)

    def _remember(self, post: Post, part: Part, outcome: Outcome) -> None:
        for item in part.items:
            unified = outcome.routed_to == UNIFIED
            self._conversations.note(item, draw_key(item, post.body), unified)
        self._answered.settle(_keys(part), outcome)

    def _note(self, post: Post, items: Iterable[Item], outcome: Outcome) -> None:
        """One row for each item. No two rows of this router are of one instant: a row is told by
        its instant, its destination and its correlation id.
        """
        answered = outcome.answer.status
        status = "success" if answered is not None and answered < 400 else "error"
        for item in items:
            self._counts[f"{outcome.routed_to} {status}"] += 1
            self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
            self._logbook.note(
                Decision(
                    created_at=self._last,
                    domain=item.domain,
                    routed_to=outcome.routed_to,
                    webhook_name=outcome.name,
                    status=status,
                    response_time_ms=round((time.monotonic() - post.began) * 1000),
                    error_message=outcome.answer.problem,
                    message_id=_logged_id(item),
                    from_number=clean(item.sender, 40),
                    correlation_id=post.correlation_id,
                )
            )


def _keys(part: Part) -> list[bytes]:
    return [key for item in part.items if (key := identity(item)) is not None]


def _logged_id(item: Item) -> str | None:
    """The message's own id; of a status the id it speaks of with what it says, so that no status
    is counted as its message.
    """
    if item.kind is Kind.STATUS and item.message_id is not None:
        return clean(f"{item.message_id[:150]}#{item.status[:40]}", 200)
    return clean(item.message_id, 200)
