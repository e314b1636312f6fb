"""What nobody can name is hidden: a token that is made of no words, short numbers, instants or
names of ours.

The list of bad shapes is never whole. So this one lists what is harmless, and everything else of
some length is taken for a key. Pure, one pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9+/=_.~$!*:@-]{8,}")
_PART = re.compile(r"[A-Za-z0-9]+")
_RUN = re.compile(r"[A-Za-z]+|\d+")
_CAMEL = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_HEX = re.compile(r"[0-9a-f]{7,8}|[0-9a-f]{12}")  # a run, a commit, a head, as they are shown
_HOST = re.compile(r"(?<![\w.-])(?:[a-z0-9-]{1,63}\.)+[a-z]{2,12}(?![\w-])|\bpostgres\.[a-z]{20}\b")
_INSTANT = re.compile(r"(?:19|20)\d{6}T?(?:\d{4,6})?Z?|(?:19|20)\d\dT\d+")
_PLAIN_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,8}|\d{1,4}")
# For each letter those that often follow it in English and German words and in names of programs.
_FOLLOWS = {
    row[0]: frozenset(row[1:])
    for row in [
        "abcdfgiklmnprstuvwy",
        "baceijlorsuy",
        "cacehikloprstuy",
        "dabcdegilmnoprstuw",
        "eabcdefghiklmnopqrstuvwxy",
        "fadefilorstuy",
        "gaceghilnorstu",
        "haeiorst",
        "iabcdefglmnoprstvxz",
        "jeos",
        "keis",
        "lacdeiloprstuvy",
        "mabceilmnopstuy",
        "nabcdefgiklmnoprstuvy",
        "oabcdfgiklmnoprstuvw",
        "pacdeghilopqrstuy",
        "qclsu",
        "rabcdefgiklmnoprstuvy",
        "sacdefhilmnopqrstuwy",
        "tacdefhilmnoprstuwyz",
        "uabcdefgilmnprst",
        "vaeio",
        "waehinors",
        "xceipt",
        "yacdeilmnpst",
        "zae",
    ]
}
_AT_LEAST = 9  # characters of one part, or 16 of several, that nothing explains
_OF_SEVERAL = 16
_LIKELY, _PERHAPS = 0.78, 0.66  # of the pairs in a word: of 16 letters and more, of fewer
_LONGEST_WORD = 64


def unexplained(text: str) -> Iterator[tuple[int, int]]:
    """Where tokens stand that are too random to be words: (begin, end) of each."""
    hosts = [match.span() for match in _HOST.finditer(text)]
    for token in _TOKEN.finditer(text):
        begin = token.start()
        while hosts and hosts[0][1] <= begin:
            hosts.pop(0)
        parts = [(begin + part.start(), begin + part.end()) for part in _PART.finditer(token[0])]
        odd = [
            index
            for index, (first, last) in enumerate(parts)
            if not _is_harmless(text[first:last])
            and not _is_label(text[first:last], first, last, hosts)
        ]
        lengths = [parts[index][1] - parts[index][0] for index in odd]
        if max(lengths, default=0) >= _AT_LEAST or sum(lengths) >= _OF_SEVERAL:
            yield _whole(text, parts, odd)


def _whole(text: str, parts: list[tuple[int, int]], odd: list[int]) -> tuple[int, int]:
    """From the first odd part to the last, and those around them that are no plain words."""
    first, last = odd[0], odd[-1]
    while first > 0 and not _is_plain(text[slice(*parts[first - 1])]):
        first -= 1
    while last + 1 < len(parts) and not _is_plain(text[slice(*parts[last + 1])]):
        last += 1
    end = parts[last][1]
    while end < len(text) and text[end] in "=":
        end += 1
    return parts[first][0], end


def _is_plain(part: str) -> bool:
    """Is it surely a word or a short number?"""
    return bool(_PLAIN_WORD.fullmatch(part)) and (part.isdigit() or _is_wordy(part, _LIKELY))


def _is_label(part: str, first: int, last: int, hosts: list[tuple[int, int]]) -> bool:
    """Is it letters of a host's name, as a project of the database's provider has them?"""
    inside = bool(hosts) and hosts[0][0] <= first and last <= hosts[0][1]
    return inside and part.isalpha() and part.islower()


@lru_cache(maxsize=8192)
def _is_harmless(part: str) -> bool:
    """Is it a word, a short number, an instant, or a short name with a number in it?"""
    if len(part) > _LONGEST_WORD:
        return False
    if part.isdigit():
        return True  # numbers are judged by the rule of numbers
    if _HEX.fullmatch(part) or _INSTANT.fullmatch(part):
        return True
    runs = _RUN.findall(part)
    if len(runs) == 1:
        return len(part) < _AT_LEAST or _is_wordy(part)
    if len(part) < 7:
        return True
    known = (run.isdigit() or len(run) <= 3 or _is_wordy(run) for run in runs)
    return len(runs) <= 3 and all(known)


def _is_wordy(letters: str, likely: float | None = None) -> bool:
    """Do letters follow each other as in words, and do capitals begin words of some length?

    likely: the share of pairs that must be known; without it, by the number of letters."""
    words = _CAMEL.findall(letters)
    if len(letters) > 5 and len(letters) < 2.6 * len(words):
        return False
    low = letters.lower()
    known = sum(two in _FOLLOWS.get(one, "") for one, two in pairwise(low))
    share = likely or (_LIKELY if len(low) >= 16 else _PERHAPS)
    return len(low) < 6 or known >= share * (len(low) - 1)
