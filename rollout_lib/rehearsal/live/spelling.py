"""One spelling for a word, however it was written: case, width, accents, what is not seen, and
letters that look like others. Pure; hostile input."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Cyrillic and Greek letters that look like these, small ones.
_ALIKE = dict(
    zip(
        "авеёзікмнорстухјѕһԁԛԝґпαβεηικνορτυχγωμ",
        "abeeзikmhopctyxjshdqwrnabenikvoptuxywu",
        strict=True,
    )
)
_DIGITS = str.maketrans("013457l", "oieasti")
_NAMED = re.compile(r"\b([A-Z])(?: WITH .*)?$")  # the letter at the end of a character's name
_INVISIBLE = ("Cf", "Mn", "Me", "Cs")


def folded(text: str) -> str:
    """Return a text in the one spelling; letters that are no Latin ones stay as they are."""
    if text.isascii() and text.isprintable():
        return text.casefold()
    return "".join(map(_letter, unicodedata.normalize("NFKD", text).casefold()))


def readable(text: str) -> bool:
    """Whether each letter of a folded text is one that words are made of."""
    return text.isascii() or not any(sign.isalpha() and not sign.isascii() for sign in text)


def spelled(name: str) -> str:
    """Return the name of a domain as it is compared."""
    return folded(name).strip()


def bones(word: str) -> str:
    """Return what is left of a folded word where digits stand for letters: equal where two look
    alike.
    """
    return word.translate(_DIGITS)


@lru_cache(maxsize=10_000)
def _letter(sign: str) -> str:
    """What a sign is read as."""
    if sign.isascii():
        return sign if sign.isprintable() or sign.isspace() else ""
    if unicodedata.category(sign) in _INVISIBLE or unicodedata.category(sign) == "Cc":
        return ""
    if sign in _ALIKE:
        return _ALIKE[sign]
    name = unicodedata.name(sign, "")
    found = _NAMED.search(name) if "LATIN" in name or "SYMBOL LETTER" in name else None
    return found[1].casefold() if found else sign
