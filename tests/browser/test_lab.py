"""`rollout lab` as a person uses it: what it opens, the landing page, a check by hand, the end of
the session.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from playwright.sync_api import expect

from rollout_lib.rehearsal.server import drop_database
from tests.browser.conftest import PATIENCE, running_lab, traffic
from tests.notebooks.conftest import Today


def test_it_opens_a_control_room_that_runs_with_the_page_behind_it(today, page, tmp_path):
    """The printed address alone: figures of now, without a cell run by hand; its buttons act; a tab
    has the page.
    """
    with traffic(today), running_lab(today, tmp_path) as (lab, _):
        page.goto(f"{lab.address}lab?token={lab.token}")
        expect(page.get_by_text("● Live")).to_be_visible(timeout=PATIENCE)
        expect(page.locator(".cr-tiles")).to_contain_text("phase 1 of 4")
        page.get_by_role("button", name="Check now").click()
        expect(page.locator(".cr-said", has_text="✓ check")).to_be_visible(timeout=PATIENCE)
        kind, body = today.sql("SELECT kind, body FROM rollout.ledger ORDER BY seq DESC LIMIT 1")[0]
        assert (kind, json.loads(body)["operator"]) == ("extra", "Rita")
        page.get_by_role("tab", name="README.md").click()
        expect(page.locator(".jp-MarkdownViewer")).to_contain_text("rollout rollback --emergency")


def test_a_practice_day_opens_with_the_page_beside_the_running_room(own_server, page, tmp_path):
    """A newcomer who typed `make lab` sees the first step and the live room on
    one screen of 1280.
    """
    today = Today(
        plan=Path("parameters/week6.rehearsal.yaml"), address="", outputs=tmp_path / "outputs"
    )
    with running_lab(today, tmp_path) as (lab, _):
        page.goto(f"{lab.address}lab?token={lab.token}")
        expect(page.get_by_text("● Live")).to_be_visible(timeout=PATIENCE)
        expect(page.locator(".jp-MarkdownViewer")).to_contain_text("Start here")
        expect(page.locator(".cr-tiles")).to_contain_text("phase 1 of 4")
        for shown in (".jp-MarkdownViewer h1", ".cr-env", ".cr-tiles"):
            expect(page.locator(shown).first).to_be_in_viewport()
        if folder := os.environ.get("ROLLOUT_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "lab.png")
        (plan,) = lab.root.glob("rehearsal_*.yaml")
    drop_database(own_server, plan.stem)


def test_it_lands_on_a_page_that_leads_to_the_notebooks(lab, page):
    """The page is shown as a page, names environment and database, and its links open the working
    copies.
    """
    page.goto(lab.url("README.md"))
    landed = page.locator(".jp-MarkdownViewer")
    landed.get_by_text("REHEARSAL").first.wait_for()
    assert "rehearsal_" in landed.inner_text()
    for link in re.findall(r"\]\(([^)]+\.ipynb)\)", (lab.root / "README.md").read_text()):
        assert (lab.root / link).is_file()
    landed.get_by_role("link", name="20_monitor").click()
    page.locator(".jp-Notebook").wait_for()


def test_a_terminal_knows_the_command_and_stands_in_the_folder(lab, page):
    """`rollout status` typed into a terminal speaks of the day's database, and a file made there is
    in the folder.
    """
    page.goto(lab.url("README.md"))
    page.locator(".jp-MarkdownViewer").wait_for()
    page.get_by_role("menuitem", name="File", exact=True).click()
    page.locator(".lm-Menu-item", has_text=re.compile("^New$")).first.hover()
    page.locator(".lm-Menu-item", has_text="Terminal").first.click()
    page.locator(".jp-Terminal .xterm-screen").wait_for()
    said = lab.root / "said.txt"
    page.locator(".jp-Terminal textarea").focus()
    page.keyboard.type("rollout status > said.part && mv said.part said.txt\n")
    while not said.exists():
        page.wait_for_timeout(200)
    assert said.read_text().startswith("REHEARSAL · ")
    said.unlink()


def test_a_check_by_hand_is_on_the_ledger_and_the_saved_copy_is_sealed(lab, page, rollout):
    """Its checkpoint says that a person made it; `rollout seal` archives the copy; the model is as
    it was.
    """
    model = Path("notebooks/20_monitor.ipynb").read_bytes()
    lab.open(page, "20_monitor.ipynb")
    lab.run_all(page)
    lab.saved(page, "20_monitor.ipynb")
    kind, body = lab.today.sql("SELECT kind, body FROM rollout.ledger ORDER BY seq DESC LIMIT 1")[0]
    checkpoint = json.loads(body)
    assert (kind, checkpoint["operator"]) == ("extra", "Rita")
    assert checkpoint["provenance"]["notebook"].startswith("by hand:")
    done = rollout("seal")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "20_monitor.ipynb, saved by hand" in done.stdout
    (archived,) = lab.today.outputs.glob(
        f"week6-unified/*/*20_monitor*{checkpoint['run_id'][:8]}.ipynb"
    )
    assert "<svg" in archived.read_text()
    assert "Nothing to seal" in rollout("seal").stdout
    assert rollout("verify").returncode == 0
    assert Path("notebooks/20_monitor.ipynb").read_bytes() == model
