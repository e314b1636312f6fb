"""The reference router under load: its overhead over a direct call, in turn in one run; and a
fault's way to off.

Run: python -m benchmarks.router [requests a second, default 320: arrivals are Poisson, so that no
round has fewer than 300]. Prints Markdown; benchmarks/README.md holds a dated copy."""

from __future__ import annotations

import asyncio
import io
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.live.conductor import run_live
from rollout_lib.rehearsal.live.load import Sent, read_sent, send
from rollout_lib.rehearsal.live.router import DATABASE, SECRET, legacy_name
from rollout_lib.rehearsal.live.stage import Stage
from rollout_lib.rehearsal.server import create_database, embedded, stop

ROUNDS, SECONDS = 5, 6.0


def main(rate: float) -> None:
    """Direct and through the router, alternating, at the same rate; then the cache; then live rehearsals."""
    with tempfile.TemporaryDirectory() as folder:
        server = embedded(Path(folder) / "server", durable=False)
        os.environ[DATABASE] = server
        try:
            print(
                f"### {rate:g} requests a second for {SECONDS:g} s, {ROUNDS} rounds of each in"
                " turn\n"
            )
            print(_overhead(server, Path(folder), rate), flush=True)
            print("\n### The cache's second, at the same rate, 100 % routed\n")
            print(_cache(server, Path(folder), rate), flush=True)
            print("\n### From a fault to the last request that went to unified, at the client\n")
            for fault in ("errors", "outage", "hang"):
                run = run_live(minutes=2, rate=30, fault=fault, outputs=Path(folder) / "live")
                found = run.tally
                took = (
                    "not switched off"
                    if found.fault_to_off_s is None
                    else f"{found.fault_to_off_s:.1f} s"
                )
                print(
                    f"- `{fault}`: {took} ({found.sent:,} requests, {len(found.lost)} lost,"
                    f" {len(found.messages.twice)} run twice, {found.late} late)",
                    *run.problems,
                    sep="; ",
                    flush=True,
                )
        finally:
            stop(Path(folder) / "server")


def _overhead(server: str, folder: Path, rate: float) -> str:
    plan = load_plan("parameters/week6.rehearsal.yaml")
    os.environ[DATABASE] = address = create_database(server, "rehearsal_bench_router")
    migrate(connect(plan), apply=True)
    os.environ[DATABASE] = server
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "SELECT set_routing_enabled(true, 'bench'), update_routing_percentage(10, 'bench')"
        )
    lines = [
        (
            "| round | direct p50, p99 ms | router p50, p99 ms | p99 overhead, ms | sent and"
            " answered a second |"
        ),
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    over = []
    with Stage(address, plan.domains, plan.protected_domains, folder, median_ms=5) as stage:
        secret = stage.environment[SECRET].encode()
        for number in range(ROUNDS + 1):
            direct = _sent(stage.address(legacy_name("jobs")), rate, secret)
            routed = _sent(stage.address("router"), rate, secret)
            if number == 0:
                continue  # connections and caches are made in the first
            (a50, a99), (b50, b99) = _quantiles(direct), _quantiles(routed)
            over.append(b99 - a99)
            lines.append(
                f"| {number} | {a50:.1f}, {a99:.1f} | {b50:.1f}, {b99:.1f} | {over[-1]:.1f} | "
                f"{len(routed) / SECONDS:.0f} |"
            )
        log = stage.health()["log"]
    lines.append(
        f"\nMedian p99 overhead {statistics.median(over):.1f} ms; log: {log['dropped']} dropped, "
        f"{log['refused']} refused."
    )
    return "\n".join(lines)


def _cache(server: str, folder: Path, rate: float) -> str:
    """How long unified still gets requests after a rollback, and after the database stops answering:
    seconds from the commit, or from the lock, to the last such request as its sender saw it.
    """
    plan = load_plan("parameters/week6.rehearsal.yaml")
    os.environ[DATABASE] = address = create_database(server, "rehearsal_bench_cache")
    migrate(connect(plan), apply=True)
    os.environ[DATABASE] = server
    off = "SELECT set_routing_enabled(false, 'bench')"
    # Every read of the configuration waits for this one; nothing is refused and nothing breaks.
    hang = "LOCK TABLE webhook_routing_config IN ACCESS EXCLUSIVE MODE"
    found = []
    with Stage(address, plan.domains, plan.protected_domains, folder, median_ms=5) as stage:
        for name, statement in (("rollback committed", off), ("configuration hangs", hang)):
            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute(
                    "SELECT set_routing_enabled(true, 'bench'),"
                    " update_routing_percentage(100, 'bench')"
                )
                lines, at = _while_sending(stage, rate, connection, statement)
            times = [line.at for line in lines if line.routed_to == "unified"]
            if not times:  # a machine too busy to read the configuration each second
                found.append(f"- {name}: nothing was sent to unified, before or after")
                continue
            last = max(times)
            later = sum(line.routed_to == "legacy" and line.at > last for line in lines)
            found.append(
                f"- {name}: the last request to unified was sent {last - at:.2f} s after it;"
                f" {later:,} later ones went to legacy"
            )
    return "\n".join(found)


def _while_sending(
    stage: Stage, rate: float, connection: psycopg.Connection, statement: str
) -> tuple[list[Sent], float]:
    """Send for SECONDS from a process of its own; half-way the statement runs, in a transaction
    that stays open until the end where it is a lock. The client's lines, and when it was done.
    """
    out = stage.folder / "bench.jsonl"
    options = {"--to": stage.address("router"), "--rate": rate, "--seconds": SECONDS, "--out": out}
    given = [str(part) for pair in options.items() for part in pair]
    client = ("-m", "rollout_lib.rehearsal.live.load", *given, "--mix", "jobs=1")
    loading = stage.start("load", *client)
    while not out.exists() or not out.stat().st_size:
        time.sleep(0.05)
    time.sleep(SECONDS / 2)
    locks = statement.startswith("LOCK")
    if locks:
        connection.execute("BEGIN")
    connection.execute(statement)
    at = time.time()
    loading.wait()
    if locks:
        connection.execute("ROLLBACK")
    lines = read_sent(out.read_text(encoding="utf-8").splitlines())
    out.unlink()
    return lines, at


def _sent(to: str, rate: float, secret: bytes) -> list[float]:
    """Milliseconds of each answered request; one that was not answered well ends the bench."""
    out = io.StringIO()
    asyncio.run(
        send(to, rate=rate, seconds=SECONDS, mix={"jobs": 1.0}, secret=secret, seed=7, out=out)
    )
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    if wrong := [line for line in lines if line["status"] != 200]:
        raise SystemExit(
            f"{len(wrong)} of {len(lines)} requests were not answered with 200: {wrong[0]}"
        )
    return [line["ms"] for line in lines]


def _quantiles(values: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(values, n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 320)
