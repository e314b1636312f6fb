"""The lease of a watcher whose rounds do not go on any more."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from rollout_lib.database import lease as module
from rollout_lib.database.lease import Lease, who_watches

pytestmark = pytest.mark.one_server


def test_a_watcher_that_hangs_loses_its_lease_to_the_one_that_stands_by(database, monkeypatch):
    """Its thread lives and could renew for ever; who stands by gets it all the same, and the first one
    gets it back by its next round at the earliest when that one lets go.
    """
    monkeypatch.setattr(module, "STUCK_S", 0.5)
    hangs, stands_by = (Lease(database, timedelta(seconds=5)) for _ in range(2))
    try:
        assert hangs.take()
        assert not stands_by.take()
        ends = time.monotonic() + 60
        while not stands_by.take() and time.monotonic() < ends:
            time.sleep(0.1)
        assert stands_by.held
        assert stands_by.before == hangs.name
        hangs.moves()
        assert not hangs.take()
        stands_by.release()
        assert hangs.take()
    finally:
        hangs.release()
        stands_by.release()


def test_a_watcher_whose_rounds_go_on_keeps_it(database):
    """Renewed beside its rounds: its end moves on."""
    works = Lease(database, timedelta(seconds=3))
    try:
        assert works.take()
        first, ends = who_watches(database).until, time.monotonic() + 60
        while who_watches(database).until <= first and time.monotonic() < ends:
            works.moves()
            time.sleep(0.1)
        assert who_watches(database).until > first
        assert works.held
    finally:
        works.release()
