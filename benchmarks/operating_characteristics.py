"""How often does each rule roll back, and when? Simulated phases through the suite's own judgement
code.

Run: python -m benchmarks.operating_characteristics [phases per cell]. Prints Markdown;
benchmarks/README.md holds a dated copy. Counts are drawn with numpy, decisions are those of
benchmarks/rules.py."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

import numpy as np

from benchmarks import rules
from benchmarks.rules import ERRORS, PLAN, SLOT_MINUTES, SLOW, Cell, said_of_latency, summary
from rollout_lib import evidence as ev
from rollout_lib.judgement.streams import ACT_AT, AT_LEAST
from rollout_lib.model import State

PER_HOUR, ALL_PER_HOUR = 115, 1150  # unified at 10 %, and all of the plan's domains
DOMAINS = (55, 35, 25)  # unified requests/h at 10 %, as the runbook expects
RATES = (0.0005, 0.001, 0.003, 0.01, 0.02, 0.05, 0.20)
SLOWS = (0.02, 0.04, 0.05, 0.075, 0.10, 0.20, 0.50)
SHARES = (0.10, 0.11, 0.13, 0.15, 0.20, 0.25)
SCALES = ((1, "the runbook's traffic"), (10, "ten times"), (100, "a hundred times"))
SEED = 20251203
INVESTIGATES = (State.STEP_BACK, State.ROLL_BACK)
ERROR_RULES = {
    "literal rolls back": rules.literal,
    "literal investigates": lambda b, n: rules.literal(b, n, states=INVESTIGATES),
    "two checks in a row": lambda b, n: rules.literal(b, n, in_a_row=2),
    "at least 200 requests": lambda b, n: rules.literal(b, n, minimum=200),
    "failure limit 5": rules.failure_limit,
    "**evidence acts**": rules.evidence,
    "evidence rolls back": lambda b, n: rules.evidence(b, n, states=(State.ROLL_BACK,)),
}
_LATE = {"said": said_of_latency, "states": INVESTIGATES}
LATENCY_RULES = {
    "literal (p95 >= 2000 ms)": lambda b, n: rules.literal(b, n, **_LATE),
    "two checks in a row": lambda b, n: rules.literal(b, n, in_a_row=2, **_LATE),
    "at least 200 requests": lambda b, n: rules.literal(b, n, minimum=200, **_LATE),
    "failure limit 5": lambda b, n: rules.failure_limit(b, n, **_LATE),
    "**evidence acts**": lambda b, n: rules.evidence(b, n, bets=SLOW, said=said_of_latency),
}


def draw(
    rate, phases: int, slots: int, per_hour: float, seed: int, onset: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Failures and requests per slot; before `onset` (a slot) the rate is 0.05 %."""
    random = np.random.default_rng(seed)
    totals = random.poisson(per_hour * SLOT_MINUTES / 60, size=(phases, slots))
    return random.binomial(totals, np.where(np.arange(slots) < onset, 0.0005, rate)), totals


def table(title: str, columns: Iterable[str], rows: Iterable[tuple[str, Iterable]]) -> None:
    """Print one Markdown table."""
    columns = list(columns)
    print(f"\n### {title}\n\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(str(cell) for cell in cells)} |", flush=True)


def percents(values) -> list[str]:
    return [f"{100 * value:g} %" for value in values]


def by_rate(phases: int, scale: float, rates, compared: dict, slots: int = 16):
    """One row a rule: the same phases for every rule."""
    drawn = [
        draw(rate, phases, slots, PER_HOUR * scale, SEED + number)
        for number, rate in enumerate(rates)
    ]
    return ((name, [summary(rule(*counts)) for counts in drawn]) for name, rule in compared.items())


def full_ladder(phases: int, rate: float, slow: float = 0.02, router: float = 0.0002) -> Cell:
    """All streams together: errors and latency in total and per domain, and the router."""
    random = np.random.default_rng(SEED + 3)
    totals = [random.poisson(per_hour / 4, (phases, 16)) for per_hour in DOMAINS]
    bads = [random.binomial(total, rate) for total in totals]
    late = [random.binomial(total, slow) for total in totals]
    rows = random.poisson(ALL_PER_HOUR / 4, (phases, 16))
    one, three = {"domains": 1}, {"domains": len(DOMAINS)}
    errors = [(sum(bads), sum(totals), one), (random.binomial(rows, router), rows, one)]
    errors += [(bad, total, three) for bad, total in zip(bads, totals, strict=True)]
    slots = [rules.evidence(bad, total, **more) for bad, total, more in errors]
    slow_streams = [
        (sum(late), sum(totals), one),
        *((a, b, three) for a, b in zip(late, totals, strict=True)),
    ]
    slots += [
        rules.evidence(bad, total, bets=SLOW, said=said_of_latency, **more)
        for bad, total, more in slow_streams
    ]
    acted = np.array(slots)
    return summary(
        np.where((acted >= 0).any(axis=0), np.where(acted < 0, 99, acted).min(axis=0), -1)
    )


def tripwire(phases: int, rate: float) -> Cell:
    """The total stream with a round every 30 s; evidence rises only with a failure, so each one is
    a round.
    """
    random = np.random.default_rng(SEED + 7)
    delays = []
    for _ in range(phases):
        moments = np.sort(random.uniform(0, 240, random.poisson(PER_HOUR * 4)))  # minutes
        failing = moments[random.random(moments.size) < rate]
        delays.append(_first_round(moments, failing))
    acted = [delay for delay in delays if delay is not None]
    return Cell(share=len(acted) / phases, delay=float(np.median(acted)) if acted else None)


def _first_round(moments: np.ndarray, failing: np.ndarray) -> float | None:
    for number in range(AT_LEAST, failing.size + 1):
        at = failing[number - 1]
        edges = np.append(np.arange(0, at, SLOT_MINUTES), at)
        path = ev.log_evidence_restart(
            np.histogram(failing[:number], edges)[0], np.histogram(moments, edges)[0], *ERRORS
        )
        if max(path) >= ACT_AT:
            return math.ceil(at * 2) / 2
    return None


def rollouts(number: int, rate: float, days: int | None) -> dict[str, float]:
    """Phases of the plan one after the other, all domains: the share of rollouts
    that a rule ends.
    """
    ended = {
        name: np.zeros(number, bool)
        for name in ("literal", "literal per domain", "evidence", "all streams")
    }
    for index, phase in enumerate(PLAN.phases[:days]):
        slots, scale = round(phase.hold / PLAN.monitoring.interval), float(phase.percentage) / 10
        drawn = [
            draw(rate, number, slots, share * scale, SEED + 100 * index + place)
            for place, share in enumerate(DOMAINS)
        ]
        total = sum(bad for bad, _ in drawn), sum(requests for _, requests in drawn)
        ended["literal"] |= rules.literal(*total) >= 0
        ended["evidence"] |= rules.evidence(*total) >= 0
        ended["all streams"] |= rules.evidence(*total) >= 0
        for counts in drawn:
            ended["literal per domain"] |= rules.literal(*counts) >= 0
            ended["all streams"] |= rules.evidence(*counts, domains=len(DOMAINS)) >= 0
    return {name: float(hit.mean()) for name, hit in ended.items()}


def splits(phases: int, scale: float):
    """The share over the last hour: literally, twice in a row, and by evidence."""
    drawn = []
    for real in SHARES:
        random = np.random.default_rng(SEED + 11)
        rows = random.poisson(ALL_PER_HOUR * scale / 4, (phases, 16))
        unified = random.binomial(rows, real)
        drawn.append((unified, rows - unified))
    for name, more in (
        ("literal", {"by_evidence": False}),
        ("two checks in a row", {"by_evidence": False, "in_a_row": 2}),
        ("**alarm on evidence**", {"by_evidence": True}),
    ):
        yield name, [summary(rules.split(*counts, 0.10, **more)) for counts in drawn]


def late(phases: int) -> None:
    """Failures that begin late: after two hours of four, and in the last third of a day."""
    onset = {"literal rolls back": rules.literal, "**evidence acts**": rules.evidence}
    rates = (0.01, 0.02, 0.05, 0.20)
    drawn = [draw(rate, phases, 16, PER_HOUR, SEED, onset=8) for rate in rates]
    counted = {name: [rule(*counts) for counts in drawn] for name, rule in onset.items()}
    rows = (
        (name, [summary(np.where(slots >= 8, slots, -1), onset=8) for slots in found])
        for name, found in counted.items()
    )
    table("Late onset: healthy for two hours of four (acts after the onset)", percents(rates), rows)
    print("\n24 h phase, 1 % from slot 61 on, seen within 4 h:")
    for per_hour in (PER_HOUR, 2.5 * PER_HOUR, 5 * PER_HOUR):
        slots = rules.evidence(*draw(0.01, phases, 96, per_hour, SEED, onset=60))
        seen = np.mean((slots >= 60) & (slots < 76))
        print(f"- {per_hour:,.0f} requests/h: {seen:.3f}", flush=True)


def retries(phases: int) -> None:
    """A healthy service whose failing webhooks are logged three times each: by webhook, and by raw
    line.
    """
    bads, totals = draw(0.0005, phases, 16, PER_HOUR, SEED + 5)
    by_webhook = summary(rules.evidence(bads, totals))
    by_line = summary(rules.evidence(3 * bads, totals + 2 * bads))
    print(
        "\nEach failing webhook logged three times, healthy service: false acts counted by webhook"
        f" {by_webhook.share:.3f}, by raw line {by_line.share:.3f}."
    )


def main(phases: int) -> None:
    print(
        f"{phases:,} phases per cell, seed {SEED}; a cell is the share of phases acted in @ median"
        " minutes."
    )
    for scale, name in SCALES:
        table(
            f"Errors, total stream, slots only: {name} ({PER_HOUR * scale:,} requests/h)",
            percents(RATES),
            by_rate(phases, scale, RATES, ERROR_RULES),
        )
    for scale, name in SCALES:
        table(
            f"Latency (share slower than 2000 ms): {name}",
            percents(SLOWS),
            by_rate(phases, scale, SLOWS, LATENCY_RULES),
        )
    for scale, name in SCALES:
        table(
            f"Split at a configured 10 %, by the real share: {name}",
            percents(SHARES),
            splits(phases, scale),
        )
    table(
        "The full ladder (all streams: errors, latency, three domains, router)",
        percents(RATES),
        [("slots only", [full_ladder(phases, rate) for rate in RATES])],
    )
    many = max(phases, 20_000)
    print(
        f"\nHealthy (0.05 % errors, 2 % slow, 0.02 % unreachable), {many:,} phases: the full ladder"
        f" acts falsely in {100 * full_ladder(many, 0.0005).share:.2f} %.",
        flush=True,
    )
    table(
        "With the tripwire (a round every 30 s), total stream",
        [*percents(RATES), "outage"],
        [("acts", [tripwire(phases, rate) for rate in (*RATES, 1.0)])],
    )
    late(phases)
    retries(phases)
    for rate in (0.0005, 0.001):
        for days, name in (
            (2, "Day 3 (10 and 25 %)"),
            (None, "the whole rollout (10 to 50 %, 38 h)"),
        ):
            shares = ", ".join(
                f"{rule} {share:.3f}" for rule, share in rollouts(phases, rate, days).items()
            )
            print(f"\n{name} at {100 * rate:g} %, share rolled back: {shares}.", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
