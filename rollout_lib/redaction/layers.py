"""A text as whoever reads it could decode it: percent signs, escapes, entities, other digits and
dashes undone, each character with the place in the original that it came from. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import unescape

_DEPTH = 6  # how often something is encoded in itself before it is believed to be noise
_ENCODED = re.compile(
    r"(?P<percent>(?:%[0-9a-f]{2})+|(?:\\x[0-9a-f]{2})+)"
    r"|\\(?P<pair>u(?:00)?d[89ab][0-9a-f]{2}\\u(?:00)?d[c-f][0-9a-f]{2})"
    r"|\\(?:u|U)?(?P<code>(?<=u)[0-9a-f]{4}|(?<=U)[0-9a-f]{8})"
    r"|\\u\{(?P<braced>[0-9a-f]{1,6})\}"
    r"|\\(?P<octal>[0-3][0-7]{2})"
    r"|\\(?P<escaped>.)"
    r"|(?P<entity>&(?:\#\d{1,7}|\#x[0-9a-f]{1,6}|[a-z]\w{1,31});?)"
    r"|(?P<colour>\x1b(?:\[[0-?]{0,30}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[@-Z^_]))",
    re.I | re.DOTALL,
)
_FORM = re.compile(r"(?<==)[^\s&=]*\+[^\s&=]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "", "f": "", "v": "", "0": "", "a": "", "e": ""}
_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0\u2800")  # letters and signs that nobody sees
_LIKE_ASCII = {
    sign: plain
    for plain, signs in {
        "-": "\u2212\u2043\u02d7",
        ".": "\u00b7\u2022\u2219\u22c5\u30fb\u2024",
        "/": "\u2044\u2215",
        "'": "\u2018\u2019\u201a\u201b",
        '"': "\u201c\u201d\u201e\u00ab\u00bb",
        "\n": "\u2028\u2029\u0085",
    }.items()
    for sign in signs
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One reading of a text. starts[i], ends[i]: where character i stands in the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


def readings(text: str) -> Iterator[Layer]:
    """The text as it is read at once, then as it reads when it is decoded once, twice, …; and each
    as a form, whose signs of plus are spaces.
    """
    raw: Layer | None = Layer(text=text, starts=range(len(text)), ends=range(1, len(text) + 1))
    for _ in range(_DEPTH):
        if raw is None:
            return
        read = _folded(raw)
        yield read
        form = _FORM.sub(lambda match: match[0].replace("+", " "), read.text)
        if form != read.text:
            yield replace(read, text=form)
        raw = _decoded(raw)


def _decoded(layer: Layer) -> Layer | None:
    """One step of every decoding at once; None where there is nothing to decode."""
    text, place = layer.text, 0
    shown: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for match in _ENCODED.finditer(text):
        if match["entity"] and unescape(match["entity"]) == match["entity"]:
            continue
        begin, end = match.span()
        shown.append(text[place:begin])
        starts += layer.starts[place:begin]
        ends += layer.ends[place:begin]
        for sign, first, last in _signs(match):
            shown.append(sign)
            starts.append(layer.starts[first])
            ends.append(layer.ends[last - 1])
        place = end
    if place == 0:
        return None
    starts += layer.starts[place:]
    ends += layer.ends[place:]
    return Layer(text="".join([*shown, text[place:]]), starts=starts, ends=ends)


def _signs(match: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """The characters that an encoded piece stands for, each with the part of it that says so."""
    begin, end = match.span()
    if match["percent"]:
        yield from _percent(match["percent"], begin)
        return
    for sign in _meant(match):
        yield sign, begin, end


def _meant(match: re.Match[str]) -> str:
    if match["pair"]:
        high, low = (int(code[-4:], 16) for code in match["pair"].split("\\"))
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
    if code := match["code"] or match["braced"]:
        return chr(int(code, 16)) if int(code, 16) < 0x110000 else ""
    if match["octal"]:
        return chr(int(match["octal"], 8))
    if match["escaped"]:
        return _ESCAPES.get(match["escaped"], match["escaped"])
    return unescape(match["entity"]) if match["entity"] else ""  # a colour is nothing


def _percent(text: str, begin: int) -> Iterator[tuple[str, int, int]]:
    """Bytes written as %C3%A9 or \\xc3\\xa9: characters where they are UTF-8, else as they are."""
    raw, wide = bytes.fromhex(re.sub(r"%|\\x", "", text, flags=re.I)), 3 if text[0] == "%" else 4
    try:
        signs = raw.decode()
    except UnicodeDecodeError:
        signs = ""
        for index, byte in enumerate(raw):
            yield chr(byte), begin + wide * index, begin + wide * (index + 1)
    for sign in signs:
        length = wide * len(sign.encode())
        yield sign, begin, begin + length
        begin += length


def _folded(layer: Layer) -> Layer:
    """The same characters as plain ones where they look alike; without what has no width."""
    text = layer.text
    if text.isascii() and text.isprintable():
        return layer
    shown: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for sign, first, last in zip(text, layer.starts, layer.ends, strict=True):
        for plain in sign if " " <= sign <= "~" else _plain(sign):
            shown.append(plain)
            starts.append(first)
            ends.append(last)
    return Layer(text="".join(shown), starts=starts, ends=ends)


@lru_cache(maxsize=4096)
def _plain(sign: str) -> str:
    """What a character is read as: "" for one without width, ASCII for other digits and dashes."""
    if sign in "\t\n\r\f\v":
        return "\n" if sign == "\n" else " "
    if sign in _LIKE_ASCII:
        return _LIKE_ASCII[sign]
    category = unicodedata.category(sign)
    if category in ("Cc", "Cf", "Cs", "Cn", "Mn", "Me") or sign in _UNSEEN:
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(sign))
    if category in ("Pd", "Zs"):
        return "-" if category == "Pd" else " "
    compatible = unicodedata.normalize("NFKC", sign)
    return compatible if compatible == sign else "".join(map(_plain, compatible))
