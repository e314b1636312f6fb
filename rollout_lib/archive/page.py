"""A page that stands alone: no script, no external reference, one stylesheet, readable on paper and
on a phone.
"""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path

from rollout_lib.display.page import stylesheet

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title}</title><style>{style}</style></head><body>
{body}
</body></html>
"""
_HEADING = '<h1 class="ro-unseen">{title}</h1>'  # for who hears the page; who sees it has the badge


def page(title: str, body: str) -> str:
    """The whole HTML page of a body that is ours already."""
    twin = "<main" in body  # its own headings are folded
    heading = "" if "<h1" in body and not twin else _HEADING.format(title=escape(title))
    text = str(body)  # Markup would escape what is put before it
    whole = heading + text if twin else f"<main>{heading}{text}</main>"
    return _PAGE.format(title=escape(title), style=stylesheet() + _own(), body=whole)


@cache
def _own() -> str:
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
