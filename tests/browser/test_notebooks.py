"""Every notebook in a real JupyterLab, run by a person's own Run All Cells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

NOTEBOOKS = sorted(
    path.name for path in Path("notebooks").glob("*.ipynb") if not path.name.startswith("50_")
)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_without_an_error_and_with_every_chart(lab, page, name):
    """Run All Cells: no error, nothing on stderr, a finding and its drawing for each chart of the
    notebook.

    Protected uptime has nothing to draw (the day's plan names no endpoint), nor have failures on a
    day without one, and the finding says so."""
    lab.open(page, name)
    lab.run_all(page)
    if folder := os.environ.get("ROLLOUT_SCREENSHOTS"):
        page.set_viewport_size(
            {"width": 1280, "height": 6000}
        )  # JupyterLab draws only what is in view
        page.screenshot(path=Path(folder) / f"{name}.png")
    assert lab.errors(page) == []
    cells = [cell.source for cell in lab.saved(page, name).cells]
    wanted = sum(source.startswith("charts.") or "_picture(" in source for source in cells)
    findings = page.locator(".jp-OutputArea-output .ro-caption").all_inner_texts()
    assert len(findings) == wanted
    nothing = ("names no endpoint under", "No request failed in this window.")
    drawn = [one for one in findings if not any(words in one for words in nothing)]
    assert page.locator(".jp-OutputArea-output svg.marks").count() == len(drawn)
