"""A gate that asks an address of ours: real HTTP, and anything but a clear yes is no."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rollout_lib import operations as op
from rollout_lib.plan import GatePlan

pytestmark = pytest.mark.one_server
YES = (200, b'{"allow": true, "reason": "INC board is empty"}')


class Board:
    """What answers, and what it was asked."""

    def __init__(self) -> None:
        self.answer, self.waits, self.drips, self.asked = YES, 0.0, 0.0, []
        board = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                board.asked.append((self.command, dict(self.headers), self.rfile.read(length)))
                time.sleep(board.waits)
                status, body = board.answer
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/yes")
                self.end_headers()
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(board.drips)

            do_GET = do_POST

            def log_message(self, *args) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/may-it-rise"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board()
    yield made
    made.server.shutdown()


def changed(evening, *gates: GatePlan, to: int = 25, dry_run: bool = False):
    session = evening.session()
    session = replace(session, plan=session.plan.model_copy(update={"gates": gates}))
    return op.change_percentage(
        session, to=Decimal(to), reason="scaling", dry_run=dry_run
    ).checkpoint


def gate(board: Board, **how) -> GatePlan:
    return GatePlan(name="incidents", url=board.url, **how)


def test_a_clear_yes_lets_it_rise_and_what_was_asked_is_signed(evening, board, monkeypatch):
    """The facts as JSON; the signature is of the bytes that came."""
    monkeypatch.setenv("ROLLOUT_GATE_SECRET", "of the board")
    evening.attest()
    done = changed(evening, gate(board))
    assert done.change.applied
    (said,) = [one for one in done.change.gates if one.name == "asked: incidents"]
    assert "INC board is empty" in said.reason
    (method, headers, body), *_ = board.asked
    digest = hmac.new(b"of the board", body, hashlib.sha256).hexdigest()
    assert (method, headers["X-Hub-Signature-256"]) == ("POST", f"sha256={digest}")
    facts = json.loads(body)
    assert (facts["from"], facts["to"], facts["rollout"]) == ("10", "25", "week6-unified")


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""),
        (200, b"yes"),
        (200, b'{"allow": "true"}'),
        (200, b'{"allow": 1}'),
        (200, b'{"allow": false, "reason": "INC-7"}'),
        (200, b'["allow"]'),
        (201, b'{"allow": true}'),
        (302, b'{"allow": true}'),
        (500, b'{"allow": true}'),
        (200, b'{"allow": true, "reason": "' + b"x" * 20_000 + b'"}'),
    ],
    ids=range(10),
)
def test_anything_else_is_no(evening, board, answer):
    """And nothing is changed; which gate it was is named."""
    board.answer = answer
    evening.attest()
    before = evening.configuration()
    done = changed(evening, gate(board))
    unmet = [one.name for one in done.change.gates if not one.met]
    assert (done.exit_code, unmet) == (60, ["asked: incidents"])
    assert evening.configuration() == before


def test_nobody_there_or_too_slow_is_no(evening, board):
    """One gate of two is enough to refuse; the slow one is waited for as long as it may take."""
    board.waits = 3
    away = GatePlan(name="nobody", url="http://127.0.0.1:9/x")
    evening.attest()
    done = changed(evening, gate(board, timeout=timedelta(seconds=1)), away)
    unmet = {one.name for one in done.change.gates if not one.met}
    assert unmet == {"asked: incidents", "asked: nobody"}


def test_a_yes_that_comes_by_the_byte_is_no(evening, board):
    """Each byte in time, all of them not."""
    board.drips = 0.2
    evening.attest()
    done = changed(evening, gate(board, timeout=timedelta(seconds=1)))
    assert [one.name for one in done.change.gates if not one.met] == ["asked: incidents"]


def test_a_lowering_asks_nobody(evening, board):
    """Down is down, whatever the board says."""
    board.answer = (500, b"")
    evening.attest()
    assert evening.raise_to(25).change.applied
    done = changed(evening, gate(board), to=10)
    assert done.change.after == (10, True)
    assert changed(evening, gate(board), to=0).change.after[1] is False
    assert board.asked == []


def test_get_sends_no_body(evening, board):
    """For what only answers."""
    evening.attest()
    assert changed(evening, gate(board, method="GET"), dry_run=True).exit_code == 0
    assert board.asked[0][0] == "GET"
    assert board.asked[0][2] == b""
