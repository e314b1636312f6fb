"""Which domain a WhatsApp webhook belongs to. Pure; the payload is hostile input of any shape.

All of a webhook is looked at, so that nothing hides a protected message. Buttons and list choices
come first (their ids begin with the domain: `jobs_apply_17`), then whole words of a text. What
nothing recognises is `unknown`; where a protected domain is named too, it is the protected one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "unknown"
WORDS: Mapping[str, tuple[str, ...]] = {
    "jobs": ("job", "jobs", "vacancy", "vacancies", "cv", "hiring", "akazi", "emploi"),
    "marketplace": ("marketplace", "market", "buy", "sell", "price", "shop", "isoko"),
    "property": ("property", "rent", "rental", "house", "apartment", "inzu", "maison"),
    "mobility": ("mobility", "ride", "driver", "taxi", "trip", "moto"),
    "profile": ("profile", "account", "settings", "wallet"),
    "insurance": ("insurance", "insure", "policy", "claim", "assurance"),
}
_DOMAIN_OF = {word: domain for domain, words in WORDS.items() for word in words}
_WORD = re.compile(r"\w+")
_BUTTON = re.compile(r"[^\W_]+")


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """The domain, and what the log needs to count distinct webhooks; None where the payload has
    none.
    """

    domain: str
    message_id: str | None
    from_number: str | None


def recognise(payload: Any, protected: Collection[str]) -> Recognised:
    """Never raises: whatever cannot be read is not recognised."""
    messages = list(_messages(payload))
    found = [
        (message, domain)
        for message in messages
        for domain in [_domain(message, protected)]
        if domain
    ]
    shielded = [pair for pair in found if pair[1] in protected]
    message, domain = (shielded or found or [(messages[0] if messages else {}, UNKNOWN)])[0]
    return Recognised(
        domain=domain,
        message_id=clean(message.get("id"), 200),
        from_number=clean(message.get("from"), 40),
    )


def clean(value: Any, longest: int) -> str | None:
    """A text that PostgreSQL stores: no NUL, no half of a surrogate pair, not longer than
    `longest`.
    """
    if not isinstance(value, str) or not value:
        return None
    kept = value[:longest].replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
    return kept or None


def _messages(payload: Any) -> Iterator[Mapping[str, Any]]:
    """The messages of entry[].changes[].value.messages[], as far as the shape holds."""
    for entry in _list(payload, "entry"):
        for change in _list(entry, "changes"):
            for message in _list(_get(change, "value"), "messages"):
                if isinstance(message, Mapping):
                    yield message


def _domain(message: Mapping[str, Any], protected: Collection[str]) -> str | None:
    for kind in ("button_reply", "list_reply"):
        if domain := _of_button(_get(_get(_get(message, "interactive"), kind), "id")):
            return domain
    if domain := _of_button(_get(_get(message, "button"), "payload")):
        return domain
    return _of_words(_get(_get(message, "text"), "body"), protected)


def _of_button(identity: Any) -> str | None:
    if not isinstance(identity, str):
        return None
    first = _BUTTON.match(identity.casefold())
    return _DOMAIN_OF.get(first[0]) if first else None


def _of_words(text: Any, protected: Collection[str]) -> str | None:
    if not isinstance(text, str):
        return None
    words = _WORD.findall(text.casefold())
    domains = [_DOMAIN_OF[word] for word in words if word in _DOMAIN_OF]
    return next(
        (domain for domain in domains if domain in protected), domains[0] if domains else None
    )


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _list(value: Any, key: str) -> list[Any]:
    found = _get(value, key)
    return found if isinstance(found, list) else []
