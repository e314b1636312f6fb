"""The HTML twin of an executed notebook: the answer first, no script, no reference to anywhere.

What the page says of the run is read from its record, and not from what a cell showed.
"""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

import mistune
from markupsafe import Markup
from pydantic import ValidationError

from rollout_lib.archive.cleaning import clean
from rollout_lib.archive.page import page
from rollout_lib.display.answer import answer_of
from rollout_lib.display.page import checkpoint_card, table
from rollout_lib.display.templating import rendered
from rollout_lib.model import Checkpoint
from rollout_lib.model.record import MIMETYPE, from_json
from rollout_lib.redaction import redact

# Cells whose outputs the record already says: the first line, the answer, the closing one.
_SAID = {"bar", "answer", "conclude"}


def twin(notebook: Any, title: str, record: str = "") -> str:
    """The page of an executed notebook, readable offline in ten years.

    record: the stored text of the run's checkpoint, "" where it left none. title: the page's name
    where there is no answer to name it by.
    """
    checkpoint = _checkpoint(record)
    died = notebook.metadata.get("papermill", {}).get("rollout_died")
    body = rendered(
        "twin",
        died=redact(died) if died else "",
        card=Markup(clean(checkpoint_card(checkpoint, _head(notebook)))) if checkpoint else "",
        cells=[Markup(html) for html in _shown(notebook, bool(checkpoint))],
        purpose=Markup(_purpose(notebook)),
        parameters=Markup(_parameters(notebook)),
        code=[redact_lines("".join(cell.source)) for cell in _code(notebook)],
    )
    name = f"{answer_of(checkpoint).title} · {checkpoint.place.rollout}" if checkpoint else title
    return page(name, body)


def _checkpoint(record: str) -> Checkpoint | None:
    try:
        return from_json(record) if record else None
    except ValidationError:
        return None  # of another version: the cells' own outputs are shown


def _head(notebook: Any) -> tuple[int, str] | None:
    """Where the run's entry stands on the ledger, as the run was told when it was appended."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get(MIMETYPE)
            if shown and shown.get("seq"):
                return int(shown["seq"]), str(shown["hash"])
    return None


def _code(notebook: Any) -> list[Any]:
    return [
        cell for cell in notebook.cells if cell.cell_type == "code" and "".join(cell.source).strip()
    ]


def _shown(notebook: Any, answered: bool) -> list[str]:
    """Prose and outputs in the notebook's order, without what the top of the page says already."""
    parts: list[str] = []
    heading = ""
    for cell in notebook.cells[1 if _purpose(notebook) else 0 :]:
        if cell.cell_type == "markdown":
            heading = str(_markdown()(redact_lines(cell.source)))
            continue
        if answered and _SAID & set(cell.metadata.get("tags", ())):
            heading = ""  # its prose introduces what stands at the top
            continue
        outputs = [_output(output) for output in cell.get("outputs", [])]
        if any(outputs):
            parts += [heading, *outputs]
            heading = ""
    return [part for part in parts if part]


def _purpose(notebook: Any) -> str:
    first = notebook.cells[0] if notebook.cells else None
    return (
        str(_markdown()(redact_lines(first.source)))
        if first and first.cell_type == "markdown"
        else ""
    )


def _parameters(notebook: Any) -> str:
    """Each parameter that was given with its value; the rest keeps the notebook's default."""
    given = notebook.metadata.get("papermill", {}).get("parameters", {})
    rows = [(name, redact(repr(value)), "given") for name, value in given.items()]
    return table(rows, ["<parameter", "<value", "<from"]) if rows else ""


@cache
def _markdown() -> mistune.Markdown:
    return mistune.create_markdown(escape=True, plugins=["table"])


def redact_lines(text: str) -> str:
    """Line by line, so that code keeps its shape."""
    return "\n".join(
        line[: len(line) - len(line.lstrip())] + redact(line) if line.strip() else ""
        for line in text.split("\n")
    )


def _output(output: Any) -> str:
    kind = output.get("output_type")
    if kind == "stream":
        return f"<pre>{escape(redact_lines(output.text))}</pre>"
    if kind == "error":
        words = f"{output.get('ename', 'error')}: {redact(str(output.get('evalue', '')))}"
        return f'<div class="bad"><b>{escape(words)}</b></div>'
    data = output.get("data", {})
    if "image/svg+xml" in data:
        return f'<div class="ro">{clean("".join(data["image/svg+xml"]))}</div>'
    if "text/html" in data:
        return clean("".join(data["text/html"]))
    if "text/plain" in data:
        return f"<pre>{escape(redact_lines(''.join(data['text/plain'])))}</pre>"
    return ""
