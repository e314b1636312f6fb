"""How long until routing is off: the emergency command cold, and the tripwire from the row that
makes the case.

Run: python -m benchmarks.emergency [rounds, default 15]. Prints Markdown; benchmarks/README.md
holds a dated copy."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import yaml

from benchmarks.pairing import paired, table
from rollout_lib import operations as op
from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import open_session
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.server import create_database, drop_database, embedded
from rollout_lib.schedule import watch

VARIABLE = "ROLLOUT_REHEARSAL_URL"
BARE = """import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    connection.execute("SELECT set_routing_enabled(false, 'bench')")
    now = "SELECT enabled FROM webhook_routing_config ORDER BY created_at DESC LIMIT 1"
    print(connection.execute(now).fetchone())
"""
ON = "UPDATE webhook_routing_config SET enabled = true, percentage = 10"
LEGACY = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status, response_time_ms, message_id)
    SELECT now() - n * interval '1 minute', (ARRAY['jobs', 'marketplace', 'property'])[1 + n % 3], 'legacy',
           'success', 700, 'wamid.' || n FROM generate_series(1, 900) n"""
LEAKED = """INSERT INTO webhook_routing_logs (domain, routed_to, status, response_time_ms, message_id)
    VALUES ('mobility', 'unified', 'success', 900, gen_random_uuid()::text)"""


def main(rounds: int) -> None:
    """Both on a database of their own, which is dropped again."""
    server, name = embedded(), f"rehearsal_bench_{uuid.uuid4().hex[:8]}"
    address = create_database(server, name)
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.environ |= {VARIABLE: address, "ROLLOUT_OUTPUTS": folder, "DATABASE_URL": address}
            migrate(connect(load_plan("parameters/week6.rehearsal.yaml")), apply=True)
            print(f"### From a cold start, {rounds} rounds\n\n{_cold(address, rounds)}\n")
            print(f"### From the commit of the deciding row to routing off, {rounds} rounds\n")
            print(_tripwire(address, folder, rounds))
    finally:
        drop_database(server, name)


def _cold(address: str, rounds: int) -> str:
    command = [
        str(Path(sys.executable).with_name("rollout")),
        "rollback",
        "--emergency",
        "--reason",
        "bench",
    ]

    def run(*words: str) -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(ON)
        subprocess.run(words, check=True, capture_output=True)

    things = {
        "a bare psycopg script": lambda: run(sys.executable, "-c", BARE),
        "rollout rollback --emergency": lambda: run(*command),
    }
    return table(paired(things, rounds), "a bare psycopg script")


def _tripwire(address: str, folder: str, rounds: int) -> str:
    """One watcher a round, its tripwire each second; one row of a protected domain decides, since
    failures at one instant are a burst, which counts once.
    """
    file = Path(folder) / "plan.yaml"
    content = yaml.safe_load(Path("parameters/week6.rehearsal.yaml").read_text(encoding="utf-8"))
    content["monitoring"] |= {"tripwire": "1s"}
    now = datetime.now(UTC) + timedelta(minutes=1)
    for number, phase in enumerate(content["phases"]):
        phase |= {"day": (now + number * timedelta(days=1)).date(), "start": f"{now:%H:%M}"}
    file.write_text(yaml.safe_dump({**content, "time_zone": "UTC"}), encoding="utf-8")
    seconds = [_one(address, file, Path(folder)) for _ in range(rounds)]
    median, worst = statistics.median(seconds), max(seconds)
    return (
        f"Median {median:.2f} s, worst {worst:.2f} s with a round each second: up to 1 s until the"
        " next round, the rest is the round. With a round each 30 s, as in the plans, that is at"
        f" most {29 + worst:.0f} s."
    )


def _one(address: str, file: Path, outputs: Path) -> float:
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("TRUNCATE webhook_routing_logs")
        connection.execute(LEGACY)
        connection.execute("UPDATE webhook_routing_config SET enabled = false, percentage = 0")
        op.attest(open_session(str(file), operator="bench"), subject="complaints", value="none")
        op.attest(
            open_session(str(file), operator="bench"), subject="restart", value="x", reason="bench"
        )
        done = op.change_percentage(
            open_session(str(file), operator="bench"), to=Decimal(10), reason="x", dry_run=False
        )
        assert done.checkpoint.change.applied, done.checkpoint.sentence
        stop, quiet = threading.Event(), threading.Event()

        def say(event, quiet=quiet):
            if event.kind == "quiet":
                quiet.set()

        threading.Thread(
            target=watch, args=(str(file),), kwargs={"outputs": outputs, "say": say, "stop": stop}
        ).start()
        quiet.wait(60)
        time.sleep(time.time() % 1)  # anywhere within a round
        connection.execute(LEAKED)
        began = time.perf_counter()
        while connection.execute("SELECT enabled FROM webhook_routing_config").fetchone()[0]:
            if time.perf_counter() - began > 120:
                raise SystemExit("the tripwire did not act")
            time.sleep(0.01)
        took = time.perf_counter() - began
        stop.set()
        while connection.execute("SELECT 1 FROM rollout.lease WHERE until > now()").fetchone():
            time.sleep(0.05)
    return took


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
