"""One POST, many messages: which of them go together, and the bytes of each part. Pure.

A POST goes to unified only if every message in it may; then each follows its own draw. On legacy
each domain has a function of its own, so a mixed POST is split there too. A part's bytes are new,
and so is its signature: without the app's secret a signed POST is not split, but for what was
answered before: that is never handed on again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rollout_lib.rehearsal.live.recognise import REST, Item, Place


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one function is handed: the items, in the order of the POST, and where they go.

    body None: it cannot be taken out of the POST, so nothing is handed on."""

    items: tuple[Item, ...]
    name: str  # the function
    routed_to: str
    body: bytes | None

    @property
    def domains(self) -> str:
        """The domains of the items, each once, for a header."""
        return ",".join(dict.fromkeys(item.domain for item in self.items))


def part_of(payload: Mapping[str, Any], items: Iterable[Item]) -> bytes | None:
    """Return the POST with these items alone, everything around them as it was.

    None where it cannot be written as JSON that every reader takes: NaN, or nested too deep."""
    kept = {place for item in items for place in item.places}
    entries = [
        smaller
        for number, entry in enumerate(payload["entry"])
        if (smaller := _entry(entry, number, kept)) is not None
    ]
    try:
        return json.dumps({**payload, "entry": entries}, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None


def _entry(entry: Any, number: int, kept: Collection[Place]) -> Any:
    if Place(entry=number) in kept:
        return entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get("changes"), list):
        return None
    changes = [
        smaller
        for count, change in enumerate(entry["changes"])
        for smaller in _change(change, number, count, kept)
    ]
    return {**entry, "changes": changes} if changes else None


def _change(change: Any, entry: int, count: int, kept: Collection[Place]) -> Iterator[Any]:
    """The change with the kept items alone, or nothing where none of it is kept."""
    whole = Place(entry=entry, change=count, part=REST) in kept
    value = change.get("value") if isinstance(change, Mapping) else None
    if not isinstance(value, Mapping):
        if whole:
            yield change
        return
    smaller, found = dict(value), whole
    for part in ("messages", "statuses"):
        items = smaller.pop(part, None)
        if isinstance(items, list):
            own = [
                item
                for index, item in enumerate(items)
                if Place(entry=entry, change=count, part=part, index=index) in kept
            ]
            if own:
                smaller[part], found = own, True
        elif whole and items is not None:
            smaller[part] = items
    if found:
        yield {**change, "value": _with_own_contacts(smaller, value)}


def _with_own_contacts(smaller: dict[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """A part names no other part's customer: readers pair contacts and messages by their place."""
    contacts = value.get("contacts")
    if not isinstance(contacts, list):
        return smaller
    others = _customers(value) - _customers(smaller)
    own = [contact for contact in contacts if _wa_id(contact) not in others]
    return {**smaller, "contacts": own}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _customers(value: Mapping[str, Any]) -> set[str | None]:
    return {
        item.get(key)
        for part, key in (("messages", "from"), ("statuses", "recipient_id"))
        for item in _listed(value.get(part))
        if isinstance(item, Mapping) and isinstance(item.get(key), str)
    }


def _wa_id(contact: Any) -> str | None:
    found = contact.get("wa_id") if isinstance(contact, Mapping) else None
    return found if isinstance(found, str) else None
