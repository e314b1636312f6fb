"""What one check and a look at the status cost, by how much the ledger holds.

Run: python -m benchmarks.ledger [entries …, default 100 1000 3400]. A real morning's records
are moved back in time and repeated: once as one phase that is watched for as long, once as phases of
a day that all ended. Prints Markdown; benchmarks/README.md holds a dated copy."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.pairing import paired, table
from rollout_lib import operations as op
from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import Session, open_session
from rollout_lib.operations.status import look
from rollout_lib.plan import Plan, load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.server import create_database, embedded, stop
from rollout_lib.rehearsal.world import World

PLAN = "parameters/week6.rehearsal.yaml"
ROUNDS = 3
A_DAY = 96  # checks
INSTANT = re.compile(r'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))"')
APPEND = """SELECT rollout.append_entry(%(kind)s, %(operation)s, %(rollout)s, %(at)s, %(phase_began)s,
                                        %(slot)s, %(run_id)s, %(body)s)"""
INSTANTS = ("at", "phase_began", "slot")


@dataclass(frozen=True, kw_only=True)
class Morning:
    """What a real start left on its ledger, and the world it happened in."""

    world: World
    began: list[dict[str, Any]]  # until the phase runs
    check: dict[str, Any]  # the last of its checks
    ended: dict[str, Any]  # the rollback of another morning
    address: str


def main(sizes: list[int]) -> None:
    """Measure each size in both shapes; the smallest is what the others are compared with."""
    plan = load_plan(PLAN)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROLLOUT_OUTPUTS"] = f"{folder}/outputs"
        server = embedded(Path(folder) / "server", durable=False)
        try:
            morning = _morning(server, plan)
            for title, shape in (("one phase", _one_phase), ("phases of a day", _days)):
                ready = {}
                for size in sizes:
                    address = create_database(
                        server, f"rehearsal_{shape.__name__}_{size}", template="rehearsal_morning"
                    )
                    _fill(address, shape(morning, size))
                    ready[f"{size:,} entries"] = address
                for what, asked in (("monitor", _monitor), ("status", _status)):
                    print(f"\n#### {what}: {title}\n", flush=True)
                    things = {
                        name: _at(plan, address, morning, asked) for name, address in ready.items()
                    }
                    print(table(paired(things, ROUNDS), next(iter(things))), flush=True)
        finally:
            stop(Path(folder) / "server")


def _morning(server: str, plan: Plan) -> Morning:
    """Pre-flight, start, four checks; and what a rollback leaves, from a copy."""
    address = create_database(server, "rehearsal_morning")
    os.environ[plan.database.variable] = address
    migrate(connect(plan), apply=True)
    world = World(address, plan, SCENARIOS["healthy"], seed=1)
    world.prelude(world.start)

    def session() -> Session:
        return open_session(PLAN, as_of=world.now.isoformat(), operator="Rita")

    op.preflight(session())
    op.attest(session(), subject="complaints", value="none", reason="nobody called")
    op.change_percentage(session(), to=plan.phases[0].percentage, reason="start", dry_run=False)
    for _ in range(4):
        world.advance(world.now + timedelta(minutes=15))
        op.monitor(session(), slot="now")
    with psycopg.connect(address, autocommit=True) as connection:
        before = _entries(connection)
        op.roll_back(session(), reason="ended")
        ended = _entries(connection)[-1]
        connection.execute("UPDATE webhook_routing_config SET enabled = true, percentage = 10")
        connection.execute("ALTER TABLE rollout.ledger DISABLE TRIGGER USER")
        connection.execute("TRUNCATE rollout.ledger")
        connection.execute("ALTER TABLE rollout.ledger ENABLE TRIGGER USER")
    began = [entry for entry in before if entry["operation"] != "monitor"]
    connect(plan).engine.dispose()
    world.close()
    return Morning(world=world, began=began, check=before[-1], ended=ended, address=address)


def _entries(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    cursor = connection.execute(
        "SELECT kind, operation, rollout, at, phase_began, slot, run_id, body FROM rollout.ledger"
        " WHERE kind NOT IN ('message', 'lease') ORDER BY seq"
    )
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _one_phase(morning: Morning, size: int) -> Iterator[dict[str, Any]]:
    checks = max(1, size - len(morning.began))
    by = timedelta(minutes=15) * (checks - 4)
    yield from (_moved(entry, by, by) for entry in morning.began)
    for number in reversed(range(checks)):
        yield _moved(morning.check, timedelta(minutes=15) * number, by)


def _days(morning: Morning, size: int) -> Iterator[dict[str, Any]]:
    a_phase = len(morning.began) + A_DAY + 1
    for day in reversed(range(max(0, size - 10) // a_phase)):
        by = timedelta(days=day + 2)
        yield from (_moved(entry, by, by) for entry in morning.began)
        for number in range(A_DAY):
            back = by - timedelta(minutes=15) * (number - 4)
            yield _moved(morning.check, back, by)
        yield _moved(morning.ended, by - timedelta(hours=23, minutes=30), by)
    yield from _one_phase(morning, len(morning.began) + 4)


def _moved(entry: dict[str, Any], by: timedelta, began_by: timedelta) -> dict[str, Any]:
    """An entry as if it had been made earlier, in a phase that began earlier."""

    def earlier(found: re.Match[str]) -> str:
        instant = datetime.fromisoformat(found[1])
        began = entry["phase_began"]
        moved = instant - (began_by if instant == began else by)
        return f'"{moved.astimezone(UTC).isoformat()}"'

    return {
        **entry,
        "at": entry["at"] - by,
        "phase_began": entry["phase_began"] and entry["phase_began"] - began_by,
        "slot": entry["slot"] and entry["slot"] - by,
        "run_id": f"{entry['run_id'][:8]}{int((entry['at'] - by).timestamp()):024x}",
        "body": INSTANT.sub(earlier, entry["body"]).replace(
            entry["run_id"], f"{entry['run_id'][:8]}{int((entry['at'] - by).timestamp()):024x}"
        ),
    }


def _fill(address: str, entries: Iterator[dict[str, Any]]) -> None:
    with psycopg.connect(address) as connection:
        connection.cursor().executemany(APPEND, list(entries))
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")


def _at(
    plan: Plan, address: str, morning: Morning, asked: Callable[[Morning], object]
) -> Callable[[], None]:
    """The same question of another database."""

    def ask() -> None:
        os.environ[plan.database.variable] = address
        asked(morning)

    return ask


def _monitor(morning: Morning) -> object:
    now = morning.world.now + timedelta(minutes=1)
    run = op.monitor(open_session(PLAN, as_of=now.isoformat(), operator="Rita"))
    assert run.head is not None
    assert run.checkpoint.phase is not None
    return run


def _status(morning: Morning) -> object:
    now = morning.world.now + timedelta(minutes=1)
    return look(open_session(PLAN, as_of=now.isoformat(), operator="Rita"))


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [100, 1_000, 3_400])
