"""Messages on real servers: a database, an SMTP server and an HTTP endpoint on loopback."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from email import message_from_bytes

import pytest
from aiosmtpd.controller import Controller

from rollout_lib import operations as op
from rollout_lib.database import outbox
from rollout_lib.model import State
from rollout_lib.notify import send
from rollout_lib.notify.send import tell

pytestmark = [
    pytest.mark.slow,
    pytest.mark.one_server,
    pytest.mark.filterwarnings(
        "ignore:'imghdr' is deprecated:DeprecationWarning"  # Apprise's own import
    ),
]


class Mailbox:
    """What an SMTP server took."""

    def __init__(self) -> None:
        self.mails = []

    async def handle_DATA(self, server, session, envelope) -> str:
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture
def mailbox():
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    box.address = f"mailto://127.0.0.1:{port}?from=rollout@example.org&to=team@example.org"
    yield box
    controller.stop()


def test_a_start_reaches_the_mailbox_and_the_hook(rollout, hook, mailbox, monkeypatch):
    """The runbook's first message arrives by e-mail and by HTTP, with the ledger's head in it."""
    monkeypatch.setenv(send.VARIABLE, f"{hook.address}\n{mailbox.address}")
    done, lines = rollout.start()
    assert lines == ["Week 6 Traffic Rollout Started - 10%: 2 of 2 recipients reached"]
    assert (
        hook.subjects
        == [mail["Subject"] for mail in mailbox.mails]
        == ["Week 6 Traffic Rollout Started - 10%"]
    )
    assert f"Ledger #{done.head[0]}:{done.head[1][:16]}" in hook.posts[0]["message"]
    assert [operation for operation, _ in rollout.ledger()] == ["sending", "sent"]
    assert "s3cret-token" not in json.dumps(rollout.ledger())


@pytest.mark.parametrize("rollout", ["single-error"], indirect=True)
def test_an_hour_of_watch_is_two_messages(rollout, hook, monkeypatch):
    """One failing webhook stays in the window for four checks: told when it begins and when it is
    over.
    """
    monkeypatch.setenv(send.VARIABLE, hook.address)
    rollout.start()
    states = [rollout.check()[0].checkpoint.state for _ in range(10)]
    assert states.count(State.WATCH) == 4
    assert hook.subjects[1:] == ["Week 6 - Watch at 10%", "Week 6 - Well again at 10%"]


@pytest.mark.parametrize("rollout", ["errors"], indirect=True)
def test_a_rollback_is_told_once_and_the_checks_after_it_are_silent(rollout, hook, monkeypatch):
    """The rollback's own message ends the condition; OFF is not news any more."""
    monkeypatch.setenv(send.VARIABLE, hook.address)
    rollout.start()
    for _ in range(10):
        rollout.check()
    assert hook.subjects[-1] == "Week 6 - ROLLED BACK, routing disabled"
    assert sum("ROLLED BACK" in subject for subject in hook.subjects) == 1
    assert not any("off" in subject for subject in hook.subjects)


def test_routing_switched_off_by_hand_is_told_by_the_next_check(rollout, hook, monkeypatch):
    """Nobody's run did it, so the first check that finds it says so, once."""
    monkeypatch.setenv(send.VARIABLE, hook.address)
    rollout.start()
    rollout.check()
    with rollout.database.transaction(readonly=False) as connection:
        connection.exec_driver_sql("SELECT set_routing_enabled(false, 'by hand')")
    for _ in range(3):
        rollout.check()
    assert hook.subjects[1:] == ["Week 6 - Routing is off"]


def test_what_could_not_be_sent_is_tried_again_and_arrives_once(
    rollout, hook, mailbox, monkeypatch
):
    """A hook that answers 503 gets the message at the next check; the mailbox is not written to
    twice.
    """
    monkeypatch.setenv(send.VARIABLE, f"{hook.address} {mailbox.address}")
    hook.answer = 503
    _, lines = rollout.start()
    assert len(lines) == 1
    assert lines[0].startswith(
        "Week 6 Traffic Rollout Started - 10%: 1 of 2 recipients reached; json:"
    )
    assert lines[0].endswith(" answered HTTP 503; tried again by the next run")
    rollout.check()
    hook.answer = 200
    rollout.check()
    rollout.check()
    assert len(mailbox.mails) == 1
    assert hook.subjects == ["Week 6 Traffic Rollout Started - 10%"]
    assert [operation for operation, _ in rollout.ledger()] == ["sending", "failed"] * 2 + [
        "sending",
        "sent",
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_expired_is_named_and_the_message_waits_for_the_new_one(
    rollout, hook, monkeypatch, status, caplog
):
    """Said in the run's result and on the ledger, without the address; with another token it
    arrives once.
    """
    monkeypatch.setenv(send.VARIABLE, hook.address)
    hook.answer = status
    done, lines = rollout.start()
    assert (
        f"answered HTTP {status} (is its token still valid?); tried again by the next run"
        in lines[0]
    )
    assert lines[0] in done._repr_mimebundle_()["text/plain"]
    assert f"HTTP {status}" in rollout.ledger()[-1][1]["why"][0]
    hook.answer = 200
    rollout.check()
    assert hook.subjects == ["Week 6 Traffic Rollout Started - 10%"]
    assert "s3cret-token" not in json.dumps([rollout.ledger(), lines]) + caplog.text


@pytest.mark.parametrize("rollout", ["drift"], indirect=True)
def test_what_lasts_is_escalated_once_whoever_looks(rollout, hook, monkeypatch):
    """Somebody sets 50 % from psql; two runners look at each slot, each by its own session: begun,
    and lasting.
    """
    rollout.start()
    monkeypatch.setenv(send.VARIABLE, hook.address)
    states = []
    for _ in range(14):
        rollout.world.advance(rollout.world.now + timedelta(minutes=15))
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(rollout.run, op.monitor, slot="now") for _ in range(2)]
        states += [run.result()[0].checkpoint.state for run in runs]
    assert states.count(State.STEP_BACK) >= 8
    assert hook.subjects == [
        "Week 6 - Step back asked at 50%",
        "Still: Week 6 - Step back asked at 50%",
    ]


def test_a_recipient_that_never_answers_keeps_no_run_waiting(rollout, hook, monkeypatch):
    """The run is done while the endpoint still holds its request; when it answers, the message has
    arrived once.
    """
    monkeypatch.setenv(send.VARIABLE, hook.address)
    monkeypatch.setattr(send, "PATIENCE", 0.05)
    hook.opens.clear()
    done, lines = rollout.start()
    assert (done.checkpoint.exit_code, hook.posts) == (0, [])
    assert lines == ["still sending; what does not get out is tried again"]
    hook.opens.set()
    for thread in [one for one in threading.enumerate() if "_send_all" in one.name]:
        thread.join(60)
    assert [operation for operation, _ in rollout.ledger()] == ["sending", "sent"]
    rollout.check()
    assert hook.subjects == ["Week 6 Traffic Rollout Started - 10%"]


def test_a_teller_that_died_is_succeeded_by_the_next_run(rollout, hook, monkeypatch):
    """Claimed and never sent: once the claim is old, the next run sends it."""
    monkeypatch.setenv(send.VARIABLE, hook.address)
    with monkeypatch.context() as killed:
        killed.setattr(
            send, "_send_all", lambda *_: None
        )  # kill -9 between the claim and the first address
        rollout.start()
    rollout.check()
    assert hook.posts == [], "another run may still be at it"
    monkeypatch.setattr(outbox, "CLAIM_VALID", -1)
    rollout.check()
    assert hook.subjects == ["Week 6 Traffic Rollout Started - 10%"]


def test_two_runners_tell_once(rollout, hook, monkeypatch):
    """Four tellers of the same checkpoint at the same time: one message."""
    session = rollout.session()
    op.attest(session, subject="complaints", value="none")
    done = op.change_percentage(session, to=Decimal(10), reason="start", dry_run=False)
    monkeypatch.setenv(send.VARIABLE, hook.address)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: tell(rollout.session(), done.checkpoint, done.head), range(4)))
    assert hook.subjects == ["Week 6 Traffic Rollout Started - 10%"]


def test_an_unreachable_or_nonsensical_address_never_fails_the_run(rollout, monkeypatch):
    """A closed port and a line that is no address: the run goes on, the ledger
    says that they wait.
    """
    monkeypatch.setenv(send.VARIABLE, "json://127.0.0.1:1/x nonsense")
    done, lines = rollout.start()
    assert done.checkpoint.exit_code == 0
    assert lines[0].startswith(
        "Week 6 Traffic Rollout Started - 10%: 0 of 2 recipients reached; json:"
    )
    assert "did not answer" in lines[0]
    assert "is no address that Apprise knows" in lines[0]
    assert "nonsense" not in lines[0]


def test_a_database_that_is_away_never_fails_the_teller(rollout, hook, monkeypatch):
    """Telling needs the database; without it a line says so and nothing is raised."""
    done, _ = rollout.start()
    monkeypatch.setenv(send.VARIABLE, hook.address)
    session = rollout.session()
    with rollout.database.transaction(readonly=False) as connection:
        connection.exec_driver_sql("ALTER SCHEMA rollout RENAME TO elsewhere")
    assert tell(session, done.checkpoint, done.head)[0].startswith("nobody was told: ")


def test_without_an_address_nothing_is_written(rollout, monkeypatch):
    """Nobody to tell: no message on the ledger, and no line."""
    monkeypatch.delenv(send.VARIABLE, raising=False)
    assert rollout.start()[1] == []
    assert rollout.ledger() == []
