"""What the archive shows in a browser without a network: twins, index and report on a desk, a phone
and paper.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe

from rollout_lib.rehearsal.server import drop_database
from rollout_lib.runner import run_notebook
from tests.browser.conftest import go_on, set_day

NAME = "rehearsal_browser_pages"
PAGES = {
    "index.html": 0,
    "20_monitor": 8,
    "30_evaluate_phase": 6,
    "40_report": 5,
}  # at least so many charts
PAPER = 688  # CSS pixels between the margins of an A4 sheet


@pytest.fixture(scope="module")
def records(server, morning, tmp_path_factory):
    """An output folder with a check, an evaluation and the report of the day."""
    file, template = morning
    set_day(server, template, NAME)
    outputs = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROLLOUT_REHEARSAL_URL", psycopg.conninfo.make_conninfo(server, dbname=NAME))
        patch.setenv("ROLLOUT_OUTPUTS", str(outputs))
        for name in [name for name in PAGES if name != "index.html"]:
            go_on(psycopg.conninfo.make_conninfo(server, dbname=NAME))
            done = run_notebook(name, {"plan": str(file), "operator": "Rita"}, outputs=outputs)
            assert done.exit_code == 0, done.error
    yield outputs
    drop_database(server, NAME)


def path_of(records: Path, name: str) -> Path:
    return (
        records / name
        if name == "index.html"
        else next(records.glob(f"week6-unified/*/*{name}*.html"))
    )


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_stands_alone_offline_and_fits(name, width, records, browser):
    """With the network off: no request but for the file, every chart, nothing wider than the
    window.
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    file = path_of(records, name).as_uri()
    page.goto(file)
    if folder := os.environ.get("ROLLOUT_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}_{width}.png", full_page=True)
    assert asked == [file]
    assert page.locator("svg.marks").count() >= PAGES[name]
    assert all(box["width"] > 200 and box["height"] > 50 for box in boxes(page))
    assert overflow(page) <= 0
    assert broken_words(page) == []
    assert "REHEARSAL" in page.locator(".ro-bar").first.inner_text()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_read_a_page(name, scheme, records, browser):
    """axe-core names nothing serious, by day and by night; each chart's name is its finding."""
    context = browser.new_context(color_scheme=scheme, offline=True)
    page = context.new_page()
    page.goto(path_of(records, name).as_uri())
    found = Axe().run(page).response["violations"]
    serious = [
        (one["id"], one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert page.locator("h1.ro-unseen").count() == 1
    assert "<h1" not in page.locator("body").inner_text()
    for chart in page.locator("svg.marks").all():
        assert chart.get_attribute("role") == "img"
        assert chart.get_attribute("aria-label")
    context.close()


def test_the_index_leads_to_each_record(records, browser):
    """Every link of the index is a file beside it, and following one shows that run's page."""
    page = browser.new_page()
    page.goto((records / "index.html").as_uri())
    links = page.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    assert links
    assert all((records / link).is_file() for link in links)
    page.get_by_role("link", name="page").first.click()
    assert page.locator(".ro-answer").first.is_visible()
    page.close()


def test_the_report_prints_on_a4(records, browser, tmp_path):
    """On paper: nothing is cut at the right margin, the code is left out, and every sheet is A4."""
    page = browser.new_page(viewport={"width": PAPER, "height": 1000})
    page.goto(path_of(records, "40_report").as_uri())
    page.emulate_media(media="print")
    assert overflow(page) <= 0
    assert page.locator("details:visible").count() == 0
    printed = tmp_path / "report.pdf"
    page.pdf(path=printed, prefer_css_page_size=True, print_background=True)
    if folder := os.environ.get("ROLLOUT_SCREENSHOTS"):
        (Path(folder) / "report.pdf").write_bytes(printed.read_bytes())
    sheets = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed.read_bytes())
    assert {(round(float(width)), round(float(height))) for width, height in sheets} == {(595, 842)}
    page.close()


def overflow(page) -> int:
    """By how many pixels the page is wider than its window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def boxes(page) -> list[dict]:
    return page.locator("svg.marks").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(({width, height}) => ({width,"
        " height}))"
    )


def broken_words(page) -> list[str]:
    """Table cells of a single word that stands on more than one line."""
    return page.locator("th, td").evaluate_all("""all => all.filter(one => {
            const range = document.createRange();
            range.selectNodeContents(one);
            return /^\\w+$/.test(one.textContent) && new Set([...range.getClientRects()].map(({y}) => y)).size > 1;
        }).map(one => one.textContent)""")
