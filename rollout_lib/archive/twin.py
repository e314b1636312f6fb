"""The HTML twin of an executed notebook: no script, no external reference, small, escaped,
redacted.
"""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

import mistune

from rollout_lib.archive.cleaning import clean
from rollout_lib.archive.page import page
from rollout_lib.redaction import redact


def twin(notebook: Any, title: str) -> str:
    """The page of an executed notebook, readable offline in ten years."""
    died = notebook.metadata.get("papermill", {}).get("rollout_died")
    parts = (
        [f'<div class="bad"><b>This run did not finish:</b> {escape(redact(died))}</div>']
        if died
        else []
    )
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(_markdown()(cell.source))
        elif cell.cell_type == "code" and "".join(cell.source).strip():
            parts.append(
                f"<details><summary>code</summary><pre>{escape(redact_lines(cell.source))}</pre></details>"
            )
            parts += [_output(output) for output in cell.get("outputs", [])]
    return page(title, "\n".join(parts))


@cache
def _markdown():
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
