"""What a measurement adds to the evidence: distinct failing webhooks among requests, each once.

A look counts its own increment, and what arrived since of the looks of the last hour, which each
check reads again: of every bucket, what is there now less what was counted of it before. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from rollout_lib import evidence
from rollout_lib.judgement.figures import timed
from rollout_lib.model import (
    LEGACY,
    ROUTER,
    ROUTER_ERROR,
    TOTAL,
    UNIFIED,
    Cell,
    Counts,
    Look,
    Measurement,
    Traffic,
)
from rollout_lib.plan.schema import Plan

LATENCY_LIMIT = 0.05  # p95 > T is P(latency > T) > 5 %
SPLIT = "split"  # of webhooks: bad is unified, total unified and legacy
ROWS = "rows"  # of unified, retries and all: what may come late, and what may be gone
PLAIN = "plain:"  # a stream as it is told: without the refractory time
NOTHING = Counts(bad=0, total=0)
Times = tuple[datetime | None, ...]


def error_limit(plan: Plan) -> float:
    """The rate that every request is allowed: the runbook's 0.1 % as a share."""
    return float(plan.thresholds.error_rate_investigate_pct) / 100


def look_from(measurement: Measurement, slot: datetime | None, closed: bool, plan: Plan) -> Look:
    """The look of a check: its increment, and what came late of the looks before it."""
    buckets = measurement.buckets or (measurement.increment,)
    before = measurement.before if measurement.buckets else None
    carried = _carried(before, buckets)
    seen, last_bad, added = {}, {}, {}
    late = gone = 0
    for name, count in _streams(measurement, plan).items():
        now, last_bad[name] = count(buckets, carried.get(name))
        was = tuple(_counted_before(before, name, bucket) for bucket in buckets)
        added[name], seen[name] = _added(now, was)
        if name == ROWS:
            gone, late = _gone(now, was), _late(now, was, measurement)
    plain = {name.removeprefix(PLAIN): added.pop(name) for name in _plain(added)}
    seen = {
        name: counts
        for name, counts in seen.items()
        if not name.startswith(PLAIN) or counts != seen[name.removeprefix(PLAIN)]
    }
    errors = {label: added[f"errors:{label}"] for label in (*plan.domains, TOTAL)}
    return Look(
        slot=slot,
        window=measurement.increment.window,
        errors=errors,
        latency={label: added[f"latency:{label}"] for label in (*plan.domains, TOTAL)},
        router=added[ROUTER],
        legacy=added[LEGACY],
        unified_settled=added[SPLIT].bad,
        legacy_settled=added[SPLIT].total - added[SPLIT].bad,
        closed=closed,
        protected={name: added[f"protected:{name}"] for name in plan.protected_domains},
        legacy_domains={name: added[f"legacy:{name}"].total for name in plan.domains},
        late=late,
        gone=gone,
        buckets=_edges(buckets) if measurement.buckets and closed else (),
        seen=seen if measurement.buckets and closed else {},
        last_bad={name: at for name, at in last_bad.items() if any(at)} if closed else {},
        carried=carried,
        plain={name: counts for name, counts in plain.items() if counts != added[name]},
        rows=added[ROWS].total,
        slower={name: added[f"slower:{name}"] for name in (UNIFIED, LEGACY)},
    )


def _plain(names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(PLAIN)]


def told(look: Look, stream: str) -> Counts:
    """What a look says of `errors:total`, `latency:jobs` or `router`, every failing webhook in it."""
    if stream in look.plain:
        return look.plain[stream]
    if stream == ROUTER:
        return look.router
    measure, _, domain = stream.partition(":")
    return (look.errors if measure == "errors" else look.latency)[domain]


def phase_counts(measurement: Measurement, plan: Plan) -> Look:
    """The whole phase (measurement.phase) counted as one look, with nothing of it counted before."""
    if measurement.phase is None:
        raise ValueError("the phase was not measured")
    whole = replace(measurement, increment=measurement.phase, buckets=(), before=None)
    return look_from(whole, None, False, plan)


def against_looks(whole: Look, tail: Look, looks: Sequence[Look]) -> tuple[Counts, int, int]:
    """Errors in total by the larger of two counts, the phase as a whole and the sum of its looks
    with the open one (tail); and how much more the whole has, (rows, failing webhooks): fewer rows
    are gone. Where an older look has no rows, its requests stand for them.
    """
    parts = [told(look, f"errors:{TOTAL}") for look in (*looks, tail)]
    bad, total = sum(part.bad for part in parts), sum(part.total for part in parts)
    counts = told(whole, f"errors:{TOTAL}")
    larger = Counts(bad=max(bad, counts.bad), total=max(total, counts.total))
    rows = [look.rows for look in (whole, *looks, tail)]
    known = [count for count in rows if count is not None]
    more = counts.total - total if len(known) < len(rows) else 2 * known[0] - sum(known)
    return larger, more, counts.bad - bad


Counter = Callable[[Sequence[Traffic], datetime | None], tuple[tuple[Counts, ...], Times]]


def _streams(measurement: Measurement, plan: Plan) -> dict[str, Counter]:
    """How each stream counts its buckets, given when its last failure before them counted."""
    everything = list(plan.domains)
    streams: dict[str, Counter] = {}
    for label, names in [(name, [name]) for name in everything] + [(TOTAL, everything)]:
        cells = _of(UNIFIED, names)
        wait = refractory_of(plan, measurement, label, error_limit(plan))
        streams |= _both(f"errors:{label}", cells, _error_counts, _failed_at, wait)
        wait = refractory_of(plan, measurement, label, LATENCY_LIMIT)
        streams |= _both(f"latency:{label}", cells, _slow_counts, _slow_at, wait)
    wait = refractory_of(plan, measurement, ROUTER, error_limit(plan))
    streams |= _both(ROUTER, lambda traffic: traffic.cells, _router_counts, _unreached_at, wait)
    for name in (UNIFIED, LEGACY):
        streams[f"slower:{name}"] = _counter(_of(name, everything), _slow_rows, _slow_at, None)
    streams[ROWS] = _counter(_of(UNIFIED, everything), _row_counts, _failed_at, None)
    streams[LEGACY] = _counter(_of(LEGACY, everything), _error_counts, _failed_at, None)
    for name in everything:
        streams[f"legacy:{name}"] = _counter(_of(LEGACY, [name]), _error_counts, _failed_at, None)
    for name in plan.protected_domains:
        streams[f"protected:{name}"] = _counter(_untouched(name), _error_counts, _failed_at, None)
    streams[SPLIT] = _split_counter(measurement, plan)
    return streams


def _both(
    name: str,
    cells: Callable[[Traffic], Iterable[Cell]],
    rows: Callable[[Iterable[Cell]], tuple[int, int, int]],
    times: Callable[[Iterable[Cell]], list[datetime] | None],
    wait: timedelta | None,
) -> dict[str, Counter]:
    """A stream as the evidence counts it, and as it is told."""
    return {
        name: _counter(cells, rows, times, wait),
        f"{PLAIN}{name}": _counter(cells, rows, times, None),
    }


def refractory_of(
    plan: Plan, measurement: Measurement, label: str, limit: float
) -> timedelta | None:
    """How long one failure keeps the next of its stream from counting; None outside a phase.

    It follows from what the plan expects of the stream at the phase's percentage, not from what
    came."""
    if measurement.percentage is None:
        return None
    per_hour = plan.expected_requests_per_hour
    expected = float(per_hour.get(label, sum(per_hour.values())))
    if label != ROUTER:
        expected *= float(measurement.percentage) / 100
    return evidence.refractory(limit, expected) if expected > 0 else None


def _counter(
    cells: Callable[[Traffic], Iterable[Cell]],
    rows: Callable[[Iterable[Cell]], tuple[int, int, int]],
    times: Callable[[Iterable[Cell]], list[datetime] | None],
    wait: timedelta | None,
) -> Counter:
    """A stream's count of each bucket: n = rows - (bad rows - bad), so a retry is no request."""

    def count(
        buckets: Sequence[Traffic], last: datetime | None
    ) -> tuple[tuple[Counts, ...], Times]:
        found, lasts = [], []
        for bucket in buckets:
            kept = list(cells(bucket))
            total, bad_rows, bad = rows(kept)
            at = times(kept)
            if wait is not None and at is not None:
                bad, last = spaced(at, wait, last)
            found.append(Counts(bad=bad, total=total - (bad_rows - bad)))
            lasts.append(last if bad else None)
        return tuple(found), tuple(lasts)

    return count


def spaced(
    times: Iterable[datetime], wait: timedelta, last: datetime | None
) -> tuple[int, datetime | None]:
    """How many failures count where each must be `wait` after the one that counted last; and the
    last of them.
    """
    count = 0
    for at in sorted(times):
        if last is None or at - last >= wait:
            count, last = count + 1, at
    return count, last


def _split_counter(measurement: Measurement, plan: Plan) -> Counter:
    """Webhooks of the plan's domains by destination, from when the new percentage may be judged."""

    def webhooks(traffic: Traffic, routed_to: str) -> int:
        total, bad_rows, bad = _error_counts(_of(routed_to, list(plan.domains))(traffic))
        return total - (bad_rows - bad)

    def count(
        buckets: Sequence[Traffic], last: datetime | None
    ) -> tuple[tuple[Counts, ...], Times]:
        if not measurement.buckets:
            unified = measurement.settled_unified
            whole = Counts(bad=unified, total=unified + measurement.settled_legacy)
            return (whole,), (None,)
        found = []
        for bucket in buckets:
            settled = measurement.settled_from
            if settled is not None and bucket.window.start < settled:
                found.append(NOTHING)
                continue
            unified = webhooks(bucket, UNIFIED)
            found.append(Counts(bad=unified, total=unified + webhooks(bucket, LEGACY)))
        return tuple(found), (None,) * len(found)

    return count


def _of(routed_to: str, names: Sequence[str]) -> Callable[[Traffic], Iterable[Cell]]:
    return lambda traffic: [
        cell for cell in traffic.cells if cell.routed_to == routed_to and cell.domain in names
    ]


def _untouched(name: str) -> Callable[[Traffic], Iterable[Cell]]:
    """A protected domain's own rows; those that went to unified are the leak's."""
    return lambda traffic: [
        cell for cell in traffic.cells if cell.domain == name and cell.routed_to != UNIFIED
    ]


def _error_counts(cells: Iterable[Cell]) -> tuple[int, int, int]:
    """(rows, failed rows, distinct failing webhooks)."""
    kept = list(cells)
    return (
        sum(cell.requests for cell in kept),
        sum(cell.errors for cell in kept),
        sum(cell.failing or 0 for cell in kept),
    )


def _row_counts(cells: Iterable[Cell]) -> tuple[int, int, int]:
    return sum(cell.requests for cell in cells), 0, 0


def _slow_counts(cells: Iterable[Cell]) -> tuple[int, int, int]:
    kept = list(cells)
    return (
        sum(timed(cell) for cell in kept),
        sum(cell.slow for cell in kept),
        sum(cell.slow_failing or 0 for cell in kept),
    )


def _slow_rows(cells: Iterable[Cell]) -> tuple[int, int, int]:
    """Rows alike of both destinations: legacy's slow webhooks are not told apart by their ids."""
    kept = list(cells)
    slow = sum(cell.slow for cell in kept)
    return sum(timed(cell) for cell in kept), slow, slow


def _router_counts(cells: Iterable[Cell]) -> tuple[int, int, int]:
    """All rows, those that reached no destination, and their distinct webhooks."""
    kept = list(cells)
    unreached = [cell for cell in kept if cell.routed_to == ROUTER_ERROR]
    return (
        sum(cell.requests for cell in kept),
        sum(cell.requests for cell in unreached),
        sum(cell.failing or 0 for cell in unreached),
    )


def _failed_at(cells: Iterable[Cell]) -> list[datetime] | None:
    return _times([cell.failed_at for cell in cells])


def _slow_at(cells: Iterable[Cell]) -> list[datetime] | None:
    return _times([cell.slow_at for cell in cells])


def _unreached_at(cells: Iterable[Cell]) -> list[datetime] | None:
    return _times([cell.failed_at for cell in cells if cell.routed_to == ROUTER_ERROR])


def _times(found: Sequence[tuple[datetime, ...] | None]) -> list[datetime] | None:
    """All instants together; None where one cell does not have its own."""
    if any(times is None for times in found):
        return None
    return sorted(at for times in found for at in times or ())


def _carried(before: Look | None, buckets: Sequence[Traffic]) -> dict[str, datetime]:
    """When each stream's last failure counted before the first of the buckets that are read again."""
    if before is None:
        return {}
    first, carried = buckets[0].window.start, dict(before.carried)
    for name, times in before.last_bad.items():
        for start, at in zip(before.buckets, times, strict=False):
            if at is not None and start < first:
                carried[name] = max(at, carried.get(name, at))
    return carried


def _counted_before(before: Look | None, name: str, bucket: Traffic) -> Counts:
    """What the looks before have counted of a bucket: nothing of the increment.

    What was not kept by itself was the same as what the evidence counted."""
    if before is None:
        return NOTHING
    if name not in before.seen:
        name = f"errors:{TOTAL}" if name == ROWS else name.removeprefix(PLAIN)
    if name not in before.seen:
        return NOTHING
    parts = [
        part
        for start, part in zip(before.buckets, before.seen[name], strict=False)
        if bucket.window.start <= start < bucket.window.end
    ]
    return Counts(bad=sum(part.bad for part in parts), total=sum(part.total for part in parts))


def _added(now: Sequence[Counts], was: Sequence[Counts]) -> tuple[Counts, tuple[Counts, ...]]:
    """What there is more than was counted, never less than nothing; and what is counted now.

    Where rows are gone, or ids identify what they did not, the larger count of each bucket stays:
    what was counted once is not counted again when it comes back."""
    bad = sum(part.bad for part in now) - sum(part.bad for part in was)
    total = sum(part.total for part in now) - sum(part.total for part in was)
    seen = tuple(now)
    if bad < 0 or total < 0:
        seen = tuple(
            Counts(bad=max(here.bad, there.bad), total=max(here.total, there.total))
            for here, there in zip(now, was, strict=True)
        )
    bad = max(bad, 0)
    return Counts(bad=bad, total=max(total, bad)), seen


def _gone(now: Sequence[Counts], was: Sequence[Counts]) -> int:
    """Requests that were counted and are not there any more."""
    return sum(max(there.total - here.total, 0) for here, there in zip(now, was, strict=True))


def _late(now: Sequence[Counts], was: Sequence[Counts], measurement: Measurement) -> int:
    """Requests of earlier looks that have arrived since."""
    start = measurement.increment.window.start
    return sum(
        max(here.total - there.total, 0)
        for here, there, bucket in zip(now, was, measurement.buckets, strict=False)
        if bucket.window.end <= start
    )


def _edges(buckets: Sequence[Traffic]) -> tuple[datetime, ...]:
    return (*[bucket.window.start for bucket in buckets], buckets[-1].window.end)
