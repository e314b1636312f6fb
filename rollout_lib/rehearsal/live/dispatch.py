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
from rollout_lib.rehearsal.live.spelling import spelled
from rollout_lib.rehearsal.live.webhook import signature

UNIFIED_NAME = "wa-webhook-unified"
_CANNOT_BE_SPLIT = "the rest of it was answered before, and it cannot be split"
_STOPPED = Answer(status=None, problem="the router was stopped before the answer")
SIGNATURE = "x-hub-signature-256"


def legacy_name(domain: str) -> str:
    """The function that has served a domain until now."""
    return f"wa-webhook-{domain}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is fixed for a router's life. app_secret None takes unsigned webhooks, and health says
    so. Raise ValueError for a protected domain without a name.
    """

    protected: frozenset[str]
    app_secret: bytes | None

    def __post_init__(self) -> None:
        names = frozenset(map(spelled, self.protected))
        if "" in names:
            raise ValueError("the name of a protected domain is empty")
        object.__setattr__(self, "protected", names)


class Hands(Protocol):
    """What hands bytes to a function by its name; the Forwarder, in production of the rehearsal."""

    async def post(self, name: str, body: bytes, headers: Mapping[str, str]) -> Answer: ...


@dataclass(frozen=True, kw_only=True)
class Post:
    """One accepted POST: its bytes, its JSON, the headers that are passed on, when it began.

    faithful: the JSON says all that the bytes say. What does not is whole, and on legacy."""

    body: bytes
    payload: Mapping[str, Any]
    faithful: bool
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
        parts = self._parts(post, items, fresh, again=bool(running or outcomes))
        outcomes += await self._hand_on(post, parts) if parts else []
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
            before = self._answered.look(key)
            if isinstance(before, Outcome):
                known.append(before)
                self._counts["answered again"] += 1
            elif before is not None:
                running.append(before)
                self._counts["waited for the first delivery"] += 1
            elif key not in seen:
                fresh.append(item)
                seen.add(key)
        return fresh, running, known

    def _parts(
        self, post: Post, items: Sequence[Item], fresh: Sequence[Item], *, again: bool
    ) -> list[Part]:
        """Who is handed what. One item that may not go to unified keeps the whole POST on legacy,
        also where it was answered before. again: something of the POST was.
        """
        if not fresh:
            return []
        config = self._configuration.current()
        may = post.faithful and all(
            item.legible and self.may_go_to_unified(item.domain, config) for item in items
        )
        sides = self._sides(post, fresh, config if may else None)
        return self._fitted(post, sides, items, again=again)

    def _sides(
        self, post: Post, items: Sequence[Item], config: Configured | None
    ) -> list[tuple[Item, bool]]:
        """Each item, and whether it goes to unified; config None: it does not.

        A message goes by its sender's draw, a status only with its message: the one beside it, else
        the one that is remembered."""
        if config is None:
            return [(item, False) for item in items]
        beside: dict[str, bool] = {}
        for item in items:
            if item.kind is Kind.MESSAGE and item.message_id is not None:
                drawn = config.draws(draw_key(item, post.body))
                beside[item.message_id] = drawn and beside.get(item.message_id, True)

        def unified(item: Item) -> bool:
            key = draw_key(item, post.body)
            if item.kind is not Kind.STATUS:
                return config.draws(key)
            if item.message_id is not None and item.message_id in beside:
                return beside[item.message_id]
            spoken = self._conversations.followed(item)
            return spoken.unified and config.draws(spoken.key or key)

        return [(item, unified(item)) for item in items]

    def _fitted(
        self,
        post: Post,
        sides: Sequence[tuple[Item, bool]],
        items: Sequence[Item],
        *,
        again: bool,
    ) -> list[Part]:
        """The parts with their bytes. items: all that those of the POST, or of the part, are.

        A POST stays as it came where its signature cannot be made anew. What was answered of it is
        not handed on again for that: the rest goes without a signature, or not at all."""
        if post.faithful and (self._can_be_signed(post) or again):
            all_of_it = not again and len(sides) == len(items)
            parts = self._grouped(post, sides, all_of_it=all_of_it)
            if all(part.body is not None for part in parts):
                return parts
            sides = [(item, False) for item, _ in sides]
        return [self._whole(sides, items, None if again else post.body)]

    @staticmethod
    def _grouped(post: Post, sides: Sequence[tuple[Item, bool]], *, all_of_it: bool) -> list[Part]:
        """A part for unified, and one for each function of legacy. The bytes are those that came
        where one part is all of the POST.
        """
        grouped: dict[tuple[str, str], list[Item]] = {}
        for item, unified in sides:
            name = UNIFIED_NAME if unified else legacy_name(item.domain)
            grouped.setdefault((name, UNIFIED if unified else LEGACY), []).append(item)
        whole = all_of_it and len(grouped) == 1
        return [
            Part(
                items=tuple(group),
                name=name,
                routed_to=routed_to,
                body=post.body if whole else part_of(post.payload, group),
            )
            for (name, routed_to), group in grouped.items()
        ]

    def _can_be_signed(self, post: Post) -> bool:
        """A part's signature can be made anew, or nobody asked for one."""
        return self._settings.app_secret is not None or SIGNATURE not in post.headers

    def _whole(
        self, sides: Sequence[tuple[Item, bool]], everything: Sequence[Item], body: bytes | None
    ) -> Part:
        """One part: to unified only where each item goes there, else to the protected one's
        function, else to the first one's.
        """
        items = tuple(item for item, _ in sides)
        if all(unified for _, unified in sides):
            return Part(items=items, name=UNIFIED_NAME, routed_to=UNIFIED, body=body)
        domains = [item.domain for item in everything]
        first = next((name for name in domains if name in self._settings.protected), domains[0])
        return Part(items=items, name=legacy_name(first), routed_to=LEGACY, body=body)

    async def _hand_on(self, post: Post, parts: Sequence[Part]) -> list[Outcome]:
        """Hand on all parts at once; what became of each."""
        for part in parts:  # before anything is awaited: nobody else may begin the same message
            self._answered.begin(_keys(part))
            for item in part.items:  # a status may overtake the answer to its message
                self._conversations.note(item, draw_key(item, post.body), part.routed_to == UNIFIED)
        return await self._each(post, parts)

    async def _each(self, post: Post, parts: Sequence[Part]) -> list[Outcome]:
        if len(parts) == 1:
            return await self._one(post, parts[0])
        found = await asyncio.gather(*(self._one(post, part) for part in parts))
        return [outcome for outcomes in found for outcome in outcomes]

    async def _one(self, post: Post, part: Part) -> list[Outcome]:
        """One part at its function; its rows and its answer, whatever happens."""
        outcome = Outcome(
            answer=_STOPPED,
            routed_to=part.routed_to,
            name=part.name,
            correlation_id=post.correlation_id,
        )
        falls_back = False
        try:
            answer = await self._asked(post, part)
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
        return await self._each(post, self._at_legacy(post, part))

    def _at_legacy(self, post: Post, part: Part) -> list[Part]:
        sides = [(item, False) for item in part.items]
        return self._fitted(post, sides, part.items, again=part.body is not post.body)

    async def _asked(self, post: Post, part: Part) -> Answer:
        """The answer to a part. A signature that is not of its bytes is not handed on."""
        if part.body is None:
            return Answer(status=None, sent=False, problem=_CANNOT_BE_SPLIT)
        headers = {**post.headers, "x-routed-domain": part.domains}
        if part.body is not post.body:
            headers.pop(SIGNATURE, None)
            if self._settings.app_secret is not None:
                headers[SIGNATURE] = signature(self._settings.app_secret, part.body)
        return await self._hands.post(part.name, part.body, headers)

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
    return [identity(item) for item in part.items]


def _logged_id(item: Item) -> str | None:
    """The message's own id; of a status the id it speaks of with what it says, so that no status
    is counted as its message.
    """
    if item.kind is Kind.STATUS and item.message_id is not None:
        return clean(f"{item.message_id[:150]}#{item.status[:40]}", 200)
    return clean(item.message_id, 200)
