"""The documents point at what is there, and the runbook's map leaves no line of it out."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

DOCUMENTS = [
    *sorted(Path("docs").glob("*.md")),
    *sorted(Path("docs/decisions").glob("*.md")),
    Path("benchmarks/README.md"),
    Path("CHANGELOG.md"),
    Path("CONTRIBUTING.md"),
    Path("README.md"),
]
RUNBOOK = Path("docs/runbook/week6-day3-traffic-rollout.md")
MAP = Path("docs/runbook-map.md")
# A line of the runbook that asks for something: an item, a statement, a command, a subject, a time
# of the day.
ASKS = re.compile(
    r"^(- |SELECT |WITH |psql |supabase |\./|Subject: |\d\d:\d\d - |[├└]──"
    r" (unified|Unified|legacy|Legacy))"
)
FENCES = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def links(text: str) -> list[tuple[str, str]]:
    """(path, name after the #) of every link that is not to another site."""
    found = re.findall(r"\]\(([^)\s]+)\)", FENCES.sub("", text))
    parts = [unquote(target).partition("#") for target in found if "://" not in target]
    return [(path, name) for path, _, name in parts]


def headings(text: str) -> set[str]:
    """The anchors of a document's headings, as Git hosts make them."""
    lines = re.findall(r"^#+ (.*)$", FENCES.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_every_link_of_a_document_resolves(path):
    """The file or folder exists; a name after # is a heading of the document, or defined in the
    Python file.
    """
    for target, name in links(path.read_text(encoding="utf-8")):
        place = path.parent / target if target else path
        assert place.exists(), target
        if name and place.suffix == ".md":
            assert name in headings(place.read_text(encoding="utf-8")), f"{target}#{name}"
        if name and place.suffix == ".py":
            defined = rf"^(def|class) {re.escape(name)}\b"
            assert re.search(defined, place.read_text(encoding="utf-8"), re.MULTILINE), (
                f"{target}#{name}"
            )


def quotes() -> list[str]:
    """What the map's first column quotes."""
    rows = re.findall(r"^\| `(.+?)` \| ", MAP.read_text(encoding="utf-8"), re.MULTILINE)
    return [row.replace("\\|", "|") for row in rows]


def test_the_map_quotes_the_runbook_as_it_is():
    """Every quote of the map stands in the runbook, to the letter."""
    text = RUNBOOK.read_text(encoding="utf-8")
    assert len(quotes()) > 70
    assert [quote for quote in quotes() if quote not in text] == []


def test_no_line_of_the_runbook_that_asks_for_something_is_left_out():
    """Each item, statement, command, subject, time and expected figure is quoted by the map."""
    lines = [line.strip() for line in RUNBOOK.read_text(encoding="utf-8").splitlines()]
    asked = {line for line in lines if ASKS.match(line)}
    known = quotes()
    assert len(asked) > 60
    assert [
        line for line in asked if not any(line in quote or quote in line for quote in known)
    ] == []


def test_every_section_of_the_runbook_is_in_the_map():
    """Each heading of the second level, without its picture, is one of the map's."""
    sections = re.findall(r"^## \W*(.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    mapped = re.findall(r"^## (.+)$", MAP.read_text(encoding="utf-8"), re.MULTILINE)
    assert sections == mapped
