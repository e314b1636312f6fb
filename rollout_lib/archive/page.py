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


def page(title: str, body: str) -> str:
    """The whole HTML page of a body that is ours already."""
    return _PAGE.format(title=escape(title), style=stylesheet() + _own(), body=body)


@cache
def _own() -> str:
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
