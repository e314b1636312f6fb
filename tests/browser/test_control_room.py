"""The control room in a real JupyterLab: what it shows follows the database, and each press is on
the ledger.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import nbformat
import psycopg
import pytest
from playwright.sync_api import expect

from rollout_lib import operations as op
from rollout_lib.control_room.offers import VALID
from rollout_lib.database.lease import Lease
from rollout_lib.database.session import open_session
from tests.browser.conftest import free_port, running_lab

NOTEBOOK = "50_control_room.ipynb"
MARKUP = '<img src=x onerror="document.title=1">after <b>four</b> hours'
ALL_MET = re.compile(r"(\d+) of \1 gates are met")
PATIENCE = 90_000  # ms; a limit for what hangs, never a measure

expect.set_options(timeout=PATIENCE)


class Shown:
    """The room on a page, by the words that a person reads."""

    def __init__(self, lab, page, path: str = NOTEBOOK) -> None:
        self.lab, self.page, self.path = lab, page, path
        lab.open(page, path)
        self.run()

    def run(self) -> None:
        """Run All Cells, and wait for the first look."""
        self.lab.run_all(self.page)
        assert self.lab.errors(self.page) == []
        expect(self.page.get_by_text("● Live")).to_be_visible()

    @property
    def room(self):
        return self.page.locator(".ro-room")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def says(self, words: str) -> None:
        """Some press's answer holds these words."""
        expect(self.page.locator(".cr-said", has_text=words)).to_be_visible()

    def picture(self, name: str) -> None:
        """The screen for the documentation, where $ROLLOUT_SCREENSHOTS names a folder."""
        if folder := os.environ.get("ROLLOUT_SCREENSHOTS"):
            self.room.evaluate("room => room.scrollIntoView()")
            place = self.page.locator(".jp-NotebookPanel").bounding_box()
            self.page.screenshot(path=Path(folder) / f"control-room-{name}.png", clip=place)


@pytest.fixture
def room(lab, page) -> Shown:
    """The room, open on a day that is today: 10 % since four hours, every slot
    checked by `Rita`.
    """
    _check_of_the_slot(lab)
    return Shown(lab, page)


def _check_of_the_slot(lab) -> None:
    """What the watcher does each quarter of an hour."""
    op.monitor(open_session(str(lab.today.plan), operator="the watcher"), slot="now")


def ledger(lab) -> list[dict]:
    """What stands on the ledger: kind, operation and the body's fields."""
    rows = lab.today.sql("SELECT kind, operation, body FROM rollout.ledger ORDER BY seq")
    return [
        {**json.loads(body), "kind": kind, "operation": operation} for kind, operation, body in rows
    ]


@contextmanager
def holding(lab, statement: str):
    """A connection that holds a lock until the block ends."""
    with psycopg.connect(lab.today.address) as connection:
        connection.execute(statement)
        yield connection
        connection.rollback()


def waiting(lab, number: int, page) -> list[int]:
    """The server processes that wait for a lock in this database, once there are so many."""
    statement = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type ="
        " 'Lock'"
    )
    for _ in range(PATIENCE // 100):
        pids = [pid for (pid,) in lab.today.sql(statement)]
        if len(pids) >= number:
            return pids
        page.wait_for_timeout(100)
    pytest.fail(f"{number} waited for; {pids} wait")


def ready_to_raise(lab) -> None:
    """What people do before: the phase evaluated, complaints attested."""
    session = open_session(str(lab.today.plan), operator="Rita")
    evaluated = op.evaluate_phase(session).checkpoint
    assert evaluated.state == "PASS", evaluated.sentence
    op.attest(session, subject="complaints", value="none")


def test_it_shows_the_rollout_and_follows_it(lab, page, room):
    """Environment, percentage, hold, both columns, figures, charts, timeline; then a check and a
    watcher come.
    """
    for words in ("REHEARSAL", "10 %", "phase 1 of 4", "literal", "evidence", "Timeline"):
        expect(room.room).to_contain_text(words)
    expect(room.room.locator(".cr-charts svg")).to_have_count(5)
    expect(room.room.locator("tr.total")).to_have_count(2)
    expect(room.room.get_by_text("! nobody")).to_be_visible()
    assert room.room.evaluate("room => room.scrollWidth <= room.clientWidth + 1"), (
        "wider than its place"
    )
    room.picture("light")
    lease = Lease(open_session(str(lab.today.plan)).database, timedelta(minutes=5))
    assert lease.take()
    op.monitor(open_session(str(lab.today.plan), operator="Otto of the night"))
    expect(room.room.get_by_text("! nobody")).to_have_count(0)
    expect(
        room.room.get_by_role("row", name="monitor, extra").filter(has_text="Otto of the night")
    ).to_be_visible()
    lease.release()


def test_each_button_does_what_its_operation_does_and_leaves_its_record(lab, page, room):
    """Check, evaluate, attest, raise with a reason that is markup, step back, off, acknowledge:
    rows and ledger.
    """
    before = len(ledger(lab))
    room.press("Raise to 25 %")
    expect(page.get_by_text("no complaints", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Yes, raise it")).to_be_hidden()
    room.press("Close")
    assert len(ledger(lab)) == before, "a dry run leaves nothing"
    for press, confirm, answer in (
        ("Check now", "", "check"),
        ("Evaluate the phase", "", "PASSED"),
        ("Attest no complaints", "Yes, attest", "stated complaints: none"),
    ):
        room.press(press)
        if confirm:
            room.press(confirm)
        room.says(answer)
        expect(page.locator(".cr-said", has_text="◌")).to_have_count(0)
    room.press("Raise to 25 %")
    expect(page.get_by_text(ALL_MET)).to_be_visible()
    room.picture("raise")
    room.press("Yes, raise it")
    room.says("A reason is missing")
    page.get_by_label("Reason").fill(MARKUP)
    room.press("Yes, raise it")
    room.says("Routing is at 25 % (was 10 %)")
    assert (float(lab.today.routing()[0]), lab.today.routing()[1]) == (25.0, True)
    room.press("Step back to 10 %")
    page.get_by_label("Reason").fill(MARKUP)
    room.press("Yes, step back")
    room.says("Routing is at 10 %")
    expect(room.room.get_by_text(MARKUP).first).to_be_visible()
    assert room.room.locator("b", has_text="four").count() == 0
    assert page.title() != "1"
    entries = ledger(lab)[before:]
    assert [entry["operation"] for entry in entries] == [
        "monitor",
        "evaluate",
        "complaints",
        "change",
        "rollback",
    ]
    assert [entry["kind"] for entry in entries][3:] == ["checkpoint", "checkpoint"]
    assert entries[3]["change"]["reason"] == MARKUP
    assert {entry.get("operator") or entry["by"] for entry in entries} == {"Rita"}


def test_an_inconclusive_phase_is_acknowledged_by_name_and_passes_then(lab, page, room):
    """One failing webhook: UNDECIDED; a named person takes it on with a reason, on the ledger;
    then it passes.
    """
    lab.today.sql(
        "UPDATE webhook_routing_logs SET status = 'error', error_message = 'upstream timeout' WHERE"
        " id = (SELECT max(id) FROM webhook_routing_logs WHERE routed_to = 'unified' AND created_at"
        " < now() - interval '30 minutes')"
    )
    room.press("Acknowledge")
    room.says("Nothing waits for a named person now")
    room.press("Attest no complaints")
    room.press("Yes, attest")
    room.says("stated complaints: none")
    room.press("Evaluate the phase")
    room.says("UNDECIDED")
    expect(room.room.locator(".cr-steps tr", has_text="UNDECIDED")).to_be_visible()
    room.picture("inconclusive")
    room.press("Acknowledge")
    expect(page.locator(".cr-ask")).to_contain_text("the phase was evaluated UNDECIDED at")
    room.press("Yes, acknowledge")
    room.says("A reason is missing")
    page.get_by_label("Reason").fill("one webhook failed; its retry served the customer")
    room.picture("acknowledge")
    room.press("Yes, acknowledge")
    room.says("stated acknowledgement: inconclusive")
    stated = ledger(lab)[-1]
    assert (stated["kind"], stated["by"], stated["reason"]) == (
        "acknowledgement",
        "Rita",
        "one webhook failed; its retry served the customer",
    )
    expect(
        room.room.locator(".cr-steps").get_by_text("inconclusive (one webhook failed;")
    ).to_be_visible()
    room.press("Evaluate the phase")
    room.says("PASSED")
    assert ledger(lab)[-1]["state"] == "PASS"


def test_an_emergency_takes_one_press_and_one_confirmation_while_a_refresh_hangs(lab, page, room):
    """The log locked and the looking process frozen: routing goes off all the same; then a restart
    is owed.
    """
    with holding(lab, "LOCK TABLE webhook_routing_logs IN ACCESS EXCLUSIVE MODE"):
        [frozen, *_] = waiting(lab, 1, page)
        os.kill(frozen, signal.SIGSTOP)
        try:
            room.press("Emergency")
            room.press("Yes, routing off now")
            room.says("ROUTING IS OFF")
            assert (float(lab.today.routing()[0]), lab.today.routing()[1]) == (0.0, False)
            expect(page.get_by_text("NOT CURRENT: nothing new since")).to_be_visible()
        finally:
            os.kill(frozen, signal.SIGCONT)
    last = ledger(lab)[-1]
    assert (last["operation"], last["operator"], last["change"]["applied"]) == (
        "rollback",
        "Rita",
        True,
    )
    expect(room.room.locator(".cr-tiles").get_by_text("off", exact=True)).to_be_visible()
    expect(room.room.locator(".cr-charts svg")).to_have_count(5)
    room.press("Acknowledge")
    page.get_by_label("Reason").fill("unified is mended")
    room.press("Yes, acknowledge")
    room.says("stated restart: after rollback")
    assert ledger(lab)[-1]["subject"] == "restart"


def test_gates_that_arrive_late_never_stand_in_the_place_of_the_emergency(lab, page, room):
    """Raise is pressed, its gates wait for a lock, Emergency is pressed: its question stays, and it
    is done.
    """
    ready_to_raise(lab)
    with holding(lab, "LOCK TABLE webhook_routing_logs IN ACCESS EXCLUSIVE MODE"):
        room.press("Raise to 25 %")
        waiting(lab, 1, page)
        room.press("Emergency")
        expect(page.get_by_role("button", name="Yes, routing off now")).to_be_visible()
    room.says("Something else was pressed meanwhile")
    expect(page.get_by_role("button", name="Yes, raise it")).to_have_count(0)
    room.press("Yes, routing off now")
    room.says("ROUTING IS OFF")
    assert (float(lab.today.routing()[0]), lab.today.routing()[1]) == (0.0, False)


def test_of_two_who_raise_at_once_one_wins_and_the_other_is_told_who_and_when(lab, page, browser):
    """Both confirm the same raise behind one lock: it is done once, and the loser reads by whom and
    when.
    """
    _check_of_the_slot(lab)
    ready_to_raise(lab)
    other_path = "50_control_room_other.ipynb"
    copy = nbformat.read(lab.root / NOTEBOOK, 4)
    copy.cells[1].source += '\noperator = "Otto"'
    nbformat.write(copy, lab.root / other_path)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    rooms = [Shown(lab, page), Shown(lab, context.new_page(), other_path)]
    for one in rooms:
        one.press("Raise to 25 %")
        expect(one.page.get_by_text(ALL_MET)).to_be_visible()
        one.page.get_by_label("Reason").fill("next phase")
    with holding(lab, "SELECT 1 FROM webhook_routing_config FOR UPDATE"):
        for one in rooms:
            one.press("Yes, raise it")
        waiting(lab, 1, page)
    for one in rooms:
        expect(
            one.page.locator(".cr-said").filter(has_text=re.compile("^[✓✗] raise, "))
        ).to_be_visible()
    applied = [entry for entry in ledger(lab) if (entry.get("change") or {}).get("applied")][1:]
    assert len(applied) == 1, [one.page.locator(".cr-said").all_inner_texts() for one in rooms]
    winner = applied[0]["operator"]
    loser = rooms[1] if winner == "Rita" else rooms[0]
    expect(loser.page.locator(".cr-said")).to_contain_text(f"Not by you. {winner} was first, ")
    expect(loser.page.locator(".cr-said")).to_contain_text("Routing is at 25 % (was 10 %)")
    assert float(lab.today.routing()[0]) == 25.0
    context.close()
    (lab.root / other_path).unlink()


def test_a_database_that_is_away_is_said_and_the_old_figures_are_greyed(lab, page, room, server):
    """Since when, over greyed figures that are never shown as current; and live again when it is
    back.
    """
    name = psycopg.conninfo.conninfo_to_dict(lab.today.address)["dbname"]
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        expect(page.get_by_text("NOT CURRENT since")).to_be_visible()
        expect(room.room.locator(".cr-veil")).to_have_css("opacity", "1")
        expect(page.get_by_text("● Live")).to_have_count(0)
        expect(room.room.get_by_text("SELECT set_routing_enabled(false")).to_be_visible()
        room.picture("away")
        room.press("Check now")
        room.says("is not open to this suite")
        admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        expect(page.get_by_text("● Live")).to_be_visible()
        expect(page.get_by_text("NOT CURRENT since")).to_have_count(0)


def test_a_kernel_that_is_restarted_in_mid_action_leaves_nothing_half_done(lab, page, room):
    """It dies while its change waits for a lock: no change, no entry; the page says that it is not
    current.
    """
    ready_to_raise(lab)
    before = ledger(lab)
    room.press("Raise to 25 %")
    expect(page.get_by_text(ALL_MET)).to_be_visible()
    page.get_by_label("Reason").fill("next phase")
    with holding(lab, "SELECT 1 FROM webhook_routing_config FOR UPDATE"):
        room.press("Yes, raise it")
        waiting(lab, 1, page)
        [kernel] = [
            one["kernel"]["id"]
            for one in lab.call("GET", "api/sessions").json()
            if one["path"] == lab.shown(NOTEBOOK)
        ]
        assert lab.call("POST", f"api/kernels/{kernel}/restart").status_code == 200
    # By the browser itself; or the dying kernel's last word was that it cannot look.
    expect(page.locator(".cr-away:visible, .cr-veil b:visible").first).to_contain_text(
        "NOT CURRENT"
    )
    assert ledger(lab) == before
    assert (float(lab.today.routing()[0]), lab.today.routing()[1]) == (10.0, True)
    lab.until_idle(page, NOTEBOOK)
    room.run()
    expect(room.room).to_contain_text("phase 1 of 4")


def test_a_server_that_is_gone_and_a_login_that_expired_are_said_over_greyed_figures(
    today, page, tmp_path
):
    """JupyterLab ends, and is there again with another token: the open page stays NOT CURRENT, a
    new one is live.
    """
    port, stale = free_port(), page.locator(".cr-veil b:visible, .cr-away:visible")
    with running_lab(today, tmp_path, port=port) as (lab, _):
        page.goto(f"{lab.address}lab?token={lab.token}")
        expect(page.get_by_text("● Live")).to_be_visible()
        expect(page.locator(".cr-veil")).to_have_css("opacity", "0")
    expect(stale).to_contain_text("NOT CURRENT")
    expect(page.locator(".cr-veil")).to_have_css("opacity", "1")
    with running_lab(today, tmp_path, port=port) as (other, _):
        assert other.token != lab.token
        with page.expect_response(lambda answer: answer.status == 403, timeout=PATIENCE):
            pass  # the page asks again by itself, and is refused
        before = ledger_of(today)
        page.locator(".ro-room").get_by_role("button", name="Check now").dispatch_event("click")
        expect(stale).to_contain_text("this page's login has expired")
        expect(page.locator(".cr-veil")).to_have_css("opacity", "1")
        if folder := os.environ.get("ROLLOUT_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / "login-expired.png")
        assert ledger_of(today) == before
        page.goto(f"{other.address}lab?token={other.token}")
        expect(page.locator(".cr-veil")).to_have_css("opacity", "0")
        expect(page.get_by_text("● Live")).to_be_visible()


def ledger_of(day) -> list[tuple]:
    return day.sql("SELECT seq, hash FROM rollout.ledger ORDER BY seq")


def test_what_was_confirmed_before_a_sleep_is_not_acted_on_after_it(lab, page, room):
    """The laptop sleeps with a raise and its confirmation on the way; on waking it is too old, and
    says so.
    """
    ready_to_raise(lab)
    before = ledger(lab)
    room.press("Raise to 25 %")
    expect(page.get_by_text(ALL_MET)).to_be_visible()
    page.get_by_label("Reason").fill("next phase")
    kernels = _kernels(lab.root / NOTEBOOK)
    for pid in kernels:
        os.kill(pid, signal.SIGSTOP)
    try:
        room.press("Yes, raise it")
        time.sleep(VALID.total_seconds() + 1)  # the cause that is tested, not a measure
    finally:
        for pid in kernels:
            os.kill(pid, signal.SIGCONT)
    room.says("Nothing was done")
    assert ledger(lab) == before
    assert (float(lab.today.routing()[0]), lab.today.routing()[1]) == (10.0, True)


def _kernels(notebook: Path) -> list[int]:
    """The processes that Jupyter started for a notebook."""
    name, found = f"JPY_SESSION_NAME={notebook}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_kernel = b"ipykernel" in (folder / "cmdline").read_bytes()
            if is_kernel and name in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    assert found, f"no kernel of {notebook}"
    return found


def test_it_can_be_worked_by_keyboard_alone_and_in_the_dark(lab, page, room):
    """Tab reaches each button, Enter presses it, and a letter that is typed there
    deletes no cell.
    """
    raw = json.dumps({"theme": "JupyterLab Dark"})
    page.evaluate(
        """raw => fetch('/lab/api/settings/@jupyterlab/apputils-extension:themes', {method: 'PUT',
        body: JSON.stringify({raw}), headers: {'X-XSRFToken': document.cookie.match(/_xsrf=([^;]+)/)?.[1] || ''}})""",
        raw,
    )
    room = Shown(lab, page)
    expect(page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    cells = page.locator(".jp-Cell").count()
    page.get_by_role("button", name="Emergency").focus()
    reached = []
    for _ in range(7):
        reached.append(page.evaluate("document.activeElement.textContent"))
        page.keyboard.press("d")
        page.keyboard.press("d")
        page.keyboard.press("Tab")
    assert [words.split()[-2 if words.endswith("…") else -1] for words in reached] == [
        "off",
        "now",
        "phase",
        "%",
        "%",
        "complaints",
        "Acknowledge",
    ]
    assert page.locator(".jp-Cell").count() == cells
    page.get_by_role("button", name="Attest").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Yes, attest")).to_be_focused()
    page.keyboard.press("Enter")
    room.says("stated complaints: none")
    room.picture("dark")
