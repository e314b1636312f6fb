"""`rollout rehearse --live`: real requests through a real router, a fault on cue, and the suite on
top.

The conductor starts everything, raises to the first phase through the gates, breaks something, and
looks at what the suite did about it. It never lowers the routing itself."""

from __future__ import annotations

import math
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from rollout_lib import operations as op
from rollout_lib.database.connection import Database, connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import Session, open_session
from rollout_lib.errors import CouldNotMeasure, UsageError
from rollout_lib.plan import Plan, load_plan
from rollout_lib.probes import TOKEN
from rollout_lib.rehearsal.live import management
from rollout_lib.rehearsal.live.configuration import QUERY
from rollout_lib.rehearsal.live.live_plan import write_live_plan
from rollout_lib.rehearsal.live.load import read_sent, refuse_unbounded
from rollout_lib.rehearsal.live.router import DATABASE, UNIFIED_NAME
from rollout_lib.rehearsal.live.stage import Stage
from rollout_lib.rehearsal.live.tally import Moments, Tally, tally
from rollout_lib.rehearsal.server import create_database, embedded

OPERATOR = "Rita Rehearsal"
LEAST_MINUTES = 0.5
LEGACY_S = 10.0  # of legacy alone before the first raise: what pre-flight judges
Progress = Callable[[str, float, float], None]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What breaks, and whether the suite must switch routing off because of it."""

    story: str
    destination: str | None
    behaviour: Mapping[str, Any]
    ends_off: bool = True
    protected_suffer: bool = False


FAULTS: Mapping[str, Fault] = {
    "none": Fault(story="Nothing breaks.", destination=None, behaviour={}, ends_off=False),
    "errors": Fault(
        story="Unified fails 30 % of its requests.",
        destination=UNIFIED_NAME,
        behaviour={"errors": 0.3},
    ),
    "outage": Fault(
        story="Nobody listens where unified was; legacy serves instead.",
        destination=UNIFIED_NAME,
        behaviour={"outage": "refuse"},
    ),
    "slow": Fault(
        story="Unified takes four seconds.",
        destination=UNIFIED_NAME,
        behaviour={"median_ms": 4000.0},
    ),
    "hang": Fault(
        story="Unified takes requests and never answers.",
        destination=UNIFIED_NAME,
        behaviour={"outage": "hang"},
    ),
    "protected": Fault(
        story="Nobody listens where mobility's function was.",
        destination="wa-webhook-mobility",
        behaviour={"outage": "refuse"},
        protected_suffer=True,
    ),
}


@dataclass(frozen=True, kw_only=True)
class LiveRun:
    """How it went. ok: the routing ended as the fault demands, and no promise of the live path was
    broken.
    """

    fault: str
    tally: Tally
    percentage: Decimal
    ended_off: bool
    decided: str  # the state and the sentence that switched routing off, "" where none did
    plan_path: Path
    outputs: Path
    place: str
    router_exit: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def refuse_wrong(minutes: float, rate: float, fault: str) -> None:
    """Raise UsageError for what is out of bounds, before anything is started or announced."""
    if fault not in FAULTS:
        raise UsageError(reason=f"--fault is one of {', '.join(FAULTS)}, not {fault!r}.")
    if not LEAST_MINUTES <= minutes < math.inf:
        raise UsageError(reason=f"--minutes is at least {LEAST_MINUTES:g}, not {minutes:g}.")
    refuse_unbounded(rate, minutes * 60)


def run_live(
    plan_path: str = "",
    *,
    minutes: float = 5.0,
    rate: float = 30.0,
    fault: str = "errors",
    outputs: Path = Path("outputs"),
    seed: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> LiveRun:
    """Rehearse live on loopback, on a database of its own, in about `minutes`.

    rate: requests a second, the runbook's mix. Raises UsageError for what is out of bounds and
    CouldNotMeasure where a process does not start or the gates refuse the first raise.
    """
    refuse_wrong(minutes, rate, fault)
    source = load_plan(plan_path)
    name = f"rehearsal_live_{datetime.now():%Y%m%d_%H%M%S}_{uuid.uuid4().hex[:4]}"  # noqa: DTZ005  # a local name
    folder = (outputs / name).resolve()
    address = create_database(os.environ.get(DATABASE) or embedded(), name)
    folder.mkdir(parents=True)
    given = {DATABASE: address, "ROLLOUT_OUTPUTS": str(folder), TOKEN: management.TOKEN}
    with (
        _environment(given),
        Stage(address, source.domains, source.protected_domains, folder, seed=seed) as stage,
    ):
        plan = write_live_plan(
            source, folder / "plan.yaml", database=name, stage=stage, rate=rate, minutes=minutes
        )
        database = connect(plan)
        migrate(database, apply=True)
        return _Live(plan, database, stage, fault, progress).conduct(minutes * 60, rate, seed)


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


class _Live:
    """One live rehearsal while it runs; holds the connection that watches the configuration."""

    def __init__(
        self, plan: Plan, database: Database, stage: Stage, fault: str, progress: Progress
    ) -> None:
        self.plan, self.database, self.stage, self.progress = plan, database, stage, progress
        self.fault, self.breaks = fault, FAULTS[fault]
        self.on: float | None = None
        self.broken: float | None = None
        self.off: float | None = None

    def conduct(self, seconds: float, rate: float, seed: int) -> LiveRun:
        out = self.stage.folder / "requests.jsonl"
        load = self.stage.start(
            "load",
            "-m",
            "rollout_lib.rehearsal.live.load",
            "--to",
            self.stage.address("router"),
            "--rate",
            str(rate),
            "--seconds",
            str(seconds),
            "--seed",
            str(seed),
            "--out",
            str(out),
            "--platform",
        )
        began = time.monotonic()
        with psycopg.connect(self.database.address, autocommit=True) as connection:
            self._until(connection, load, began, LEGACY_S, seconds, "legacy alone")
            self._raise()
            self.stage.start("watch", *watch_command(self.plan, self.stage.folder))
            self._until(
                connection,
                load,
                began,
                LEGACY_S + 0.4 * (seconds - LEGACY_S),
                seconds,
                "both destinations",
            )
            if self.breaks.destination:
                self.broken = self.stage.set(self.breaks.destination, **self.breaks.behaviour)
            self._until(connection, load, began, float("inf"), seconds, self.breaks.story)
            self.stage.end("watch")
            if load.wait() != 0:
                raise CouldNotMeasure(
                    reason=f"the client failed; see {self.stage.folder / 'load.log'}."
                )
            ran = self.stage.ran()
            router_exit = self.stage.end("router")  # writes what is in its buffer
            statement = (
                "SELECT correlation_id, domain, routed_to, message_id FROM webhook_routing_logs"
            )
            rows = connection.execute(statement).fetchall()
            enabled = bool(_one(connection, QUERY)[1])
        lines = read_sent(out.read_text(encoding="utf-8").splitlines())
        percentage = self.plan.phases[0].percentage
        counted = tally(
            lines,
            rows,
            ran,
            unified_name=UNIFIED_NAME,
            protected=self.plan.protected_domains,
            configured_pct=float(percentage),
            moments=Moments(on=self.on, fault=self.broken, off=self.off),
        )
        return self._concluded(counted, percentage, enabled, router_exit)

    def _raise(self) -> None:
        """As a person does it: pre-flight, an attestation, the change through its gates."""
        first = self.plan.phases[0].percentage

        def session() -> Session:
            return open_session(self.plan.path, operator=OPERATOR)

        found = op.preflight(session()).checkpoint
        op.attest(session(), subject="complaints", value="none", reason="a live rehearsal")
        change = op.change_percentage(
            session(), to=first, reason=f"Initial {first:g}% rollout", dry_run=False
        )
        if change.checkpoint.change is None or not change.checkpoint.change.applied:
            raise CouldNotMeasure(
                reason=f"pre-flight: {found.sentence} The first raise: {change.checkpoint.sentence}"
            )
        self.on = time.time()

    def _until(
        self,
        connection: psycopg.Connection[Any],
        load: subprocess.Popen[str],
        began: float,
        end: float,
        seconds: float,
        what: str,
    ) -> None:
        """Let time pass to `end` (or the client's last request), and see when routing goes off."""
        while load.poll() is None and (now := time.monotonic() - began) < end:
            self.progress(what, min(now, seconds), seconds)
            row = _one(connection, QUERY)
            if self.on is not None and self.off is None and not row[1]:
                self.off = time.time()
            time.sleep(0.05)

    def _decided(self) -> str:
        statement = """SELECT CAST(body AS json) ->> 'state', CAST(body AS json) ->> 'sentence' FROM rollout.ledger
            WHERE CAST(body AS json) #>> '{change,applied}' = 'true'
              AND CAST(body AS json) #>> '{change,after,1}' = 'false' ORDER BY seq LIMIT 1"""
        with self.database.transaction(readonly=True) as connection:
            row = connection.exec_driver_sql(statement).first()
        return f"{row[0]}: {row[1]}" if row else ""

    def _concluded(
        self, counted: Tally, percentage: Decimal, enabled: bool, router_exit: int
    ) -> LiveRun:
        decided, problems = self._decided(), []
        if enabled is self.breaks.ends_off:
            problems.append(f"routing ended {'on' if enabled else 'off'}: {self.breaks.story}")
        if not enabled and not decided:
            problems.append("routing is off and the ledger does not say why")
        found = {
            "lost requests": len(counted.lost),
            "lost messages": len(counted.messages.lost),
            "messages run twice": len(counted.messages.twice),
            "messages with a wrong number of rows": len(counted.miscounted),
            "handshakes or forged requests with a wrong answer": len(counted.wrong),
            "protected messages that went to unified": counted.protected_touched,
            "requests to unified later than the cache's second after the rollback": counted.late,
        }
        if not self.breaks.protected_suffer:
            found["protected requests that failed"] = counted.protected_failed
        problems += [f"{number} {what}" for what, number in found.items() if number]
        if not counted.sent or not self.on:
            problems.append("nothing was sent, or nothing was routed: this rehearsal shows nothing")
        if self.off is not None and self.broken is not None and self.off < self.broken:
            problems.append(
                "routing went off before anything was broken: this machine stalled, or the suite"
                " errs"
            )
        if router_exit != 0:
            problems.append(f"the router ended with {router_exit}")
        return LiveRun(
            fault=self.fault,
            tally=counted,
            percentage=percentage,
            ended_off=not enabled,
            decided=decided,
            plan_path=Path(self.plan.path),
            outputs=self.stage.folder,
            place=str(self.database.place),
            router_exit=router_exit,
            problems=tuple(problems),
        )


def watch_command(plan: Plan, outputs: Path) -> tuple[str, ...]:
    """What watches on top, as arguments of python: the suite's own command."""
    return (
        "-m",
        "rollout_lib",
        "watch",
        "--plan",
        plan.path,
        "--outputs",
        str(outputs),
        "--verbose",
    )


def _one(connection: psycopg.Connection[Any], statement: LiteralString) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(statement).fetchone()
    if row is None:
        raise CouldNotMeasure(reason="the configuration has no row.")
    return row
