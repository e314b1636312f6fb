"""The list of decisions and the pages of decisions are the same set, and each page has one form."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path("docs/decisions")
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


def test_every_page_is_listed_once_and_every_listed_page_is_there():
    """The table of the README has one row a page, in the order of their names."""
    listed = re.findall(
        r"^\| \[[^\]]+\]\(([^)]+)\) \|", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert listed == [page.name for page in PAGES]


def test_every_page_asks_decides_and_says_why():
    """Question, decision, why: in this order, on less than a screen."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        parts = re.findall(r"^\*\*(Question|Decision|Why)\.\*\*", text, re.MULTILINE)
        assert parts == ["Question", "Decision", "Why"], page
        assert len(text.splitlines()) <= 30, page
