"""HTML that a cell showed, rewritten with an allow-list: nothing that runs, nothing that is
fetched.
"""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser

from rollout_lib.redaction import hide

_PROSE = """div span p b i em strong small sub sup br hr h1 h2 h3 h4 h5 h6 ul ol li dl dt dd table caption
colgroup col thead tbody tfoot tr th td code pre kbd details summary a time figure figcaption section"""
_DRAWING = """svg g path text tspan rect line circle ellipse polygon polyline defs clippath lineargradient
radialgradient stop pattern marker mask use title desc"""
_TAGS = frozenset(f"{_PROSE} {_DRAWING}".split())
_EMPTY = frozenset({"br", "hr", "col"})
_DROPPED_WHOLE = frozenset(
    {"script", "style", "iframe", "object", "noscript", "template", "textarea", "xmp"}
)
_FETCHES = frozenset(
    {"src", "srcset", "action", "formaction", "data", "poster", "background", "ping", "srcdoc"}
)
_NAME = re.compile(r"[a-z][a-z0-9:_.-]*")
_REACHES_OUT = re.compile(
    r"url\(\s*[\"']?\s*(?!#)|@import|javascript:|expression\(|image-set\(|src\(|\\", re.I
)


def clean(html: str) -> str:
    """Our own HTML comes through as it is, but for its stylesheet, which a page has once."""
    cleaner = _Cleaner()
    cleaner.feed(html)
    cleaner.close()
    return "".join(cleaner.parts)


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.inside: list[str] = []  # tags that are dropped with all they hold

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED_WHOLE:
            self.inside.append(tag)
        elif tag in _TAGS and not self.inside:
            kept = [
                f' {name}="{escape(_said(name, value or ""), quote=True)}"'
                for name, value in attrs
                if _harmless(name, value)
            ]
            self.parts.append(f"<{tag}{''.join(kept)}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED_WHOLE:
            return
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            del self.inside[self.inside.index(tag) :]
        elif tag in _TAGS and tag not in _EMPTY and not self.inside:
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.parts.append(escape(hide(data), quote=False))


def _said(name: str, value: str) -> str:
    """An attribute that people read or hear, without secrets; the others place and draw."""
    return hide(value) if name in ("title", "alt", "aria-label") else value


def _harmless(name: str, value: str | None) -> bool:
    if not _NAME.fullmatch(name) or name.startswith("on") or name in _FETCHES:
        return False
    if name in ("href", "xlink:href"):
        return (value or "").startswith("#")
    return not _REACHES_OUT.search(value or "")
