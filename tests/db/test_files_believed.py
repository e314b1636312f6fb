"""Files below `outputs/` are anybody's: of what waits there for the ledger, nothing raises.

Begun from an evaluated 10 % phase, 13:00 on Day 3, which each test copies."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib import spool
from rollout_lib.database.ledger import append, read_facts
from rollout_lib.judgement.state import fold
from rollout_lib.model import Entry, Unreadable

pytestmark = pytest.mark.one_server
RUNS = ("checkpoint", "extra", "attempt")
KEPT = "SELECT kind, operation FROM rollout.ledger WHERE run_id LIKE 'planted%' ORDER BY seq"


def plant(day, name: str, *, body: dict | str, **entry) -> None:
    """A file as a thief would write it, for this ledger, at the day's instant."""
    run_id = f"planted-{name}"
    whole: dict = {
        "kind": "checkpoint",
        "operation": "monitor",
        "rollout": day.session().plan.rollout,
        "at": day.now.isoformat(),
        "phase_began": began(day),
        "slot": None,
        "run_id": run_id,
        "ledger": day.session().database.ledger,
    } | entry
    if isinstance(body, dict):
        known = {"run_id": run_id, "operation": whole["operation"], "kind": whole["kind"]}
        body = json.dumps(a_run(day) | known | body if whole["kind"] in RUNS else known | body)
    spool.folder().mkdir(parents=True, exist_ok=True)
    (spool.folder() / f"{name}.json").write_text(json.dumps(whole | {"body": body}))


def a_run(day) -> dict:
    """The newest check's own body, as a file of a real run has it; it claims no slot."""
    newest = "SELECT body FROM rollout.ledger WHERE operation = 'monitor' ORDER BY seq DESC LIMIT 1"
    body = json.loads(day.sql(newest)[0][0])
    at = day.now.isoformat()
    return body | {"slot": None, "look": None, "at": at, "recorded_at": at}


def standing(day):
    session = day.session()
    with session.database.transaction(readonly=True) as connection:
        return fold(read_facts(connection, session.plan).entries, session.plan)


def began(day) -> str | None:
    phase = standing(day).phase
    return phase.began_at.isoformat() if phase else None


def check(day, minutes: int = 15):
    """The next check, before which files are appended; what it says stays of them."""
    day.goes_on(minutes)
    done = op.monitor(day.session())
    return [line for line in done.told if "stays" in line]


def change_to(percentage, enabled=True, before=(10, True), applied=True):
    row = [str(percentage), enabled]
    return {
        "before": [str(before[0]), before[1]],
        "asked": row,
        "after": row,
        "applied": applied,
        "reason": "planted",
        "gates": [],
        "detail": "",
    }


UP = {
    "a change": {"operation": "change", "body": {"state": "PASS", "change": change_to(25)}},
    "a change to the same": {
        "operation": "change",
        "body": {"state": "PASS", "change": change_to(10)},
    },
    "a rollback that ends higher": {
        "operation": "rollback",
        "body": {"state": "STEP_BACK", "change": change_to(50, before=(60, True))},
    },
    "a rollback to the same, which would clear a latch": {
        "operation": "rollback",
        "body": {"state": "STEP_BACK", "change": change_to(10, before=(60, True))},
    },
    "a check that adopted more": {
        "body": {"state": "HOLD", "adopted": {"percentage": "25", "enabled": True}}
    },
    "enabled in words": {
        "operation": "rollback",
        "body": {"state": "ROLL_BACK", "change": change_to(25, "yes")},
    },
    "a pass": {"operation": "evaluate", "body": {"state": "PASS"}},
    "an inconclusive end": {
        "operation": "evaluate",
        "body": {
            "state": "INCONCLUSIVE",
            "evidence": {"phase": {"bad": 9, "total": 10, "percentage": "10"}},
        },
    },
    "a pass that lowers": {
        "operation": "evaluate",
        "body": {"state": "PASS", "change": change_to(0, False)},
    },
    "a passed pre-flight": {"operation": "preflight", "body": {"state": "PASS"}},
    "an extra check that is well": {"kind": "extra", "body": {"state": "CLEAN"}},
    "a state of nobody": {"body": {"state": "SPLENDID"}},
    "an operation of nobody": {"operation": "bless", "body": {"state": "HOLD"}},
    "a kind of nobody": {"kind": "Checkpoint", "body": {"state": "HOLD"}},
    "a message": {
        "kind": "message",
        "operation": "sent",
        "body": {"subject": "x", "text": "x", "recipients": []},
    },
    "a missed slot": {"kind": "missed", "body": {"reason": "x"}},
    "an attestation": {
        "kind": "attestation",
        "operation": "complaints",
        "body": {
            "subject": "complaints",
            "value": "none",
            "by": "Rita",
            "reason": "asked",
            "plan_digest": "x",
        },
    },
    "a restart": {
        "kind": "acknowledgement",
        "operation": "restart",
        "body": {
            "subject": "restart",
            "value": "after rollback",
            "by": "Rita",
            "reason": "x",
            "plan_digest": "x",
        },
    },
    "an approval": {"kind": "approval", "operation": "approve", "body": {"by": "Rita"}},
    "an attempt that changed": {"kind": "attempt", "body": {"change": change_to(25)}},
    "one thing twice": {"body": "twice"},
    "two operations": {"body": {"operation": "evaluate", "state": "HOLD"}},
    "another run": {"body": {"run_id": "x", "state": "HOLD"}},
    "another rollout": {"rollout": "other", "body": {"state": "HOLD"}},
    "no number": {"body": {"state": "HOLD", "evidence": {"x": float("nan")}}},
    "no object": {"body": "[1]"},
    "another field": {"approved": True, "body": {"state": "HOLD"}},
    "archived without its run": {"kind": "archived", "body": {"files": {}}},
    "of next year": {"at": "2099-01-01T00:00:00+00:00", "body": {"state": "HOLD"}},
}


@pytest.mark.parametrize("name", UP)
def test_what_could_let_traffic_rise_is_not_taken_from_a_file(evening, name):
    """It stays, is named, and the standing is as if it were not there."""
    before, planted = standing(evening), dict(UP[name])
    if planted["body"] == "twice":
        planted["body"] = json.dumps(a_run(evening))[:-1] + ', "state": "HOLD"}'
    plant(evening, "1_planted_1", **planted)
    left = check(evening)
    assert [line.split()[0].rsplit("/")[-1] for line in left] == ["1_planted_1.json"]
    assert len(spool.waiting()) == 1
    assert evening.sql(KEPT) == []
    after = standing(evening)
    for part in ("last_change", "phase", "highest_passed", "evaluation", "latched", "slots_done"):
        assert getattr(after, part) == getattr(before, part), part
    assert after.attestations == before.attestations


def test_three_planted_files_do_not_raise(evening):
    """A rollback, its restart, and what customers say, all from files: no gate opens by them."""
    op.roll_back(evening.session(), reason="errors")
    plant(evening, "1_restart_1", **UP["a restart"])
    plant(evening, "2_none_1", **UP["an attestation"])
    plant(evening, "3_change_1", **UP["a change"])
    check(evening, 5)
    assert evening.unmet(10) == {"no rollback stands", "no complaints"}
    assert len(spool.waiting()) == 3


LOWERED = {
    "off": ({"state": "OFF", "change": change_to(0, False)}, (Decimal(0), False)),
    "one phase down": ({"state": "STEP_BACK", "change": change_to(5)}, (Decimal(5), True)),
}


@pytest.mark.parametrize("name", LOWERED)
def test_a_lowering_is_taken_from_a_file(evening, name):
    """Off, or less than is legal: on the ledger, and the file is gone."""
    body, after = LOWERED[name]
    plant(evening, "1_planted_1", operation="rollback", body=body)
    assert check(evening) == []
    assert evening.sql(KEPT) == [("checkpoint", "rollback")]
    assert (standing(evening).last_change[1:], spool.waiting()) == (after, [])


@pytest.mark.parametrize("operation", ["monitor", "evaluate", "preflight"])
def test_a_hold_is_taken_from_a_file(evening, operation):
    """It revokes the pass, or is the last evaluation; nothing is raised after it."""
    plant(evening, "1_planted_1", operation=operation, body={"state": "HOLD"})
    assert check(evening, 1) == []
    assert evening.sql(KEPT) == [("checkpoint", operation)]
    evening.attest()
    assert operation == "preflight" or "phase passed" in evening.unmet()


def test_a_kept_check_accounts_for_no_slot(evening):
    """A scheduled check that is well, from a file: an extra one, its slot stays missing."""
    evening.goes_on(15)
    slot = evening.now.isoformat()
    plant(evening, "1_planted_1", slot=slot, body={"slot": slot, "state": "CLEAN_UNPROVEN"})
    evening.goes_on(15)
    assert check(evening, 0) == []
    assert evening.sql(KEPT) == [("extra", "monitor")]
    assert slot not in [item.isoformat() for item in standing(evening).slots_done]
    evening.attest()
    assert "slots accounted for" in evening.unmet()


def test_a_lowering_of_a_time_to_come_is_not_taken_from_a_file(evening):
    """Stamped hours ahead it would hide what is switched off until then: named, and it stays."""
    ahead = (evening.now + timedelta(hours=3)).isoformat()
    body = {"state": "OFF", "change": change_to(0, False), "at": ahead, "recorded_at": ahead}
    plant(evening, "1_planted_1", operation="rollback", at=ahead, body=body)
    assert "time to come" in check(evening)[0]
    assert evening.sql(KEPT) == []


def test_an_entry_stamped_after_it_was_recorded_cannot_be_read(evening):
    """Whoever may append can write any instant: an off of tomorrow is no off, and is told."""
    plan = evening.session().plan
    entry = {"kind": "checkpoint", "operation": "rollback", "phase_began": None, "slot": None}
    ahead = (datetime.now(UTC) + timedelta(hours=30)).isoformat()
    body = a_run(evening) | {"operation": "rollback", "run_id": "planted", "phase": None}
    body |= {"at": ahead, "recorded_at": ahead, "change": change_to(0, False), "state": "OFF"}
    entry |= {"rollout": plan.rollout, "at": ahead, "run_id": "planted", "body": json.dumps(body)}
    with evening.session().database.transaction(readonly=False) as connection:
        append(connection, **entry)
        for environment, kind in (("rehearsal", Entry), ("production", Unreadable)):
            facts = read_facts(connection, plan.model_copy(update={"environment": environment}))
            assert isinstance(facts.entries[-1], kind)
    assert "later than the entry was recorded" in facts.entries[-1].why


def test_what_a_machine_of_another_clock_appends_can_be_read(evening):
    """A run that died, a lease: of the machine's clock, and no verdict follows from their instant."""
    plan = evening.session().plan
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    entry = {"kind": "attempt", "operation": "monitor", "phase_began": None, "slot": None}
    entry |= {"rollout": plan.rollout, "at": ahead, "run_id": "died"}
    body = {"run_id": "died", "files": {}, "notebook": "20_monitor", "died": "killed"}
    with evening.session().database.transaction(readonly=False) as connection:
        append(connection, **entry, body=json.dumps(body))
        facts = read_facts(connection, plan.model_copy(update={"environment": "production"}))
    assert isinstance(facts.entries[-1], Entry), facts.entries[-1]


def test_a_file_that_is_no_file_is_not_waited_for(evening):
    """A pipe, a link and eight megabytes of nothing: named, and the check goes on."""
    folder = spool.folder()
    folder.mkdir(parents=True)
    os.mkfifo(folder / "1_pipe_1.json")
    (folder / "2_link_1.json").symlink_to("/etc/hostname")
    with open(folder / "3_huge_1.json", "wb") as file:
        file.truncate(9 << 20)
    assert len(check(evening)) == 3


def test_good_news_of_a_kept_check_does_not_hide_a_webhook_that_is_down(evening):
    """A protected endpoint failed once; a file says that it answered: one more failure is two."""

    def probed(outcome: str) -> dict:
        verdict = a_run(evening)["verdict"]
        named = {"name": "protected:mobility", "kind": "probe", "subject": "mobility"}
        check = verdict["checks"][0] | named | {"outcome": outcome}
        return {"verdict": verdict | {"checks": [check]}}

    plant(evening, "1_failed_1", body=probed("FAIL") | {"state": "HOLD"})
    assert check(evening, 1) == []
    slot = evening.now.isoformat()
    plant(evening, "2_well_1", slot=slot, body=probed("PASS") | {"slot": slot, "state": "CLEAN"})
    assert check(evening, 1) == []
    assert standing(evening).protected["mobility"].in_a_row == 1
