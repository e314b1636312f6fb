"""Times of things done in turn in one run, and their ratios: what a noisy machine can still say."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def paired(things: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each thing in each round; each round does all of them, in an order that turns."""
    names = list(things)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began = time.perf_counter()
            things[name]()
            times[name].append(time.perf_counter() - began)
    return times


def table(times: Mapping[str, list[float]], base: str) -> str:
    """Markdown: median seconds, fastest to slowest, and the median of the ratios to `base` within
    rounds.
    """
    lines = [
        f"| | median, s | fastest … slowest, s | times {base} |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, seconds in times.items():
        ratio = statistics.median(
            one / other for one, other in zip(seconds, times[base], strict=True)
        )
        spread = f"{min(seconds):.3f} … {max(seconds):.3f}"
        lines.append(f"| {name} | {statistics.median(seconds):.3f} | {spread} | {ratio:.2f} |")
    return "\n".join(lines)
