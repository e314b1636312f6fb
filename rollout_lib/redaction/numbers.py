"""Numbers that somebody could dial, or that are too long for a count. Pure.

What is long and neither is named first: instants, addresses of machines, decimals, counts with
commas. The rest of nine digits and more is hidden, however it is grouped; fewer only where they are
written as they are dialled, or where a word says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_DAY = r"(?:19|20)\d\d-?(?:0[1-9]|1[0-2])-?(?:0[1-9]|[12]\d|3[01])"
_ZONE = re.compile(r"\d(?:\D{0,12}?\d)*")  # digits that are near each other
_AROUND = 45  # characters before a zone in which a word says what it is
_AT_LEAST = 7  # digits
_NO_NUMBER = re.compile(
    rf"(?<!\d){_DAY}(?:[T_ -]?(?:[01]\d|2[0-3]):?[0-5]\d(?::?[0-5]\d(?:[.,]\d{{1,9}})?)?"
    r"(?:Z|[+-]\d\d:?\d\d)?)?(?![-.]?\d)"
    rf"|(?<!\d){_DAY}T\d{{4,6}}Z"
    r"|(?<![\d:])\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?![\d:])"
    rf"|(?<![\d.+])(?:{_OCTET}\.){{3}}{_OCTET}(?::\d{{1,5}}|/\d\d?)?(?![\d.])"
    r"|(?<![\d.,])\d{1,3}(?:,\d{3})+(?:\.\d{1,6})?(?![\d,])"
    r"|(?<![\d.])(?:0\.\d{1,17}|\d{1,3}\.\d{1,4})(?![\d.])"
    r"|(?<![\d.])\d{1,6}\.\d{1,9}(?= ?(?:ms|s|min|h|%|[kMG]i?B)\b)"
    r"|(?<![0-9a-z])(?<!\d[-. )/])(?=\d{0,11}[a-f])(?:[0-9a-f]{7,8}|[0-9a-f]{12})(?![0-9a-z])",
    re.I,
)
_DIALLED = re.compile(  # as it is dialled, however it is grouped
    r"(?<![\d.])(?:\+|\(\+|\(?0(?=[\d( ./-]))(?:[\s()./+_-]{0,3}\d){7,80}(?!\d)"
)
_LONG = re.compile(r"(?<!\d)\d(?:[^\S\n]{0,2}[()._-]?[^\S\n]?\d){8,80}(?!\d)")
_SAID = re.compile(
    r"(?:phone|tel|mobile|cell|whatsapp|sms|msisdn|call(?:ed|s|ing)?|dial(?:led)?|wa\.me/|fax"
    r"|handy|from_number|customer|caller|contact)[\s\"':=.#]{0,4}(?:number|no\.?)?[\s\"':=.#]{0,4}"
    r"(?P<hide>\(?\d(?:[ ()./-]{0,2}\d){6,20})(?!\d)",
    re.I,
)


def numbers_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Where such a number stands: (begin, end, what is shown instead)."""
    for zone in _ZONE.finditer(text):
        if sum(map(str.isdigit, zone[0])) >= _AT_LEAST:
            yield from _in_zone(text, *zone.span())


def _in_zone(text: str, first: int, last: int) -> Iterator[tuple[int, int, str]]:
    base = max(first - _AROUND, 0)
    rest = _NO_NUMBER.sub(lambda match: "\0" * len(match[0]), text[base : last + 12])
    for pattern in (_DIALLED, _LONG, _SAID):
        for match in pattern.finditer(rest):
            begin, end = match.span("hide" if pattern is _SAID else 0)
            if base + begin >= first - 3:
                yield base + begin, base + end, "[number]"
