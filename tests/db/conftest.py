"""An archive as runs leave it: real entries on a real ledger, real files, without the time that
kernels take.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import nbformat
import psycopg
import pytest

from rollout_lib import operations as op
from rollout_lib.archive import names, sealing, verify
from rollout_lib.archive.chain import Link, link
from rollout_lib.archive.provenance import SOURCE_VARIABLE
from rollout_lib.database import ledger as store
from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.session import open_session
from rollout_lib.model import Check
from rollout_lib.plan import Plan, load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.server import create_database, drop_database
from rollout_lib.rehearsal.world import World

PLAN = "parameters/week6.rehearsal.yaml"
LEGACY = """INSERT INTO webhook_routing_logs (created_at, domain, routed_to, webhook_name, status, response_time_ms,
        message_id)
    SELECT now() - interval '1 minute' * n, (ARRAY['jobs', 'marketplace', 'property'])[1 + n % 3], 'legacy',
           'wa-webhook-jobs', 'success', 700 + n % 90, 'm' || n FROM generate_series(3, 602) n"""


@dataclass
class Archive:
    """A database and an output folder that belong together; `now` is when somebody looks."""

    address: str  # direct: for whoever tampers with it
    outputs: Path
    plan: Plan
    now: datetime

    def links(self) -> list[Link]:
        with connect(self.plan).transaction(readonly=True) as connection:
            return [link(row) for row in store.chain(connection)]

    def proof(
        self, *, head: tuple[int, str] | None = None, files_only: bool = False
    ) -> verify.Proof:
        return verify.verify(None if files_only else self.links(), self.outputs, head, self.now)

    def tamper(self, statement: str) -> None:
        """Run SQL as an administrator who has switched the ledger's triggers off."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(f"SET session_replication_role = replica; {statement}")

    def copies(self) -> list[Path]:
        return sorted((self.outputs / "ledger").glob("*/*.txt"))

    def files(self, ending: str) -> list[Path]:
        return sorted((self.outputs / self.plan.rollout).rglob(f"*{ending}"))


def executed(run: op.Recorded) -> nbformat.NotebookNode:
    """A notebook that shows a recorded run, as a kernel leaves it."""
    output = nbformat.v4.new_output("display_data", data=run._repr_mimebundle_())
    cell = nbformat.v4.new_code_cell("run", outputs=[output], execution_count=1)
    return nbformat.v4.new_notebook(cells=[cell])


def keep(run: op.Recorded, name: str, plan: Plan, outputs: Path, *, seal: bool = True) -> None:
    """Archive a run's three files and seal it, as the runner does."""
    body = json.loads(run.text)
    run_id, at = body["run_id"], body["at"]
    stem = names.stem_of(body, plan.rollout, name, run_id)
    base = names.folder(outputs, plan.rollout, datetime.fromisoformat(at))
    files, failure = sealing.archive(executed(run), stem, base, outputs, run.text)
    assert failure is None
    if seal:
        entry = sealing.entry_for(name, plan, run_id, at, files, kind="archived")
        assert sealing.seal_run(plan, outputs, entry)[1] == ""


def a_morning(plan: Plan, outputs: Path) -> None:
    """Pre-flight, start, four checks; every run but the attestation is a notebook."""
    world = World(os.environ[plan.database.variable], plan, SCENARIOS["healthy"], seed=1)
    world.prelude(world.start)

    def session():
        return open_session(PLAN, as_of=world.now.isoformat(), operator="Rita")

    keep(op.preflight(session()), "00_preflight", plan, outputs)
    op.attest(session(), subject="complaints", value="none", reason="nobody called")
    raised = op.change_percentage(
        session(), to=plan.phases[0].percentage, reason="Initial 10%", dry_run=False
    )
    assert raised.checkpoint.change.applied
    keep(raised, "10_change_percentage", plan, outputs)
    for _ in range(4):
        world.advance(world.now + timedelta(minutes=15))
        keep(op.monitor(session(), slot="now"), "20_monitor", plan, outputs)
    world.close()


@pytest.fixture(scope="session")
def morning(server, door, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The name of a database and the output folder of one morning: a template, to be copied."""
    plan, name = load_plan(PLAN), f"rehearsal_{uuid.uuid4().hex[:12]}"
    outputs = tmp_path_factory.mktemp("morning")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(plan.database.variable, door(create_database(server, name)))
        patch.setenv("ROLLOUT_OUTPUTS", str(outputs))
        patch.setenv(SOURCE_VARIABLE, "20_monitor:0000")
        migrate(connect(plan), apply=True)
        a_morning(plan, outputs)
    yield name, outputs
    drop_database(server, name)


@pytest.fixture
def archive(morning, server, door, plan, tmp_path, monkeypatch) -> Iterator[Archive]:
    """A copy of the morning that a test may do anything to, looked at an hour later."""
    name, outputs = f"rehearsal_{uuid.uuid4().hex[:12]}", tmp_path / "outputs"
    with psycopg.connect(server, autocommit=True) as connection:  # a pooler keeps a template open
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (morning[0],),
        )
    address = create_database(server, name, template=morning[0])
    shutil.copytree(morning[1], outputs)
    monkeypatch.setenv(plan.database.variable, door(address))
    monkeypatch.setenv("ROLLOUT_OUTPUTS", str(outputs))
    yield Archive(
        address=address, outputs=outputs, plan=plan, now=datetime.now(UTC) + timedelta(hours=1)
    )
    drop_database(server, name)


class Rollout:
    """A world whose operations tell by themselves; `run` gives what an operation did and what it
    told.
    """

    def __init__(self, database, plan, scenario: str) -> None:
        self.database, self.plan = database, plan
        self.world = World(database.address, plan, SCENARIOS[scenario], seed=1)
        self.world.prelude(self.world.start)

    def session(self):
        return open_session(PLAN, as_of=self.world.now.isoformat(), operator="Rita")

    def run(self, operation, **how):
        session = self.session()
        done = operation(session, **how)
        return done, list(done.told)

    def start(self):
        op.attest(self.session(), subject="complaints", value="none")
        return self.run(
            op.change_percentage, to=Decimal(10), reason="Initial 10% rollout", dry_run=False
        )

    def check(self):
        self.world.advance(self.world.now + timedelta(minutes=15))
        return self.run(op.monitor, slot="now")

    def ledger(self) -> list[tuple[str, dict]]:
        with self.database.transaction(readonly=True) as connection:
            rows = connection.exec_driver_sql(
                "SELECT operation, body FROM rollout.ledger WHERE kind = 'message' ORDER BY seq"
            )
            return [(row.operation, json.loads(row.body)) for row in rows]


@pytest.fixture
def rollout(database, plan, request):
    rollout = Rollout(database, plan, getattr(request, "param", "healthy"))
    yield rollout
    rollout.world.close()


class Site:
    """A migrated database with a clean day of legacy; `arrange` as its administrator, `look` as the
    suite.
    """

    def __init__(self, direct: str, folder: Path) -> None:
        self.direct, self.plan_file = direct, folder / "plan.yaml"
        self.plan_file.write_text(Path("parameters/week6.rehearsal.yaml").read_text())
        self.arrange(LEGACY)

    def arrange(self, statements: str) -> None:
        with psycopg.connect(self.direct, autocommit=True) as connection:
            connection.execute(statements)

    def configure(self, **probes: object) -> None:
        """Addresses into the plan, as an operator writes them."""
        text = self.plan_file.read_text() + f"\nprobes: {json.dumps(probes)}\n"
        self.plan_file.write_text(text)

    def run(self):
        return op.preflight(open_session(str(self.plan_file), operator="Rita")).checkpoint

    def look(self) -> dict[str, Check]:
        return {check.name: check for check in self.run().verdict.checks}


@pytest.fixture
def site(database, direct, tmp_path) -> Site:
    return Site(direct, tmp_path)
