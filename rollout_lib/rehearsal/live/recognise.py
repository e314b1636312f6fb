"""What a WhatsApp POST holds, and which domain each message of it belongs to. Pure; hostile input.

A POST may carry many messages, statuses of messages, and what is neither. Buttons and list choices
come first (their ids begin with the domain: `jobs_apply_17`), then whole words of texts and
captions, singular or plural. What nothing recognises is `unknown`. A protected domain wins that is
named in any text of a message, however it is spelled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from rollout_lib.rehearsal.live.spelling import bones, folded, readable

UNKNOWN = "unknown"
WORDS: Mapping[str, tuple[str, ...]] = {
    "jobs": ("job", "jobs", "vacancy", "vacancies", "cv", "hiring", "akazi", "emploi"),
    "marketplace": ("marketplace", "market", "buy", "sell", "price", "shop", "isoko"),
    "property": ("property", "rent", "rental", "house", "apartment", "inzu", "maison"),
    "mobility": ("mobility", "mobilite", "ride", "driver", "chauffeur", "taxi", "trip", "moto"),
    "profile": ("profile", "profil", "account", "settings", "wallet"),
    "insurance": ("insurance", "insure", "policy", "claim", "assurance"),
}
_WORD = re.compile(r"[^\W_]+")
_NO_WORDS = ("id", "from", "timestamp")  # of a message itself; every other text of it is read
MOST_ITEMS = 2_000  # the platform's own limit of a batch is 1,000
_CAPTIONED = ("image", "video", "document", "audio")
REST = ""  # in a Place: what of a POST, an entry or a change is neither messages nor statuses


class TooMany(Exception):
    """More messages in one POST than the platform ever sends."""


class Kind(Enum):
    """What an item of a POST is."""

    MESSAGE = "message"
    STATUS = "status"  # sent, delivered, read: about a message that is named by its id
    OTHER = "other"  # everything that cannot be read as one of the two


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an item stands: entry[entry].changes[change].value.<part>[index]; -1 is the whole."""

    entry: int = -1
    change: int = -1
    part: str = REST
    index: int = -1


@dataclass(frozen=True, kw_only=True)
class Item:
    """One message, one status, or all the rest of a POST together.

    message_id is the full text as it came (of a status: the id it speaks of), a number as text;
    content tells an item that has none from others. sender is the customer. A status has no domain
    of its own: it is `unknown` until something says what it follows.
    """

    kind: Kind
    places: tuple[Place, ...]
    domain: str
    message_id: str | None = None
    sender: str | None = None
    status: str = ""
    timestamp: str = ""
    legible: bool = True  # all of its text can be read; who cannot read it cannot say it may go
    content: str = ""  # a digest, the same whatever the order of keys is


def contents(payload: Any, protected: Collection[str], body: bytes = b"") -> tuple[Item, ...]:
    """Return everything in a POST, at least one item: what cannot be read is the rest. Raise
    TooMany over MOST_ITEMS messages and statuses, and nothing else.

    body: the bytes of the POST, which tell what is nested too deep for anything else to tell it."""
    items: list[Item] = []
    rest: list[Place] = []
    remains: list[Any] = []
    for place, found in _walk(payload):
        if place.part == "messages" and isinstance(found, Mapping):
            items.append(_message(place, found, protected, body))
        elif place.part == "statuses" and isinstance(found, Mapping):
            items.append(_status(place, found, body))
        else:
            rest.append(place)
            remains.append(found)
        if len(items) > MOST_ITEMS:
            raise TooMany
    if rest:
        told = _digest(remains, body) if payload else _digest(None, body)
        items.append(Item(kind=Kind.OTHER, places=tuple(rest), domain=UNKNOWN, content=told))
    return tuple(items)


def clean(value: Any, longest: int) -> str | None:
    """A text that PostgreSQL stores: no NUL, no half of a surrogate pair, not longer than
    `longest`.
    """
    if not isinstance(value, str) or not value:
        return None
    kept = value[:longest].replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return kept or None


def domain_of(message: Mapping[str, Any], protected: Collection[str]) -> str:
    """Return the domain of one message: a protected one that is named anywhere, else the first."""
    return _read(message, protected)[0]


def _read(message: Mapping[str, Any], protected: Collection[str]) -> tuple[str, bool]:
    """The domain of a message, and whether all of its text can be read."""
    named = [domain for domain in _named(message) if domain]
    names = _words_of(frozenset(protected))
    texts = [folded(text) for text in _texts(message)]
    shielded = next(
        (
            names[bones(word)]
            for text in texts
            for word in _WORD.findall(text)
            if bones(word) in names
        ),
        None,
    )
    first = next((domain for domain in named if domain in protected), shielded)
    return first or (named[0] if named else UNKNOWN), all(map(readable, texts))


def _message(
    place: Place, found: Mapping[str, Any], protected: Collection[str], body: bytes
) -> Item:
    identity = _text(found, "id")
    domain, legible = _read(found, protected)
    return Item(
        kind=Kind.MESSAGE,
        places=(place,),
        domain=domain,
        legible=legible,
        message_id=identity,
        sender=_text(found, "from"),
        content="" if identity else _digest(found, body),
    )


def _status(place: Place, found: Mapping[str, Any], body: bytes) -> Item:
    identity = _text(found, "id")
    return Item(
        kind=Kind.STATUS,
        places=(place,),
        domain=UNKNOWN,
        message_id=identity,
        sender=_text(found, "recipient_id"),
        status=_text(found, "status") or "",
        timestamp=_text(found, "timestamp") or "",
        content="" if identity else _digest(found, body),
    )


def _digest(found: Any, body: bytes) -> str:
    """Tell content by its bytes in one spelling; by all of the POST's where it has none."""
    try:
        told = json.dumps(found, sort_keys=True).encode() if found is not None else body
    except RecursionError:
        told = body
    return hashlib.blake2b(told, digest_size=16).hexdigest()


def _walk(payload: Any) -> Iterator[tuple[Place, Any]]:
    """Each message and status with its place; where the shape does not hold, all that is there."""
    entries = _list(payload, "entry")
    if not entries:
        yield Place(), payload
    for number, entry in enumerate(entries):
        changes = _list(entry, "changes")
        if not changes:
            yield Place(entry=number), entry
        for count, change in enumerate(changes):
            yield from _walk_change(number, count, change)


def _walk_change(entry: int, count: int, change: Any) -> Iterator[tuple[Place, Any]]:
    whole, value = Place(entry=entry, change=count), _get(change, "value")
    lists = {part: _get(value, part) for part in ("messages", "statuses")}
    found = False
    for part, items in lists.items():
        if isinstance(items, list):
            for index, item in enumerate(items):
                found = True
                yield Place(entry=entry, change=count, part=part, index=index), item
    misshapen = any(items is not None and not isinstance(items, list) for items in lists.values())
    if misshapen or not found:
        yield whole, change


def _named(message: Mapping[str, Any]) -> Iterator[str | None]:
    interactive = _get(message, "interactive")
    for kind in ("button_reply", "list_reply"):
        yield _of_button(_get(_get(interactive, kind), "id"))
    yield _of_button(_get(_get(message, "button"), "payload"))
    yield from _of_words(_get(_get(message, "text"), "body"))
    for kind in _CAPTIONED:
        yield from _of_words(_get(_get(message, kind), "caption"))
    yield from _of_words(_get(_get(message, "order"), "text"))
    yield from _of_words(_get(_get(interactive, "nfm_reply"), "name"))


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    """Every text in a message, at any depth; of a form's answers, which are JSON, those in it."""
    waiting: list[Any] = [value for key, value in message.items() if key not in _NO_WORDS]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
            if value.lstrip()[:1] in ("{", "[") and "\\" in value:
                waiting.append(_answers(value))
        elif isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _answers(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_button(identity: Any) -> str | None:
    if not isinstance(identity, str):
        return None
    first = _WORD.match(folded(identity))
    return _DOMAIN_OF.get(first[0]) if first else None


def _of_words(text: Any) -> Iterator[str | None]:
    if isinstance(text, str):
        yield from (_DOMAIN_OF.get(word) for word in _WORD.findall(folded(text)))


def _numbers(word: str) -> Iterator[str]:
    """The singular and its plurals."""
    yield from (word, word + "s", word + "es")
    if word.endswith("y"):
        yield word[:-1] + "ies"


_DOMAIN_OF = {
    number: domain for domain, words in WORDS.items() for word in words for number in _numbers(word)
}


@lru_cache(maxsize=100)
def _words_of(protected: frozenset[str]) -> Mapping[str, str]:
    """The words of the protected domains, and their own names, in their bones."""
    return {
        bones(number): domain
        for domain in protected
        for word in (domain, *WORDS.get(domain, ()))
        for number in _numbers(word)
    }


def _text(value: Mapping[str, Any], key: str) -> str | None:
    """The text of an id, a sender or a time; a number is one as well."""
    found = value.get(key)
    if isinstance(found, int | float) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) and found else None


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _list(value: Any, key: str) -> list[Any]:
    found = _get(value, key)
    return found if isinstance(found, list) else []
