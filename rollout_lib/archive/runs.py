"""Which runs the ledger knows, and which of their records it can prove. Pure, but for the reading
of bodies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rollout_lib.archive.chain import Link

BY_HAND = "by hand"
_RUNS = ("checkpoint", "extra", "attempt")
_STILL_RUNNING = timedelta(minutes=15)  # a run's own limit is 10
_STILL_OPEN = timedelta(hours=12)  # a notebook that a person has open


@dataclass(kw_only=True)
class Runs:
    """waiting: run id -> the entry of a notebook's checkpoint without its second one. archived:
    path -> (hash, entry) of every file that an entry vouches for. orphans: archived entries whose
    checkpoint is not there."""

    waiting: dict[str, Link] = field(default_factory=dict)
    archived: dict[str, tuple[str, Link]] = field(default_factory=dict)
    orphans: list[Link] = field(default_factory=list)
    sealed: set[str] = field(default_factory=set)
    lost: list[Link] = field(
        default_factory=list
    )  # sealed without their notebook: it was never archived
    changed: list[str] = field(
        default_factory=list
    )  # model notebooks that were edited between two runs


def runs_of(links: Iterable[Link]) -> Runs:
    """The runs of a chain's entries; ValueError where a body is not JSON."""
    runs, seen = Runs(), set[str]()
    sources: dict[str, tuple[str, int]] = {}
    for link in links:
        body = json.loads(link.body)
        if not isinstance(body, dict):
            raise ValueError(f"the body of #{link.seq} is no object")
        if "files" in body and link.kind in ("archived", "attempt"):
            runs.archived |= {path: (claimed, link) for path, claimed in body["files"].items()}
            runs.sealed.add(link.run_id)
            name, _, source = str(body.get("source") or "").rpartition(":")
            if source != sources.get(name, (source,))[0]:
                before = sources[name][1]
                runs.changed.append(
                    f"{name} was edited between the runs of #{before} and #{link.seq}"
                )
            sources[name] = (source, link.seq)
            if link.kind == "archived":
                runs.orphans.append(link)
                if not any(path.endswith(".ipynb") for path in body["files"]):
                    runs.lost.append(link)
        elif link.kind in _RUNS:
            seen.add(link.run_id)
            if made_by(body) != "none":
                runs.waiting[link.run_id] = link
    runs.orphans = [link for link in runs.orphans if link.run_id not in seen]
    runs.waiting = {run: link for run, link in runs.waiting.items() if run not in runs.sealed}
    return runs


def places_of(links: Iterable[Link]) -> set[tuple[str, str, str]]:
    """Environment, database and rollout that a chain's checkpoints name."""
    found = set()
    for link in links:
        try:
            place = json.loads(link.body)["place"]
            found.add((str(place["environment"]), str(place["database"]), str(place["rollout"])))
        except (ValueError, LookupError, TypeError):
            continue  # an entry of another kind, or one that cannot be read
    return found


def made_by(body: Mapping[str, Any]) -> str:
    """The notebook that made a checkpoint, "none" where it was not one (an emergency, a click)."""
    return str((body.get("provenance") or {}).get("notebook") or "none")


def is_by_hand(link: Link) -> bool:
    """Did a person run it in a notebook of their own?"""
    return made_by(json.loads(link.body)).startswith(BY_HAND)


def may_still_run(link: Link, now: datetime) -> bool:
    """Is it so young that its run (or the session of the person who made it) need not have ended
    yet?
    """
    patience = _STILL_OPEN if is_by_hand(link) else _STILL_RUNNING
    return now - datetime.fromisoformat(link.recorded_at) < patience
