"""Every time that people read has their own zone and UTC, each once."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout_lib.text import both_clocks, both_times

AT = datetime(2025, 12, 3, 9, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "times", "clocks"),
    [
        ("Europe/Berlin", "Wed 3 Dec 10:15 CET (09:15 UTC)", "10:15:30 CET (09:15:30 UTC)"),
        ("Africa/Kigali", "Wed 3 Dec 11:15 CAT (09:15 UTC)", "11:15:30 CAT (09:15:30 UTC)"),
        ("UTC", "Wed 3 Dec 09:15 UTC", "09:15:30 UTC"),
        ("Etc/UTC", "Wed 3 Dec 09:15 UTC", "09:15:30 UTC"),
        ("Europe/London", "Wed 3 Dec 09:15 GMT (09:15 UTC)", "09:15:30 GMT (09:15:30 UTC)"),
    ],
)
def test_local_time_first_and_utc_beside_it_once(zone, times, clocks):
    """In a zone that is UTC itself nothing is said twice; London in winter has
    another name for it.
    """
    assert both_times(AT, zone) == times
    assert both_clocks(AT, zone) == clocks
    assert both_clocks(AT, zone, seconds=False) == clocks.replace(":30", "")


def test_no_sentence_of_a_judgement_or_report_has_utc_alone():
    """A time with `UTC` behind it is made in one place, where the local one stands before it."""
    rooms = ("judgement", "operations", "schedule", "archive", "display", "notify", "database")
    files = [path for room in rooms for path in Path("rollout_lib", room).rglob("*.py")]
    files.append(Path("rollout_lib", "notebook.py"))
    assert len(files) > 40
    found = [
        path for path in files if re.search(r"%M(:%S)?\} UTC", path.read_text(encoding="utf-8"))
    ]
    assert found == []
