"""What a terminal of 80 columns shows at the end of a rehearsal."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from rollout_lib.cli.rehearsing import _show
from rollout_lib.display.words import BADGES
from rollout_lib.judgement.summary import summarise
from rollout_lib.judgement.timeline import Slots
from rollout_lib.model import State
from rollout_lib.rehearsal.conductor import Rehearsal
from rollout_lib.rehearsal.scenarios import End


@pytest.fixture
def rehearsed(day) -> Rehearsal:
    """A day of two phases, with the widest figures that a phase of 24 hours has."""
    day.change(10)
    day.check()
    day.evaluate()
    day.change(25)
    day.check(errors=1)
    summary = summarise(day.entries, day.plan, day.now)
    wide = {"errors": 13, "requests": 12_740, "p95_ms": 1912}
    slots = (day.now,) * 96
    phases = [
        replace(
            phase,
            slots=Slots(expected=slots, done=slots, missed=(), open=None),
            unified=wide,
            worst=State.CLEAN_UNPROVEN,
            evaluation=State.COULD_NOT_LOOK,
        )
        for phase in summary.phases
    ]
    end = End(percentage="25", enabled=True, decided="PASS")
    return Rehearsal(
        scenario="healthy",
        mode="evidence",
        expected=end,
        found=end,
        ok=True,
        summary=replace(summary, phases=tuple(phases)),
        report=None,
        outputs=Path("o"),
        plan_path=Path("p"),
        place="embedded · x",
        runs=38,
        ended_at=datetime(2025, 12, 3, 17, tzinfo=UTC),
        zone=ZoneInfo("Europe/Berlin"),
        problems=(),
    )


def test_the_table_of_phases_fits_80_columns(rehearsed):
    """No word of it is broken or cut, whatever the verdicts: one line a phase."""
    screen = Console(file=io.StringIO(), width=80)
    _show(screen, rehearsed)
    lines = screen.file.getvalue().splitlines()
    rows = [line for line in lines if BADGES[State.CLEAN_UNPROVEN][1] in line]
    assert len(rows) == 2
    for row in rows:
        assert "96/96 OK SO FAR COULD NOT LOOK 0.102 % · 13/12,740  1,912" in row
    assert "began CET" in lines[1]
    assert "…" not in "".join(lines[:4])
