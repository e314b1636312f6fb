"""A rollout with short phases as a template: each attacked day is a copy of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.server import create_database, drop_database
from rollout_lib.rehearsal.world import World

VARIABLE = "ROLLOUT_REHEARSAL_URL"


def short_plan() -> dict:
    """The rehearsal's plan with phases of half an hour, one after the other on one morning."""
    content = yaml.safe_load(Path("parameters/week6.rehearsal.yaml").read_text())
    for number, phase in enumerate(content["phases"]):
        begins = 9 * 60 + 45 * number
        phase |= {
            "hold": "30m",
            "day": content["phases"][0]["day"],
            "start": f"{begins // 60:02d}:{begins % 60:02d}",
        }
    return content


@pytest.fixture(scope="session")
def attacked(server, tmp_path_factory) -> Iterator[tuple[str, Path, str]]:
    """The server, the plan's file, and the name of a database in which nothing has begun."""
    folder = tmp_path_factory.mktemp("attacks")
    file = folder / "plan.yaml"
    file.write_text(yaml.safe_dump(short_plan(), sort_keys=False))
    plan, name = load_plan(file), f"rehearsal_{uuid.uuid4().hex[:12]}"
    address = create_database(server, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, address)
        patch.setenv("ROLLOUT_OUTPUTS", str(folder / "outputs"))
        migrate(connect(plan), apply=True)
    with psycopg.connect(address, autocommit=True) as connection:  # a log as others made it
        connection.execute(
            "ALTER TABLE webhook_routing_logs DROP CONSTRAINT routed_to_is_known,"
            " DROP CONSTRAINT status_is_known"
        )
    world = World(address, plan, SCENARIOS["healthy"], seed=7)
    world.prelude(world.start)
    world.close()
    yield server, file, name
    drop_database(server, name)
