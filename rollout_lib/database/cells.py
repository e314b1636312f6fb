"""From a statement's grouped rows to cells: names put right, words that nobody knows kept apart.

A word is known without its spaces and in lower case; whatever is left over is counted all the same:
an unknown destination is a router error, an unknown status a failure, an unknown domain `unknown`
or its own name, so that a leak is one in any spelling."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from rollout_lib.model import LEGACY, ROUTER_ERROR, UNIFIED, Cell, Ids, Traffic, Window, Word
from rollout_lib.redaction import redact

SUCCESS, ERROR, UNKNOWN = "success", "error", "unknown"
LONGEST_WORD = 40
LONGEST_LATENCY = 3_600_000  # ms: an answer that took an hour is a clock that jumped
DESTINATIONS = (UNIFIED, LEGACY, ROUTER_ERROR)
Place = tuple[str, str]  # domain and destination
Failures = dict[tuple[str, str, bool], list[datetime]]


# What cannot be seen: controls, and what Unicode calls ignorable by default (DerivedCoreProperties.txt of 15.0), in
# the escapes that Python and PostgreSQL both read. A letter that can be seen makes another word of it.
INVISIBLE = (
    r"[\u0001-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)


def normal(word: str | None) -> str:
    """A word as it was meant: without space around it and what cannot be seen, in lower case."""
    return re.sub(INVISIBLE, "", unicodedata.normalize("NFKC", word or "")).strip(" ").lower()


def shown(word: str | None) -> str:
    """A stranger's word as it may be shown and recorded."""
    return redact(normal(word))[:LONGEST_WORD] or UNKNOWN


@lru_cache(maxsize=1024)
def place_of(domain: str | None, routed_to: str | None) -> Place:
    """Where a row belongs: nothing that is missing or unknown is good, and none of it is dropped."""
    sent_to = normal(routed_to)
    return shown(domain), sent_to if sent_to in DESTINATIONS else ROUTER_ERROR


@lru_cache(maxsize=1024)
def is_error(routed_to: str, status: str | None) -> bool:
    """Did the row fail? Whatever is not known to have succeeded did; routed_to as place_of has it."""
    return routed_to == ROUTER_ERROR or normal(status) != SUCCESS


def failures_of(rows: Sequence[Any] | None, start: datetime) -> Failures:
    """When each webhook was bad first, by (domain, destination, is_error), in order of time."""
    found: Failures = defaultdict(list)
    for domain, routed_to, bad, at in rows or ():
        key = (*place_of(domain, routed_to), bool(bad))
        found[key] += [start + timedelta(microseconds=one) for one in at]
    return {key: sorted(times) for key, times in found.items()}


def numbers(text: str | None) -> list[int | None]:
    """The integers of a PostgreSQL array as text, None for its NULLs."""
    if not text:
        return []
    found: list[int | None] = json.loads(f"[{text[1:-1].replace('NULL', 'null')}]")
    return found


class Tally:
    """The rows of one cell while they are added up."""

    __slots__ = ("errors", "latencies", "requests", "slow", "timed", "untimed")

    def __init__(self) -> None:
        self.requests = self.errors = self.slow = self.timed = self.untimed = 0
        self.latencies: dict[int, int] = {}

    def add(self, rows: int, failed: bool, kind: str) -> None:
        """Add rows of one kind of latency: none, negative, slow or fast."""
        self.requests += rows
        self.errors += rows if failed else 0
        self.slow += rows if kind == "slow" else 0
        known = kind in ("slow", "fast")
        self.timed += rows if known else 0
        self.untimed += rows if not known and not failed else 0

    def add_latencies(self, ms: Sequence[Any], rows: Sequence[Any]) -> None:
        """Add rows by their latency; what adds up to nothing is left out."""
        if not self.latencies:
            self.latencies = dict(zip(ms, rows, strict=True))
            if 0 in rows:
                self.latencies = {value: count for value, count in self.latencies.items() if count}
            return
        for value, count in zip(ms, rows, strict=True):
            total = self.latencies.get(value, 0) + count
            if total:
                self.latencies[value] = total
            else:
                self.latencies.pop(value, None)


def cells_of(
    tallies: dict[Place, Tally], window: Window, failures: Failures | None
) -> tuple[Cell, ...]:
    """The cells of one window; failures None: nobody asked which webhooks failed first."""
    cells = []
    for (domain, routed_to), tally in sorted(tallies.items()):
        if not tally.requests:
            continue
        at: list[tuple[datetime, ...] | None] = [None, None]
        if failures is not None:
            at = [
                tuple(
                    one
                    for one in failures.get((domain, routed_to, bad), ())
                    if window.start <= one < window.end
                )
                for bad in (True, False)
            ]
        cells.append(
            Cell(
                domain=domain,
                routed_to=routed_to,
                requests=tally.requests,
                errors=tally.errors,
                latencies=tally.latencies,
                failing=None if at[0] is None else len(at[0]),
                slow=tally.slow,
                slow_failing=None if at[1] is None else len(at[1]),
                timed=tally.timed,
                untimed=tally.untimed,
                failed_at=at[0],
                slow_at=at[1],
            )
        )
    return tuple(cells)


def counted(
    groups: Iterable[Any],
    places: tuple[int, int],
    window: Window,
    *,
    failures: Failures | None = None,
    latencies: Iterable[tuple[str | None, str | None, Sequence[Any], Sequence[Any]]] = (),
) -> Traffic:
    """The rows of groups between two edges, by their places (0 as the last: to the end of what was
    read).

    latencies: (domain, routed_to, ms, rows) of the same window, where its histogram is wanted."""
    first, last = places
    tallies: dict[Place, Tally] = defaultdict(Tally)
    for domain, routed_to, status, kind, *edges in groups:
        rows = int(edges[first] - (edges[last] if last else 0))
        if rows:
            place = place_of(domain, routed_to)
            tallies[place].add(rows, is_error(place[1], status), kind)
    for domain, routed_to, ms, rows_of in latencies:
        tallies[place_of(domain, routed_to)].add_latencies(ms, rows_of)
    return Traffic(window=window, cells=cells_of(tallies, window, failures))


def spread(rows: Iterable[Any], window: Window, failures: Failures, slow_ms: int) -> Traffic:
    """The traffic of [domain, routed_to, status, [ms or null], [rows]], counted and timed at once."""
    tallies: dict[Place, Tally] = defaultdict(Tally)
    for domain, routed_to, status, latencies, counts in rows:
        place = place_of(domain, routed_to)
        tally, failed = tallies[place], is_error(place[1], status)
        for ms, count in zip(numbers(latencies), numbers(counts), strict=True):
            tally.add(count or 0, failed, kind_of(ms, slow_ms))
            if ms is not None:
                tally.add_latencies((ms,), (count,))
    return Traffic(window=window, cells=cells_of(tallies, window, failures))


def kind_of(ms: int | None, slow_ms: int) -> str:
    """What kind of latency it is: none, negative, slow or fast."""
    if ms is None:
        return "none"
    return "negative" if ms < 0 else "slow" if ms > slow_ms else "fast"


def strange_words(groups: Iterable[Any], first: int, known: Sequence[str]) -> tuple[Word, ...]:
    """Every word from an edge on that is none of ours, or spelled otherwise; most rows first."""
    rows: dict[tuple[str, str, str], int] = defaultdict(int)
    vocabularies = {"domain": known, "routed_to": DESTINATIONS, "status": (SUCCESS, ERROR)}
    for domain, routed_to, status, kind, *edges in groups:
        for column, word in (("domain", domain), ("routed_to", routed_to), ("status", status)):
            meant = normal(word)
            if word in vocabularies[column]:
                continue
            if column == "domain" and meant not in known and word == meant and word != "":
                continue  # another domain is no finding; where it may go is the leak's question
            written = "NULL" if word is None else repr(redact(word)[:LONGEST_WORD])
            known_as = meant if meant in vocabularies[column] else ""
            rows[(column, written, known_as)] += int(edges[first])
        if kind == "negative":
            rows[("response_time_ms", "negative", "")] += int(edges[first])
    found = [
        Word(column=column, word=word, meant=meant, rows=count)
        for (column, word, meant), count in rows.items()
        if count
    ]
    return tuple(sorted(found, key=lambda word: (-word.rows, word.column, word.word)))


def ids_of(rows: Sequence[Any] | None, repeated: int | None) -> Ids:
    """Do ids tell webhooks apart? Fewer than one distinct in ten does not."""
    nameless, seen, named = [], 0, 0
    for domain, routed_to, is_all, count, with_id, different in rows or ():
        seen, named = seen + (count if is_all else 0), named + (with_id if is_all else 0)
        if with_id > 10 and different * 10 < with_id:
            nameless.append(normal(routed_to) if is_all else f"{normal(routed_to)}/{shown(domain)}")
    return Ids(
        rows=seen, named=named, nameless=tuple(sorted(set(nameless))), repeated=repeated or 0
    )
