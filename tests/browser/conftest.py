"""A real JupyterLab on a day that is today, and a page of Debian's chromium that reaches nothing
but loopback.

One JupyterLab serves the whole session and one browser a file; each test that asks for the `lab`
gets a fresh copy of the day's database under the same name, a page in a context of its own, and no
kernel of the test before it.

    def test_…(lab, page):
        lab.open(page, "20_monitor.ipynb")
        lab.run_all(page)                     # waits until the last cell has run
        assert lab.today.routing() == …
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import nbformat
import psycopg
import pytest

from rollout_lib.rehearsal.server import drop_database
from tests.conftest import needs
from tests.notebooks.conftest import (  # noqa: F401  # fixtures of the day
    Today,
    go_on,
    morning,
    own_server,
    router_health,
    today,
)

FLAGS = (
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
)
HERE = Path(__file__).parent
PATIENCE = 120_000  # ms; a limit for what hangs, never a measure


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a browser belongs to `make test-all`."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


@dataclass(frozen=True, kw_only=True)
class Lab:
    """A running `rollout lab`: its address and token, the folder of its working copies, the day
    that kernels see.
    """

    address: str
    token: str
    root: Path
    today: Today

    def call(self, method: str, path: str) -> httpx2.Response:
        """Ask the server's own API."""
        with httpx2.Client(trust_env=False, timeout=30) as client:
            return client.request(
                method, f"{self.address}{path}", headers={"Authorization": f"token {self.token}"}
            )

    def url(self, path: str = "") -> str:
        """The page of a file below the root, in a workspace of its own so that nothing else is
        open.
        """
        return f"{self.address}lab/workspaces/{uuid.uuid4().hex[:8]}/tree/{self.shown(path)}?token={self.token}"

    def shown(self, path: str) -> str:
        """What JupyterLab calls a file below the root."""
        return f"working/{self.root.name}/{path}"

    def open(self, page, path: str) -> None:
        """Open a notebook in the page and wait until its kernel is idle."""
        page.goto(self.url(path))
        page.locator(".jp-Notebook").wait_for(timeout=PATIENCE)
        self.until_idle(page, path)

    def until_idle(self, page, path: str) -> None:
        """Wait, by the server's own word, until the kernel of an open notebook
        has nothing to do.
        """
        deadline = time.monotonic() + PATIENCE / 1000
        while time.monotonic() < deadline:
            kernels = [
                one["kernel"]
                for one in self.call("GET", "api/sessions").json()
                if one["path"] == self.shown(path)
            ]
            if kernels and kernels[0]["execution_state"] == "idle":
                return
            page.wait_for_timeout(100)
        pytest.fail(f"the kernel of {path} did not come to rest")

    def run_all(self, page) -> None:
        """Run All Cells, and wait until none of them is waiting or running: code that is folded
        shows no number.
        """
        page.get_by_role("menuitem", name="View", exact=True).click()
        page.get_by_role("menuitem", name="Expand All Code", exact=True).click()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_function(
            """() => {
                const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]
                    .map(one => one.textContent.trim());
                return prompts.length && prompts.every(text => /^\\[\\d+\\]:?$/.test(text))
                    || document.querySelector('.jp-OutputArea-output[data-mime-type*="stderr"], '
                        + '.jp-OutputArea-output[data-mime-type*="error"]');
            }""",
            timeout=PATIENCE,
        )

    def errors(self, page) -> list[str]:
        """What cells said on stderr or raised."""
        found = page.locator(
            '.jp-OutputArea-output[data-mime-type*="stderr"], '
            '.jp-OutputArea-output[data-mime-type*="error"]'
        )
        return found.all_inner_texts()

    def saved(self, page, path: str) -> nbformat.NotebookNode:
        """Save, wait until the server has written it, and read it."""
        with page.expect_response(
            lambda answer: answer.request.method == "PUT" and "/contents/" in answer.url
        ):
            page.keyboard.press("Control+s")
        return nbformat.read(self.root / path, 4)

    def quit_kernels(self) -> None:
        """End every notebook's kernel."""
        for one in self.call("GET", "api/sessions").json():
            self.call("DELETE", f"api/sessions/{one['id']}")


def set_day(server: str, template: str, name: str) -> None:
    """The database `name` is a fresh copy of the day again."""
    drop_database(server, name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')


@contextmanager
def traffic(day: Today) -> Iterator[None]:
    """Requests arrive until the block ends: a log that falls silent is a finding of its own."""
    ended = threading.Event()

    def arrive() -> None:
        while not ended.wait(2):
            go_on(day.address)

    arriving = threading.Thread(target=arrive, daemon=True)
    arriving.start()
    try:
        yield
    finally:
        ended.set()
        arriving.join()


@contextmanager
def running_lab(
    day: Today, place: Path, *, port: int = 0
) -> Iterator[tuple[Lab, subprocess.Popen]]:
    """A `rollout lab` of one's own, on a port of its own: the lab and the command's process."""
    log = place / f"lab_{uuid.uuid4().hex[:8]}.log"
    day.outputs.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        **day.environment,
        "COLUMNS": "500",
        "JUPYTERLAB_SETTINGS_DIR": str(place / "settings"),
    }
    command = [
        sys.executable,
        "-m",
        "rollout_lib",
        "lab",
        "--no-browser",
        "--operator",
        "Rita",
        f"--port={port or free_port()}",
    ]
    with open(log, "w") as said:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
    try:
        address, token = _told(log, process)
        root = next((day.outputs / "working").iterdir())
        yield Lab(address=address, token=token, root=root, today=day), process
    finally:
        process.terminate()
        process.wait(timeout=120)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def _lab(server, morning, tmp_path_factory) -> Iterator[Lab]:  # noqa: F811  # the fixture, by its name
    file, template = morning
    place = tmp_path_factory.mktemp("lab")
    name = f"rehearsal_{uuid.uuid4().hex[:12]}"
    set_day(server, template, name)
    day = Today(
        plan=file,
        address=psycopg.conninfo.make_conninfo(server, dbname=name),
        outputs=place / "outputs",
    )
    with running_lab(day, place) as (lab, _):
        yield lab
    drop_database(server, name)


def _told(log: Path, process: subprocess.Popen) -> tuple[str, str]:
    """Where the server listens and the session's token, once the command says so."""
    for _ in range(1800):
        if told := re.search(
            r"JupyterLab: (http://127\.0\.0\.1:\d+/)lab\?token=(\w+)\n", log.read_text()
        ):
            return told[1], told[2]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def lab(_lab, server, morning, monkeypatch) -> Iterator[Lab]:  # noqa: F811  # the fixture, by its name
    """The session's JupyterLab on a fresh copy of the day: 10 % since four hours, every slot
    checked.

    No kernel of before, and the working copies as they were made: what a test saved is of its own
    day."""
    _lab.quit_kernels()
    for model in Path("notebooks").glob("*.ipynb"):
        (_lab.root / model.name).write_bytes(model.read_bytes())
    set_day(server, morning[1], psycopg.conninfo.conninfo_to_dict(_lab.today.address)["dbname"])
    # The heads that were seen last are of the day before it was set back.
    shutil.rmtree(_lab.today.outputs / "heads", ignore_errors=True)
    for key, value in _lab.today.environment.items():
        monkeypatch.setenv(key, value)
    go_on(_lab.today.address)
    with traffic(_lab.today):
        yield _lab
    _lab.quit_kernels()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Debian's chromium by Playwright, for a file: while it is there, no other event loop can run
    in this thread.
    """
    program = needs("chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A page of 1280 by 900 in a context of its own; a request that leaves this machine fails the
    test.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    left: list[str] = []
    context.on("request", lambda request: _is_ours(request.url) or left.append(request.url))
    yield context.new_page()
    context.close()
    assert not left, f"requests left this machine: {left}"


def _is_ours(url: str) -> bool:
    return url.startswith(
        ("http://127.0.0.1:", "ws://127.0.0.1:", "http://localhost:", "file:", "data:", "blob:")
    )


def set_theme(page, theme: str) -> None:
    """Settings > Theme > JupyterLab Light or Dark, in the open page."""
    page.get_by_role("menuitem", name="Settings", exact=True).click()
    page.locator(".lm-Menu-item", has_text=re.compile("^Theme$")).hover()
    page.locator(".lm-Menu-item", has_text=f"JupyterLab {theme}").first.click()
    light = "true" if theme == "Light" else "false"
    page.locator(f'body[data-jp-theme-light="{light}"]').wait_for(
        state="attached", timeout=PATIENCE
    )
    page.wait_for_timeout(500)  # the theme's own transition


@pytest.fixture
def rollout(lab):
    """The command in the lab's environment."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rollout_lib", *arguments], capture_output=True, text=True
        )

    return run
