"""Figures from cells: percentiles, totals, shares, and the rows of the tables. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rollout_lib.model import LEGACY, TOTAL, UNIFIED, Cell, Traffic


def percentile(latencies: Mapping[int, int], q: float) -> float | None:
    """percentile_cont of a histogram (ms -> rows), to the digit; None without a row.

    PostgreSQL interpolates linearly between the two rows around position q * (n - 1).
    """
    total = sum(latencies.values())
    if total == 0:
        return None
    position = q * (total - 1)
    low, high = math.floor(position), math.ceil(position)
    first, second = _ranked(latencies, low), _ranked(latencies, high)
    return first + (position - low) * (second - first)


def _ranked(latencies: Mapping[int, int], rank: int) -> float:
    """The value of the row with this rank, from 0; there is one."""
    seen = 0
    for value in sorted(latencies):
        seen += latencies[value]
        if seen > rank:
            return float(value)
    raise ValueError(f"rank {rank} of {seen} latencies")


def timed(cell: Cell) -> int:
    """Rows of a cell with a latency that can be one: 0 ms or more."""
    if cell.timed is not None:
        return cell.timed
    return sum(rows for ms, rows in cell.latencies.items() if ms >= 0)


def merge(cells: Iterable[Cell], domain: str = TOTAL, routed_to: str = UNIFIED) -> Cell:
    """One cell that adds up the given ones (none of them is a cell of zeros)."""
    latencies: dict[int, int] = defaultdict(int)
    requests = errors = slow = failing = slow_failing = with_latency = without = 0
    for cell in cells:
        requests, errors, slow = requests + cell.requests, errors + cell.errors, slow + cell.slow
        with_latency, without = with_latency + timed(cell), without + cell.untimed
        failing, slow_failing = (
            failing + (cell.failing or 0),
            slow_failing + (cell.slow_failing or 0),
        )
        for ms, rows in cell.latencies.items():
            latencies[ms] += rows
    return Cell(
        domain=domain,
        routed_to=routed_to,
        requests=requests,
        errors=errors,
        latencies=dict(latencies),
        failing=failing,
        slow=slow,
        slow_failing=slow_failing,
        timed=with_latency,
        untimed=without,
    )


def select(traffic: Traffic, routed_to: str, domains: Sequence[str]) -> Cell:
    """What the given domains sent to one destination, as one cell."""
    name = domains[0] if len(domains) == 1 else TOTAL
    kept = [
        cell for cell in traffic.cells if cell.routed_to == routed_to and cell.domain in domains
    ]
    return merge(kept, name, routed_to)


def share(traffic: Traffic, domains: Sequence[str]) -> tuple[int, int]:
    """Rows of unified and of legacy over the given domains."""
    return select(traffic, UNIFIED, domains).requests, select(traffic, LEGACY, domains).requests


def mean(latencies: Mapping[int, int]) -> float | None:
    """Mean latency in ms, None without a row."""
    rows = sum(latencies.values())
    return sum(ms * count for ms, count in latencies.items()) / rows if rows else None


def table_rows(traffic: Traffic, domains: Sequence[str]) -> list[dict[str, Any]]:
    """Per domain and destination, total last: requests, errors, avg_ms,
    p50/p95/p99_ms, share_pct.
    """
    rows: list[dict[str, Any]] = []
    for names in [[domain] for domain in domains] + [list(domains)]:
        label = names[0] if len(names) == 1 else TOTAL
        if len(domains) == 1 and label != TOTAL and len(rows) >= 2:
            label = TOTAL
        both = sum(share(traffic, names))
        for routed_to in (UNIFIED, LEGACY):
            cell = select(traffic, routed_to, names)
            rows.append(
                {
                    "domain": label,
                    "routed_to": routed_to,
                    "requests": cell.requests,
                    "errors": cell.errors,
                    "avg_ms": mean(cell.latencies),
                    "p50_ms": percentile(cell.latencies, 0.50),
                    "p95_ms": percentile(cell.latencies, 0.95),
                    "p99_ms": percentile(cell.latencies, 0.99),
                    "share_pct": 100 * cell.requests / both if both else None,
                }
            )
    return rows
