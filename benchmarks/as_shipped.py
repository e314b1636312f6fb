"""Whole rollouts as shipped: every stream, the tripwire, bursts, late onset; who is woken.

Run: python -m benchmarks.as_shipped [rollouts per cell]. Prints Markdown; benchmarks/README.md
holds a dated copy. Each request is drawn with its own moment, and failures are thinned as the suite
thins them; the bets and the lines are the suite's own (`restart_paths`, `error_bets`, ACT_AT,
HOLD_AT, AT_LEAST). Evidence rises only with a bad request, so a round of the tripwire is judged at
each of those, as the open slot's partial look."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import numpy as np

from benchmarks.rules import ERRORS, PLAN, SLOT_MINUTES, SLOW
from rollout_lib import evidence as ev
from rollout_lib.judgement.streams import ACT_AT, AT_LEAST, HOLD_AT

SEED = 20251203
DOMAINS = (55, 35, 25)  # unified requests/h at 10 %, as the runbook expects
SLOW_SHARE, UNREACHED = 0.02, 0.0002
BURST_S = 20.0
ALLOWED = 100 * ERRORS[0]


@dataclass(frozen=True, kw_only=True)
class World:
    """What is drawn: the true error rate, in bursts of 2 to 4 or one by one, from which hour on."""

    rate: float
    bursts: bool = False
    from_hour: float = 0.0  # before it 0.05 %


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one phase went."""

    acted_at: float | None  # hours since it began
    held: bool
    undecided: bool


def drawn(
    random: np.random.Generator, per_hour: float, hours: float, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """The moments (hours) of all requests of one stream, and which of them are bad."""
    moments = np.sort(random.uniform(0, hours, random.poisson(per_hour * hours)))
    return moments, random.random(moments.size) < rate


def bursty(
    random: np.random.Generator, moments: np.ndarray, hours: float, events_per_hour: float
) -> tuple[np.ndarray, np.ndarray]:
    """Good requests and, now and then, 2 to 4 that fail within 20 s: a restart, a blip."""
    starts = random.uniform(0, hours, random.poisson(events_per_hour * hours))
    failing = np.concatenate(
        [start + random.uniform(0, BURST_S / 3600, random.integers(2, 5)) for start in starts]
        or [np.empty(0)]
    )
    together = np.concatenate([moments, failing[failing < hours]])
    order = np.argsort(together)
    return together[order], (order >= moments.size)


def counted(moments: np.ndarray, bad: np.ndarray, refractory_h: float) -> np.ndarray:
    """Which requests count: a bad one that comes too soon after the last counted one does not."""
    keep, last = np.ones(moments.size, dtype=bool), -math.inf
    for index in np.flatnonzero(bad):
        if moments[index] - last < refractory_h:
            keep[index] = False
        else:
            last = moments[index]
    return keep


def judged(
    moments: np.ndarray, bad: np.ndarray, hours: float, bets: tuple, per_hour: float, domains: int
) -> tuple[float | None, bool]:
    """When the stream acts (hours; slots and tripwire), and whether it held at a slot before."""
    refractory = ev.refractory(bets[0], per_hour).total_seconds() / 3600
    keep = counted(moments, bad, refractory)
    moments, bad = moments[keep], bad[keep]
    slots = round(hours * 60 / SLOT_MINUTES)
    edges = np.arange(slots + 1) * SLOT_MINUTES / 60
    totals, bads = np.histogram(moments, edges)[0], np.histogram(moments[bad], edges)[0]
    act_at = ACT_AT + math.log(domains)
    path = ev.restart_paths(bads, totals, *bets)
    enough = np.cumsum(bads) >= AT_LEAST
    held = bool(((path >= HOLD_AT) & enough).any())
    could = _at_most(bads, totals, bets) >= act_at
    for at in moments[bad][AT_LEAST - 1 :]:
        slot = int(at * 60 // SLOT_MINUTES)
        if not could[slot]:
            continue
        open_total = np.count_nonzero((moments >= edges[slot]) & (moments <= at))
        open_bad = np.count_nonzero((moments[bad] >= edges[slot]) & (moments[bad] <= at))
        k, n = np.append(bads[:slot], open_bad), np.append(totals[:slot], open_total)
        if ev.restart_paths(k, n, *bets)[-1] >= act_at:
            return float(at), held
    return None, held


def _at_most(bads: np.ndarray, totals: np.ndarray, bets: tuple) -> np.ndarray:
    """Per slot what no partial look of it can exceed: all of its bad requests and no good one."""
    before = np.tri(bads.size, k=-1, dtype=int)
    k = before * bads + np.diag(bads)
    n = before * totals + np.diag(bads)
    return np.diagonal(ev.restart_paths(k, n, *bets))


def one_phase(random: np.random.Generator, phase, world: World) -> Ended:
    """All streams of one phase of the plan."""
    hours = phase.hold.total_seconds() / 3600
    scale = float(phase.percentage) / 10
    parts = []
    for share in DOMAINS:
        moments, _ = drawn(random, share * scale, hours, 0)
        rates = np.where(moments < world.from_hour, 0.0005, world.rate)
        bad = random.random(moments.size) < rates
        if world.bursts:
            events = world.rate * share * scale / 3  # of three failures each, on average
            moments, bad = bursty(random, moments, hours, events)
        parts.append((moments, bad, random.random(moments.size) < SLOW_SHARE))
    moments = np.concatenate([part[0] for part in parts])
    order = np.argsort(moments)
    whole = [np.concatenate([part[kind] for part in parts])[order] for kind in (0, 1, 2)]
    per_hour = sum(DOMAINS) * scale
    rows, unreached = drawn(random, sum(DOMAINS) * 10, hours, UNREACHED)
    streams = [
        (whole[0], whole[1], ERRORS, per_hour, 1),
        (whole[0], whole[2], SLOW, per_hour, 1),
        (rows, unreached, ERRORS, sum(DOMAINS) * 10, 1),
    ]
    for share, (at, bad, slow) in zip(DOMAINS, parts, strict=True):
        streams.append((at, bad, ERRORS, share * scale, len(DOMAINS)))
        streams.append((at, slow, SLOW, share * scale, len(DOMAINS)))
    found = [judged(at, bad, hours, bets, an_hour, n) for at, bad, bets, an_hour, n in streams]
    acted = [at for at, _ in found if at is not None]
    failing, total = int(whole[1].sum()), whole[0].size
    return Ended(
        acted_at=min(acted) if acted else None,
        held=any(held for _, held in found),
        undecided=total > 0 and 100 * failing >= ALLOWED * total,
    )


def rollouts(number: int, world: World) -> None:
    """The plan's phases one after the other until one acts; prints one row of the table."""
    random = np.random.default_rng(SEED)
    acted, woken = 0, 0
    first = {"acted": 0, "undecided": 0}
    for _ in range(number):
        somebody = False
        for index, phase in enumerate(PLAN.phases):
            ended = one_phase(random, phase, world)
            if index == 0:
                first["acted"] += ended.acted_at is not None
                first["undecided"] += ended.undecided
            somebody |= ended.acted_at is not None or ended.held or ended.undecided
            if ended.acted_at is not None:
                acted += 1
                break
        woken += somebody
    name = f"{100 * world.rate:g} %" + (", bursts of 2 to 4" if world.bursts else "")
    cells = (first["acted"], first["undecided"], acted, woken)
    print(f"| {name} | {' | '.join(f'{cell / number:.4f}' for cell in cells)} |", flush=True)


def late_onset(number: int) -> None:
    """The last phase, 24 h: the rate rises after 15 hours; seen within two and within four."""
    phase = PLAN.phases[-1]
    for rate in (0.01, 0.02, 0.05):
        random = np.random.default_rng(SEED + 1)
        world = World(rate=rate, from_hour=15.0)
        ends = [one_phase(random, phase, world).acted_at for _ in range(number)]
        after = [at - 15 for at in ends if at is not None and at >= 15]
        sooner = sum(at is not None and at < 15 for at in ends)
        cells = [sum(delay <= hours for delay in after) / number for hours in (2, 4)]
        print(f"| {100 * rate:g} % | {cells[0]:.3f} | {cells[1]:.3f} | {sooner / number:.4f} |")


def main(number: int) -> None:
    print(f"{number:,} rollouts a row, seed {SEED}; each cell is a share of them.\n")
    print(
        "| true error rate | acts in the 10 % phase | 10 % phase undecided | acts in all | woken |"
    )
    print("| --- | --- | --- | --- | --- |")
    for rate in (0.0005, 0.001):
        rollouts(number, World(rate=rate))
    rollouts(number, World(rate=0.0005, bursts=True))
    print(f"\nLate onset at 50 %, after 15 of 24 h, {number // 4:,} phases:\n")
    print(
        "| from hour 15 | seen within 2 h | within 4 h | acted before |\n| --- | --- | --- | --- |"
    )
    late_onset(number // 4)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
