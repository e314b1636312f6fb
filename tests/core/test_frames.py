"""What people take in hand: frames with the same columns always, and their page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from rollout_lib import frames
from rollout_lib.operations.record import Recorded

RUN = ("traffic", "errors", "checks", "looks", "evidence", "history")


def recorded(day) -> Recorded:
    run = day.history[-1]
    return Recorded(checkpoint=run, text="", head=None, past=tuple(day.history))


@pytest.fixture
def checked(day):
    """A phase with three checks, the second with an error."""
    day.change(10)
    day.check()
    day.check(errors=1)
    day.check()
    return day


@pytest.mark.parametrize("name", sorted(frames.COLUMNS))
def test_an_empty_frame_has_its_columns_and_types(name):
    """Nothing is guessed from what happens to be in it."""
    found = frames.frame(name, [])
    assert {column: str(kind) for column, kind in found.dtypes.items()} == dict(
        frames.COLUMNS[name]
    )


@pytest.mark.parametrize("name", RUN)
def test_a_full_frame_has_the_same_types_as_an_empty_one(name, checked):
    """And an instant is one in UTC."""
    found = getattr(recorded(checked), name)
    assert {column: str(kind) for column, kind in found.dtypes.items()} == dict(
        frames.COLUMNS[name]
    )


def test_the_frames_say_what_the_checkpoints_say(checked):
    """One row a run, a check, a stream; the error stands in its look."""
    day, run = checked, recorded(checked)
    assert len(run.history) == len(day.history)
    wanted = sum(len(one.verdict.checks) for one in day.history if one.verdict)
    assert len(run.checks) == wanted > 0
    looks = run.looks.query("stream == 'errors' and domain == 'total'")
    assert list(looks["bad"]) == [0, 1, 0]
    last = run.evidence.query("stream == 'errors' and domain == 'total'").iloc[-1]
    assert (last["bad"], last["total"]) == (1, looks["total"].sum())
    assert 0 < last["low_pct"] < 100 / last["total"] < last["high_pct"]
    assert run.history["state"].tolist()[-1] == day.history[-1].state.value


def test_an_unknown_frame_or_column_is_an_error():
    """Never an empty answer."""
    with pytest.raises(KeyError):
        frames.frame("trafic", [])
    with pytest.raises(KeyError):
        frames.frame("traffic", [])["request"]


def test_every_column_is_described():
    """docs/data.md has each frame with exactly its columns and types, in order."""
    text = Path("docs/data.md").read_text(encoding="utf-8")
    described = {}
    for part in text.split("\n## ")[1:]:
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| \S", part, re.MULTILINE)
        described[part.split("\n", 1)[0]] = {name: kind.strip() for name, kind in rows}
    assert described == {name: dict(columns) for name, columns in frames.COLUMNS.items()}


def test_nobody_loads_pandas_who_asks_for_no_frame():
    """What a scheduled check imports holds no data frames, but where a frame is asked for."""
    program = (
        "import sys, rollout_lib.operations, rollout_lib.database.session;"
        "sys.exit('pandas' in sys.modules or 'pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_missing_values_stay_missing():
    """No error is 0, no latency is missing, and neither becomes the other."""
    found = frames.frame("traffic", [{"span": "window", "errors": 0}])
    assert found.loc[0, "errors"] == 0
    assert pd.isna(found.loc[0, "p95_ms"])
