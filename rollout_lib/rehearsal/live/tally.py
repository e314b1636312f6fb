"""What a live rehearsal came to: the client's lines, the log's rows and the functions' own counts.
Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rollout_lib.model import UNIFIED
from rollout_lib.rehearsal.live.configuration import VALID_S
from rollout_lib.rehearsal.live.load import Sent

SETTLED_S = VALID_S  # after a change the router decides by it within its cache's second


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Unix seconds; None for what did not happen. The ones of the routing are when it was seen
    committed.
    """

    on: float | None
    fault: float | None
    off: float | None


@dataclass(frozen=True, kw_only=True)
class Share:
    """One domain while routing was on: what went to unified, against what was configured (both in
    percent).
    """

    domain: str
    requests: int
    unified: int
    configured_pct: float


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Requests, by who saw them. lost: never answered, without a row, or answered well and received
    by nobody.
    """

    sent: int
    answered: int
    failed: int  # answered with 400 or more
    logged: int  # requests with at least one row
    rows: int
    fell_back: int  # two rows: unified could not be reached, legacy served it
    lost: tuple[str, ...]  # correlation ids
    doubled: tuple[str, ...]  # handed to more than one function, or twice to one
    miscounted: tuple[str, ...]  # rows that are neither one nor a fall-back's two
    shares: tuple[Share, ...]
    protected_touched: (
        int  # protected requests that went to unified, by the client, the log or unified itself
    )
    protected_failed: int
    late: int  # sent more than the cache's second after the rollback, and still sent to unified
    fault_to_off_s: (
        float | None
    )  # until the last request that was sent to unified, as the client saw it


Row = tuple[str, str, str]  # correlation id, domain, routed_to


def tally(
    sent: Sequence[Sent],
    rows: Sequence[Row],
    received: Mapping[str, Sequence[tuple[float, str]]],
    *,
    unified_name: str,
    protected: Collection[str],
    configured_pct: float,
    moments: Moments,
) -> Tally:
    """Compare the three views of the same traffic."""
    routed: dict[str, list[str]] = defaultdict(list)
    for identity, _, routed_to in rows:
        routed[identity].append(routed_to)
    ran = Counter(identity for got in received.values() for _, identity in got)
    at_unified = {identity for _, identity in received.get(unified_name, ())}
    tried = {
        one.correlation_id for one in sent if UNIFIED in routed[one.correlation_id]
    } | at_unified
    guarded = [one for one in sent if one.domain in protected]
    return Tally(
        sent=len(sent),
        answered=sum(one.status is not None for one in sent),
        failed=sum(one.status is not None and one.status >= 400 for one in sent),
        logged=sum(bool(routed[one.correlation_id]) for one in sent),
        rows=len(rows),
        fell_back=sum(_fell_back(routed[one.correlation_id]) for one in sent),
        lost=tuple(one.correlation_id for one in sent if _lost(one, routed, ran)),
        doubled=tuple(identity for identity, times in ran.items() if times > 1),
        miscounted=tuple(
            one.correlation_id
            for one in sent
            if len(routed[one.correlation_id]) > 1 and not _fell_back(routed[one.correlation_id])
        ),
        shares=_shares(sent, tried, protected, configured_pct, moments),
        protected_touched=sum(
            one.correlation_id in tried or one.routed_to == UNIFIED for one in guarded
        ),
        protected_failed=sum(one.status is None or one.status >= 400 for one in guarded),
        late=_late(sent, tried, moments),
        fault_to_off_s=_fault_to_off(sent, tried, moments),
    )


def _fell_back(routes: Sequence[str]) -> bool:
    return len(routes) == 2 and routes.count(UNIFIED) == 1


def _lost(one: Sent, routed: Mapping[str, Sequence[str]], ran: Counter[str]) -> bool:
    well = one.status is not None and one.status < 400
    return (
        one.status is None
        or not routed[one.correlation_id]
        or (well and not ran[one.correlation_id])
    )


def _shares(
    sent,
    tried: Collection[str],
    protected: Collection[str],
    configured_pct: float,
    moments: Moments,
) -> tuple[Share, ...]:
    """Requests sent while routing was surely on, per domain."""
    if moments.on is None:
        return ()
    until = moments.off if moments.off is not None else float("inf")
    while_on = [one for one in sent if moments.on + SETTLED_S < one.at < until]
    return tuple(
        Share(
            domain=domain,
            requests=sum(one.domain == domain for one in while_on),
            unified=sum(one.domain == domain and one.correlation_id in tried for one in while_on),
            configured_pct=0.0 if domain in protected or domain == "unknown" else configured_pct,
        )
        for domain in dict.fromkeys(one.domain for one in sorted(sent, key=lambda one: one.domain))
    )


def _late(sent: Sequence[Sent], tried: Collection[str], moments: Moments) -> int:
    if moments.off is None:
        return 0
    return sum(one.correlation_id in tried and one.at > moments.off + SETTLED_S for one in sent)


def _fault_to_off(sent: Sequence[Sent], tried: Collection[str], moments: Moments) -> float | None:
    if moments.fault is None or moments.off is None or moments.off < moments.fault:
        return None
    last = max((one.at for one in sent if one.correlation_id in tried), default=moments.fault)
    return max(last - moments.fault, 0.0)
