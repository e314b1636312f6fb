"""Secrets and personal data out of a text before it is shown or recorded. Pure; hostile input is
expected.

A text is read as it is and as it decodes (layers); what has a known shape (shapes), and what nobody
can name (entropy), is hidden where it stands in the original. The rest stays as it was.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from rollout_lib.redaction.entropy import unexplained
from rollout_lib.redaction.layers import readings
from rollout_lib.redaction.numbers import numbers_in
from rollout_lib.redaction.shapes import Span, shaped, without_ours

LONGEST = 1000
_OFTEN = 2000  # characters of a text that is likely to be asked for again
_EDGE = 400  # characters before a cut that may be the half of a secret


def redact(text: str) -> str:
    """The text without passwords, tokens, phone numbers, WhatsApp ids, e-mail addresses, control
    characters.

    At most LONGEST characters of one line; what was cut is said. Escaping for HTML is the
    caller's."""
    looked_at = text[: LONGEST * 10]  # bounds the work on a megabyte of hostile text
    one_line = "".join(" " if sign in "\t\n\r\f\v" else sign for sign in looked_at)
    shown = " ".join("".join(map(_printable, hide(one_line))).split())
    if len(text) > len(looked_at):
        shown = shown[: max(len(shown) - _EDGE, 0)]
    if len(shown) > LONGEST or len(text) > len(looked_at):
        return f"{shown[:LONGEST]}… ({len(text):,} characters in all)"
    return shown


def hide(text: str) -> str:
    """The text without the same secrets and personal data, and otherwise as it was: its lines, its
    length. Linear: about 2 s for a megabyte of the worst.
    """
    return _hide_again(text) if len(text) <= _OFTEN else _hide(text)


@lru_cache(maxsize=2048)
def _hide_again(text: str) -> str:
    """A sentence is shown in many places: the card, the page, the index, the message."""
    return _hide(text)


def _hide(text: str) -> str:
    spans: list[Span] = []
    for layer in readings(text):
        read = without_ours(layer.text)
        found = [*shaped(read), *numbers_in(read)]
        found += [(begin, end, "[secret]") for begin, end in unexplained(read)]
        spans += [(layer.starts[a], layer.ends[b - 1], instead) for a, b, instead in found]
    return _without(text, spans) if spans else text


def hide_first(text: str, longest: int) -> str:
    """The beginning of a long text without secrets, none of them cut in half; how much is missing
    is said.
    """
    if len(text) <= longest:
        return hide(text)
    shown = hide(text[: longest + _EDGE])
    kept = shown[: max(min(longest, len(shown) - _EDGE), 0)]
    return f"{kept} [… {len(text) - longest:,} characters left out]"


def name_of(operator: str) -> str:
    """Who operates, as records say it: of an e-mail address the part that names the person."""
    name, at, domain = operator.strip().partition("@")
    return redact(name if at and "." in domain and " " not in operator.strip() else operator)


def hidden(value: Any) -> Any:
    """The same value of JSON, each text and each key of it without secrets."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {hide(str(key)): hidden(item) for key, item in value.items()}
    return [hidden(item) for item in value] if isinstance(value, list | tuple) else value


def holds_a_password(host: str, database: str) -> bool:
    """Was an address read wrongly, so that a part of its password stands where host or database
    should?

    An @ or / in a password that is not written as %40 or %2F ends it early.
    """
    by_name = not host.startswith(("/", "@"))  # the others are sockets
    return bool((by_name and {"@", "/"} & set(host)) or {"@", "/"} & set(database))


def _without(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced; of those that overlap, all is hidden, and the widest is
    named.
    """
    shown, place = [], 0
    merged: list[Span] = []
    for begin, end, instead in sorted(spans):
        if merged and begin < merged[-1][1]:
            first, last, before = merged[-1]
            widest = instead if end - begin > last - first else before
            merged[-1] = (first, max(end, last), widest)
        else:
            merged.append((begin, end, instead))
    for begin, end, instead in merged:
        shown += [text[place:begin], instead]
        place = end
    return "".join([*shown, text[place:]])


def _printable(sign: str) -> str:
    """Control characters become spaces; what has no width goes."""
    category = unicodedata.category(sign)
    if category in ("Cf", "Cs"):
        return ""
    return " " if category == "Cc" else sign
