"""How often does each rule roll back, and when? Simulated phases through the suite's own judgement code.

Run: python -m benchmarks.operating_characteristics [phases per cell]. Counts are drawn with numpy; every
decision is `evidence.log_evidence_restart`, `streams.ladder_state`, `literal.error_state` and friends, the
same functions that a check calls. Prefixes of a path are the paths of earlier looks, so one call judges a
whole phase. Prints Markdown; benchmarks/README.md holds a dated copy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from rollout_lib import evidence as ev
from rollout_lib.judgement.literal import error_state, latency_state
from rollout_lib.judgement.streams import ACT_AT, LATENCY_LIMIT, SPLIT_AT, ladder_state
from rollout_lib.model import State
from rollout_lib.plan import load_plan

PLAN = load_plan("parameters/week6.rehearsal.yaml")
LIMITS = PLAN.thresholds
SLOT_MINUTES, WINDOW_SLOTS = 15, 4
PER_HOUR = 115  # unified, at 10 %
DOMAINS = (55, 35, 25)  # unified requests/h at 10 %, as the runbook expects
RATES = (0.0005, 0.001, 0.003, 0.01, 0.02, 0.05, 0.20)
SEED = 20251203
ACTS = (State.ROLL_BACK, State.STEP_BACK)
Rule = Callable[[np.ndarray, np.ndarray], int | None]  # bads, totals per slot -> slot of the act


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a rule did in one cell: the share of phases it acted in, and the median minutes until then."""

    share: float
    delay: float | None

    def __str__(self) -> str:
        return f"{self.share:.3f}" if self.delay is None else f"{self.share:.3f} @ {self.delay:.0f}"


def evidence_rule(bads: np.ndarray, totals: np.ndarray, *, factor: int = 1, acts=ACTS) -> int | None:
    """The slot of the first act of one errors stream; None where the phase goes through."""
    path = ev.log_evidence_restart(bads, totals, 0.001, ev.ERROR_ALTERNATIVES, ev.ERROR_WEIGHTS)
    return _first_act(path, bads, totals, lambda bad, total: error_state(bad, total, LIMITS), factor, acts)


def _first_act(path, bads, totals, literal, factor: int, acts) -> int | None:
    act_at = ACT_AT + math.log(factor)
    if max(path) < act_at:
        return None
    peak, seen, total = -math.inf, 0, 0
    for slot, value in enumerate(path):
        peak, seen, total = max(peak, value), seen + int(bads[slot]), total + int(totals[slot])
        start = max(0, slot - WINDOW_SLOTS + 1)
        said = literal(int(bads[start : slot + 1].sum()), int(totals[start : slot + 1].sum()))
        if ladder_state(value, peak, act_at, seen, total, 0.0, said) in acts:
            return slot
    return None


def latency_rule(bads: np.ndarray, totals: np.ndarray, *, factor: int = 1, acts=ACTS) -> int | None:
    """The same for slow requests; p95 over 3000 ms is never claimed, so its act is a step back."""
    path = ev.log_evidence_restart(bads, totals, LATENCY_LIMIT, ev.LATENCY_ALTERNATIVES, ev.LATENCY_WEIGHTS)

    def literal(bad: int, total: int) -> State:
        over = bad > LATENCY_LIMIT * total
        return latency_state(2500.0 if over else 900.0, LIMITS) if total else State.QUIET

    return _first_act(path, bads, totals, literal, factor, acts)


def literal_rule(bads, totals, *, in_a_row: int = 1, minimum: int = 0, state=(State.ROLL_BACK,)) -> int | None:
    """The runbook's thresholds on the last hour: over 0.5 % rolls back."""
    row = 0
    for slot in range(len(bads)):
        start = max(0, slot - WINDOW_SLOTS + 1)
        bad, total = int(bads[start : slot + 1].sum()), int(totals[start : slot + 1].sum())
        hit = total >= minimum and error_state(bad, total, LIMITS) in state
        row = row + 1 if hit else 0
        if row >= in_a_row:
            return slot
    return None


def failure_limit(bads, totals, *, limit: int = 5) -> int | None:
    """As the Kubernetes controllers count: that many failed checks in all, each on its own interval."""
    failed = 0
    for slot in range(len(bads)):
        failed += error_state(int(bads[slot]), int(totals[slot]), LIMITS) is State.ROLL_BACK
        if failed >= limit:
            return slot
    return None


RULES: dict[str, Rule] = {
    "literal rolls back": literal_rule,
    "two checks in a row": lambda b, n: literal_rule(b, n, in_a_row=2),
    "at least 200 requests": lambda b, n: literal_rule(b, n, minimum=200),
    "failure limit 5": failure_limit,
    "**evidence acts**": evidence_rule,
    "evidence rolls back": lambda b, n: evidence_rule(b, n, acts=(State.ROLL_BACK,)),
}


def draw(rate, phases: int, slots: int, per_hour: float, seed: int, onset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Requests and failures per slot; before `onset` (a slot) the rate is 0.05 %."""
    random = np.random.default_rng(seed)
    totals = random.poisson(per_hour * SLOT_MINUTES / 60, size=(phases, slots))
    rates = np.where(np.arange(slots) < onset, 0.0005, rate)
    return random.binomial(totals, rates), totals


def summary(ends: list[int | None], onset: int = 0) -> Cell:
    """Share of acts, and the median delay in minutes since the onset."""
    slots = [end for end in ends if end is not None]
    delay = None if not slots else float(np.median([(end + 1 - onset) * SLOT_MINUTES for end in slots]))
    return Cell(share=len(slots) / len(ends), delay=delay)


def table(title: str, columns: list[str], rows: Iterator[tuple[str, list]]) -> None:
    """Print one Markdown table."""
    print(f"\n### {title}\n\n| | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for name, cells in rows:
        print(f"| {name} | {' | '.join(str(cell) for cell in cells)} |", flush=True)


def rules_by_rate(phases: int, scale: float, rates=RATES, rules=None, slots: int = 16) -> Iterator[tuple[str, list]]:
    for name, rule in (rules or RULES).items():
        cells = []
        for number, rate in enumerate(rates):
            bads, totals = draw(rate, phases, slots, PER_HOUR * scale, SEED + number)
            cells.append(summary([rule(b, n) for b, n in zip(bads, totals, strict=True)]))
        yield name, cells


def full_ladder(phases: int, rate: float, slow: float, router: float = 0.0002) -> Cell:
    """All streams together: errors and latency in total and per domain, and the router."""
    random = np.random.default_rng(SEED)
    ends = []
    for _ in range(phases):
        totals = [random.poisson(per_hour / 4, 16) for per_hour in DOMAINS]
        bads = [random.binomial(total, rate) for total in totals]
        slows = [random.binomial(total, slow) for total in totals]
        everything = sum(totals)
        rows = random.poisson(1300 / 4, 16)
        found = [evidence_rule(sum(bads), everything), latency_rule(sum(slows), everything),
                 evidence_rule(random.binomial(rows, router), rows)]  # fmt: skip
        for total, bad, late in zip(totals, bads, slows, strict=True):
            found += [evidence_rule(bad, total, factor=3), latency_rule(late, total, factor=3)]
        acted = [slot for slot in found if slot is not None]
        ends.append(min(acted) if acted else None)
    return summary(ends)


def tripwire(phases: int, rate: float, scale: float = 1.0) -> Cell:
    """The total stream with a round every 30 s; evidence rises only with a failure, so each one is a round."""
    random = np.random.default_rng(SEED + 7)
    delays = []
    for _ in range(phases):
        number = random.poisson(PER_HOUR * scale * 4)
        moments = np.sort(random.uniform(0, 240, number))  # minutes
        failing = moments[random.random(number) < rate]
        delays.append(_first_round(moments, failing))
    acted = [delay for delay in delays if delay is not None]
    return Cell(share=len(acted) / phases, delay=float(np.median(acted)) if acted else None)


def _first_round(moments: np.ndarray, failing: np.ndarray) -> float | None:
    for index, at in enumerate(failing):
        if index == 0:
            continue  # never on a single webhook
        edges = np.append(np.arange(0, at, SLOT_MINUTES), at)
        totals = np.histogram(moments, edges)[0] if len(edges) > 1 else np.array([0])
        bads = np.histogram(failing[: index + 1], edges)[0]
        path = ev.log_evidence_restart(bads, totals, 0.001, ev.ERROR_ALTERNATIVES, ev.ERROR_WEIGHTS)
        if path[-1] >= ACT_AT:
            return math.ceil(at * 2) / 2 + 0.0
    return None


def whole_rollout(phases: int, rate: float) -> dict[str, float]:
    """10 % 4 h, 25 % 4 h, 35 % 6 h, 50 % 24 h, one after the other: the share that is rolled back."""
    ended = {"literal": 0, "evidence": 0}
    for number in range(phases):
        hit = {"literal": False, "evidence": False}
        for index, phase in enumerate(PLAN.phases):
            slots = round(phase.hold / PLAN.monitoring.interval)
            per_hour = PER_HOUR * float(phase.percentage) / 10
            bads, totals = draw(rate, 1, slots, per_hour, SEED + 1000 * number + index)
            hit["literal"] |= literal_rule(bads[0], totals[0]) is not None
            hit["evidence"] |= evidence_rule(bads[0], totals[0]) is not None
        for name in ended:
            ended[name] += hit[name]
    return {name: count / phases for name, count in ended.items()}


def split_alarms(phases: int, real: float, configured: float = 0.10, scale: float = 1.0) -> Cell:
    """The split alarm: evidence of 100 and more than 2 points away in the last hour."""
    random = np.random.default_rng(SEED + 11)
    ends = []
    for _ in range(phases):
        rows = random.poisson(1150 * scale / 4, 16)
        unified = random.binomial(rows, real)
        path = ev.log_split_evidence_restart(unified, rows - unified, configured)
        end = None
        for slot, value in enumerate(path):
            start = max(0, slot - WINDOW_SLOTS + 1)
            share = 100 * unified[start : slot + 1].sum() / max(rows[start : slot + 1].sum(), 1)
            if max(path[: slot + 1]) >= SPLIT_AT and abs(share - 100 * configured) > 2 and value > -math.inf:
                end = slot
                break
        ends.append(end)
    return summary(ends)


def main(phases: int) -> None:
    columns = [f"{100 * rate:g} %" for rate in RATES]
    print(f"{phases:,} phases per cell, seed {SEED}; a cell is the share of phases acted in @ median minutes.")
    for scale, name in (
        (1, "the runbook's traffic (115 requests/h at 10 %)"),
        (10, "ten times"),
        (100, "a hundred times"),
    ):
        table(f"Errors, total stream, slots only: {name}", columns, rules_by_rate(phases, scale))
    slow = (0.02, 0.04, 0.05, 0.075, 0.10, 0.20, 0.50)
    rules = {"evidence acts": latency_rule}
    for scale in (1, 10, 100):
        table(f"Latency (share slower than 2000 ms), {scale} x traffic", [f"{100 * s:g} %" for s in slow],
              rules_by_rate(phases, scale, slow, rules))  # fmt: skip
    real = (0.10, 0.11, 0.13, 0.15, 0.20, 0.25)
    rows = (
        (f"{scale} x traffic", [split_alarms(phases, share, scale=scale) for share in real]) for scale in (1, 10, 100)
    )
    table("Split alarm at a configured 10 %, by the real share", [f"{100 * share:g} %" for share in real], rows)
    ladder = [full_ladder(phases, rate, 0.02) for rate in RATES]
    table("The full ladder (all streams)", columns, iter([("acts", ladder)]))
    wired = [tripwire(phases, rate) for rate in (*RATES, 1.0)]
    table("With the tripwire, total stream", [*columns, "outage"], iter([("acts", wired)]))
    onsets = []
    for rate in (0.01, 0.02, 0.05, 0.20):
        bads, totals = draw(rate, phases, 16, PER_HOUR, SEED, onset=8)
        onsets.append(summary([evidence_rule(b, n) for b, n in zip(bads, totals, strict=True)], onset=8))
    table("Late onset (after two hours)", ["1 %", "2 %", "5 %", "20 %"], iter([("evidence acts", onsets)]))
    bads, totals = draw(0.01, phases, 96, PER_HOUR * 5, SEED, onset=60)
    ends = [evidence_rule(b, n) for b, n in zip(bads, totals, strict=True)]
    soon = sum(end is not None and 60 <= end < 76 for end in ends) / phases
    print(f"\n24 h phase, 1 % from slot 61 on: seen within 4 h in {soon:.3f} of phases (restart every 16 looks).")
    whole = whole_rollout(min(phases, 2000), 0.0005)
    print(f"\nWhole rollout at 0.05 %: literal rolls back {whole['literal']:.3f}, evidence {whole['evidence']:.3f}.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
