"""The page of a check, opened from a disk with the network off: complete, and its
charts are drawn.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from rollout_lib import operations as op
from rollout_lib.database.session import open_session
from rollout_lib.rehearsal.scenarios import SCENARIOS
from rollout_lib.rehearsal.world import World
from rollout_lib.runner import run_notebook

pytestmark = pytest.mark.slow


def test_a_page_needs_no_network_and_shows_its_charts(database, plan, page, tmp_path):
    """At 1280 and at 360 pixels: the charts have a size, nothing is asked of anywhere, nothing runs
    over the side.
    """
    world = World(database.address, plan, SCENARIOS["healthy"], seed=1)
    world.prelude(world.start)

    def session():
        return open_session(
            "parameters/week6.rehearsal.yaml", as_of=world.now.isoformat(), operator="Rita"
        )

    op.attest(session(), subject="complaints", value="none")
    op.change_percentage(session(), to=Decimal(10), reason="first", dry_run=False)
    for _ in range(3):
        world.advance(world.now + timedelta(minutes=15))
        op.monitor(session(), slot="now")
    world.advance(world.now + timedelta(minutes=15))
    result = run_notebook(
        "20_monitor", {"as_of": world.now.isoformat()}, outputs=tmp_path, kernel="warm"
    )
    world.close()
    asked: list[str] = []
    page.context.set_offline(True)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(result.html.as_uri())
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        boxes = [chart.bounding_box() for chart in page.locator("svg.marks").all()]
        assert len(boxes) >= 2
        assert all(box["width"] > 100 and box["height"] > 50 for box in boxes), boxes
        page.screenshot(path=tmp_path / f"{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert asked == [result.html.as_uri()]
