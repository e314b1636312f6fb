"""Real servers for the tests: the embedded PostgreSQL 18, and a database of its own for each test."""

from __future__ import annotations

import os
import uuid

import pytest

from rollout_lib.database import Database, connect
from rollout_lib.migrations import migrate
from rollout_lib.plan import Plan, load_plan
from rollout_lib.rehearsal.server import create_database, drop_database, embedded


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> str:
    """The address of an embedded PostgreSQL 18 that belongs to this test session."""
    from rollout_lib.rehearsal.server import stop

    folder = tmp_path_factory.mktemp("postgres")
    yield embedded(folder, durable=False)
    stop(folder)


@pytest.fixture
def plan() -> Plan:
    """The shipped plan of the rehearsal."""
    return load_plan("parameters/week6.rehearsal.yaml")


@pytest.fixture
def empty_database(server, plan, monkeypatch) -> Database:
    """A new database without any table, as the plan finds it."""
    name = f"rehearsal_{uuid.uuid4().hex[:12]}"
    address = create_database(server, name)
    monkeypatch.setenv(plan.database.variable, address)
    monkeypatch.setenv("ROLLOUT_OUTPUTS", os.environ.get("PYTEST_TMP", "/nonexistent"))
    yield connect(plan)
    drop_database(server, name)


@pytest.fixture
def database(empty_database, tmp_path, monkeypatch) -> Database:
    """A new database with the runbook's objects and the ledger."""
    monkeypatch.setenv("ROLLOUT_OUTPUTS", str(tmp_path / "outputs"))
    migrate(empty_database, apply=True)
    return empty_database
