"""What a live rehearsal came to: the client's lines, the log's rows and the functions' own counts.
Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rollout_lib.model import UNIFIED
from rollout_lib.rehearsal.live.configuration import VALID_S
from rollout_lib.rehearsal.live.load import EXPECTED, Kind, Sent
from rollout_lib.rehearsal.live.recognise import UNKNOWN

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
    """One domain while routing was on: the messages that went to unified, against what was
    configured (in percent). A POST with a message that may not go to unified is left out of the
    others' shares: all of it stays on legacy.
    """

    domain: str
    requests: int
    unified: int
    configured_pct: float


@dataclass(frozen=True, kw_only=True)
class Messages:
    """Distinct messages, each once however often it was delivered.

    lost: never answered, without a row, or answered well and received by nobody. twice: handed on
    again though no function had said that it failed."""

    sent: int
    answered: int
    logged: int
    lost: tuple[str, ...]
    twice: tuple[str, ...]
    redelivered: int


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Requests and messages, by who saw them. lost: a webhook never answered, or without a row."""

    sent: int
    answered: int
    failed: int  # webhooks answered with 400 or more
    logged: int  # webhooks with at least one row, or answered again
    rows: int
    fell_back: int  # rows: unified could not be reached, legacy served it
    lost: tuple[str, ...]  # correlation ids
    wrong: tuple[str, ...]  # handshakes and forged requests that were not answered as they must be
    kinds: Mapping[Kind, int]
    messages: Messages
    miscounted: tuple[str, ...]  # message ids with rows that are neither one nor a fall-back's two
    shares: tuple[Share, ...]
    protected_touched: (
        int  # protected messages at unified, by the client, the log or unified itself
    )
    protected_failed: int  # requests
    late: int  # sent more than the cache's second after the rollback, and still sent to unified
    fault_to_off_s: (
        float | None
    )  # until the last request that was sent to unified, as the client saw it


Row = tuple[str, str, str, str | None]  # correlation id, domain, routed_to, message id
Ran = tuple[float, str, str, int | None]  # when, function, message id, what it answered
_WEBHOOKS = (Kind.MESSAGES, Kind.STATUS, Kind.REDELIVERY)


def tally(
    sent: Sequence[Sent],
    rows: Sequence[Row],
    ran: Sequence[Ran],
    *,
    unified_name: str,
    protected: Collection[str],
    configured_pct: float,
    moments: Moments,
) -> Tally:
    """Compare the three views of the same traffic. ran: the earliest first."""
    webhooks = [one for one in sent if one.kind in _WEBHOOKS]
    routed: dict[str, list[str]] = defaultdict(list)
    for identity, _, routed_to, _ in rows:
        routed[identity].append(routed_to)
    tried = {identity for identity, routes in routed.items() if UNIFIED in routes}
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for identity, _, routed_to, message_id in rows:
        if message_id is not None:
            pairs[identity, message_id].append(routed_to)
    return Tally(
        sent=len(sent),
        answered=sum(one.status is not None for one in sent),
        failed=sum(one.status is not None and one.status >= 400 for one in webhooks),
        logged=sum(bool(routed.get(one.correlation_id) or one.again) for one in webhooks),
        rows=len(rows),
        fell_back=sum(map(_fell_back, pairs.values())),
        lost=tuple(
            one.correlation_id
            for one in webhooks
            if one.status is None or not (routed.get(one.correlation_id) or _shared(one))
        ),
        wrong=tuple(
            one.correlation_id
            for one in sent
            if one.kind not in _WEBHOOKS and one.status != EXPECTED[one.kind]
        ),
        kinds=Counter(one.kind for one in sent),
        messages=_messages(webhooks, rows, ran),
        miscounted=tuple(
            message_id
            for (_, message_id), routes in pairs.items()
            if len(routes) > 1 and not _fell_back(routes)
        ),
        shares=_shares(webhooks, rows, protected, configured_pct, moments),
        protected_touched=_touched(webhooks, rows, ran, unified_name, protected),
        protected_failed=sum(
            (one.status is None or one.status >= 400)
            for one in webhooks
            if _domains(one) & set(protected)
        ),
        late=_late(webhooks, tried, moments),
        fault_to_off_s=_fault_to_off(webhooks, tried, moments),
    )


def _shared(one: Sent) -> bool:
    """A delivery that the router answered from another one needs no row of its own."""
    return one.again is not None


def _domains(one: Sent) -> set[str]:
    return {domain for _, domain in one.messages} or {one.domain}


def _fell_back(routes: Sequence[str]) -> bool:
    return len(routes) == 2 and routes.count(UNIFIED) == 1


def _messages(webhooks: Sequence[Sent], rows: Sequence[Row], ran: Sequence[Ran]) -> Messages:
    every = dict.fromkeys(identity for one in webhooks for identity, _ in one.messages)
    answered = {
        identity for one in webhooks if one.status is not None for identity, _ in one.messages
    }
    well = {
        identity
        for one in webhooks
        if one.status is not None and one.status < 400
        for identity, _ in one.messages
    }
    logged = {message_id for *_, message_id in rows}
    answers: dict[str, list[int | None]] = defaultdict(list)
    for _, _, identity, status in ran:
        answers[identity].append(status)
    again = {
        identity for one in webhooks if one.kind is Kind.REDELIVERY for identity, _ in one.messages
    }
    return Messages(
        sent=len(every),
        answered=len(answered),
        logged=sum(identity in logged for identity in every),
        lost=tuple(
            identity
            for identity in every
            if identity not in answered
            or identity not in logged
            or (identity in well and not answers[identity])
        ),
        twice=tuple(
            identity
            for identity, given in answers.items()
            if any(status is None or status < 400 for status in given[:-1])
        ),
        redelivered=len(again),
    )


def _touched(
    webhooks: Sequence[Sent],
    rows: Sequence[Row],
    ran: Sequence[Ran],
    unified_name: str,
    protected: Collection[str],
) -> int:
    """Protected messages at unified: as any of the three saw them."""
    domain_of = {identity: domain for one in webhooks for identity, domain in one.messages}
    by_unified = {
        identity
        for _, name, identity, _ in ran
        if name == unified_name and domain_of.get(identity) in protected
    }
    by_log = {
        message_id or identity
        for identity, domain, routed_to, message_id in rows
        if routed_to == UNIFIED
        and (domain in protected or domain_of.get(message_id or "") in protected)
    }
    by_client = {
        identity
        for one in webhooks
        if UNIFIED in (one.routed_to or "").split(",") and len(_domains(one)) == 1
        for identity, domain in one.messages
        if domain in protected
    }
    return len(by_unified | by_log | by_client)


def _shares(
    webhooks: Sequence[Sent],
    rows: Sequence[Row],
    protected: Collection[str],
    configured_pct: float,
    moments: Moments,
) -> tuple[Share, ...]:
    """Messages sent while routing was surely on, per domain."""
    if moments.on is None:
        return ()
    until = moments.off if moments.off is not None else float("inf")
    kept = {*protected, UNKNOWN}
    tried = {message_id for _, _, routed_to, message_id in rows if routed_to == UNIFIED}
    while_on = [
        (identity, domain)
        for one in webhooks
        if one.kind is Kind.MESSAGES and moments.on + SETTLED_S < one.at < until
        for identity, domain in one.messages
        if domain in kept or not _domains(one) & kept
    ]
    return tuple(
        Share(
            domain=name,
            requests=sum(domain == name for _, domain in while_on),
            unified=sum(domain == name and identity in tried for identity, domain in while_on),
            configured_pct=0.0 if name in kept else configured_pct,
        )
        for name in sorted({domain for one in webhooks for _, domain in one.messages})
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
