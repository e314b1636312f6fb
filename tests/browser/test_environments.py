"""The control room of staging and production, on a real database that such a plan names; in both
themes.
"""

from __future__ import annotations

import os
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect

from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.server import create_database, drop_database
from rollout_lib.rehearsal.world import World
from tests.browser.conftest import PATIENCE, running_lab, set_theme, traffic
from tests.notebooks.conftest import Today

VARIABLE = "WEEK6_URL"
ALL_MET = re.compile(r"(\d+) of \1 gates are met")
BANNERS = {
    "staging": ("STAGING", "Not production, and real requests all the same.", "rgb(122, 88, 0)"),
    "production": (
        "PRODUCTION",
        "Live traffic. What you press here reaches customers.",
        "rgb(176, 0, 32)",
    ),
}

expect.set_options(timeout=PATIENCE)


@pytest.fixture
def elsewhere(server, router_health, tmp_path, monkeypatch):
    """A day before its first raise in another environment: a day of legacy, nothing on the ledger
    but pre-flights.
    """
    made = []

    def elsewhere(environment: str) -> Today:
        content = yaml.safe_load(
            Path("parameters/week6.rehearsal.yaml").read_text(encoding="utf-8")
        )
        began = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=1)
        for index, phase in enumerate(content["phases"]):
            begin = began + index * timedelta(days=1)
            phase |= {"day": begin.date(), "start": f"{begin:%H:%M}"}
        name = f"week6_{environment}_{uuid.uuid4().hex[:6]}"
        content |= {
            "environment": environment,
            "time_zone": "UTC",
            "probes": {"router_health": router_health},
            "database": {"variable": VARIABLE, "name": name, "host": "*", "require_tls": False},
        }
        file = tmp_path / "plan.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        made.append(name)
        address = create_database(server, name)
        day = Today(plan=file, address=address, outputs=tmp_path / "outputs")
        for key, value in {**day.environment, VARIABLE: address}.items():
            monkeypatch.setenv(key, value)
        plan = load_plan(file)
        migrate(connect(plan), apply=True)
        world = World(address, plan, SCENARIOS["healthy"], seed=1)
        world.prelude(datetime.now(UTC))
        world.close()
        return day

    yield elsewhere
    for name in made:
        drop_database(server, name)


def last_entry(day: Today) -> tuple:
    return day.sql(
        "SELECT operation, kind, body::jsonb ->> 'operator' FROM rollout.ledger ORDER BY seq DESC"
        " LIMIT 1"
    )[0]


@pytest.mark.parametrize("environment", BANNERS)
def test_nobody_takes_it_for_another_environment_and_production_asks_for_its_name(
    environment, elsewhere, page, tmp_path
):
    """Its word, its colour and what a press reaches; production raises only once
    its name is typed.
    """
    day, (word, reach, colour) = elsewhere(environment), BANNERS[environment]
    with traffic(day), running_lab(day, tmp_path) as (lab, _):
        page.goto(f"{lab.address}lab?token={lab.token}")
        expect(page.get_by_text("● Live")).to_be_visible()
        banner = page.locator(".cr-env")
        expect(banner).to_contain_text(word)
        expect(banner).to_contain_text(reach)
        expect(banner).to_have_css("background-color", colour)
        expect(page.locator(".cr-tiles").get_by_text("off", exact=True)).to_be_visible()
        press(page, "Attest no complaints")
        expect(page.locator(".cr-ask")).to_contain_text(word)
        press(page, "Yes, attest")
        expect(page.locator(".cr-said", has_text="stated complaints: none")).to_be_visible()
        press(page, "Raise to 10 %")
        expect(page.get_by_text(ALL_MET)).to_be_visible()
        page.get_by_label("Reason").fill("Initial 10% rollout")
        named = page.get_by_label("Environment")
        expect(named).to_be_visible(visible=environment == "production")
        if environment == "production":
            for typed in ("", "staging", "PRODUCTION"):
                named.fill(typed)
                press(page, "Yes, raise it")
                expect(
                    page.locator(".cr-said", has_text="Type the environment's name, production")
                ).to_be_visible()
            assert day.routing()[1] is False
            named.fill("production")
        pictures(page, environment)
        press(page, "Yes, raise it")
        expect(page.locator(".cr-said", has_text="Routing is at 10 %")).to_be_visible()
    assert (float(day.routing()[0]), day.routing()[1]) == (10.0, True)
    assert last_entry(day) == ("change", "checkpoint", "Rita")


def press(page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def pictures(page, name: str) -> None:
    """Both themes, where $ROLLOUT_SCREENSHOTS names a folder."""
    if folder := os.environ.get("ROLLOUT_SCREENSHOTS"):
        page.locator(".ro-room").evaluate("room => room.scrollIntoView()")
        for theme in ("Light", "Dark"):
            set_theme(page, theme)
            page.screenshot(path=Path(folder) / f"{name}-{theme.lower()}.png")
