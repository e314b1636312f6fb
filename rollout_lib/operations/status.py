"""What is routed now, whatever else can be read: configuration, ledger and log each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from rollout_lib.database.heads import CopiedHead, read_head
from rollout_lib.database.lease import Holder, who_watches
from rollout_lib.database.ledger import Facts, read_clock, read_facts
from rollout_lib.database.routing import read_config
from rollout_lib.database.session import Session
from rollout_lib.database.traffic import one_line_status
from rollout_lib.display import header_line
from rollout_lib.display.answer import answer_of
from rollout_lib.errors import CouldNotMeasure, DatabaseUnreachable
from rollout_lib.judgement.gates import paused
from rollout_lib.judgement.safety import restored_words, unreadable_words
from rollout_lib.judgement.state import held_until
from rollout_lib.judgement.summary import next_step
from rollout_lib.judgement.timeline import slot_of, slots_of
from rollout_lib.model import Checkpoint, RoutingConfig, Standing, runs
from rollout_lib.operations.standing import stand
from rollout_lib.redaction import redact
from rollout_lib.text import span

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Status:
    """What could be read; unread has the reason for each that could not: "ledger", "log"."""

    at: datetime
    config: RoutingConfig | None
    standing: Standing | None
    line: Mapping[str, Any]
    unread: Mapping[str, str]
    last: Checkpoint | None = None  # the newest check, evaluation or change of routing
    watcher: Holder | None = None

    @property
    def exit_code(self) -> int:
        """0, or 50 where something could not be read."""
        return 50 if self.unread else 0

    def values(self) -> dict[str, Any]:
        """For a program."""
        standing, line, phase = self.standing, self.line, self.standing and self.standing.phase
        error_pct = line.get("error_pct")
        config = self.config
        return {
            "at": self.at.isoformat(),
            "routing": f"{config.percentage:.2f}% → unified" if config else None,
            "status": config and config.enabled,
            "percentage": config and float(config.percentage),
            "requests_1h": line.get("requests_1h"),
            "error_pct": None if error_pct is None else float(error_pct),
            "head": standing and standing.head,
            "phase_began": phase and phase.began_at.isoformat(),
            "latched": standing and standing.latched,
            "unread": dict(self.unread),
        }

    def lines(self, session: Session) -> list[str]:
        """For a person, at most ten lines: the routing first, then the last answer, the phase, who
        watches and what comes next; then what could not be read."""
        config = self.config
        at = "routing not known"
        if config is not None:
            on = config.enabled and config.percentage > 0
            at = f"{config.percentage:g} %" if on else "routing off"
        shown = [header_line(session.place, self.at, at)]
        if self.last is not None:
            answer = answer_of(self.last)
            badge, when = answer.badge, self._clock(self.last.at, session)
            said = f"{badge.sign} {badge.word} at {when}  {answer.sentence}"
            age = self.at - self.last.at
            if at != "routing off" and age > 2 * session.plan.monitoring.interval:
                said = (
                    f"? NOT CURRENT  Nobody has looked for {span(age)}; then it was {badge.word}."
                    " rollout monitor looks now"
                )
            shown.append(said)
        if self.line:
            span_h = f"{session.plan.monitoring.window.total_seconds() / 3600:g} h"
            rate = self.line["error_pct"]
            shown.append(
                f"Traffic: {self.line['requests_1h']:,} requests in {span_h}, errors"
                f" {'not known' if rate is None else f'{rate} %'}"
            )
        if self.standing is not None:
            shown += self._of_ledger(self.standing, session)
        return shown + [f"the {what} could not be read: {why}" for what, why in self.unread.items()]

    def _of_ledger(self, standing: Standing, session: Session) -> Iterator[str]:
        plan, phase, until = session.plan, standing.phase, held_until(session.plan, standing)
        if phase is not None and until is not None:
            ends = self._clock(until, session)
            left = f"{span(until - self.at)} left" if until > self.at else "it is served"
            yield (
                f"Phase: {phase.percentage:g} % since {self._clock(phase.began_at, session)}, held"
                f" until {ends} ({left})"
            )
            slots = slots_of(phase.began_at, self.at, standing.slots_done, plan)
            due = self._clock(
                slot_of(self.at, plan.monitoring.interval) + plan.monitoring.interval, session
            )
            yield f"Checks: {len(slots.done)} of {len(slots.expected)} done; the next is due at {due}"
        if "ledger" not in self.unread:
            yield f"Watcher: {self._watched(session)}"
        if standing.unreadable:
            yield unreadable_words(standing)[0]
        if standing.restored:
            yield restored_words(standing)
        known, config = standing.last_change, self.config
        if known and config and (config.percentage, config.enabled) != known[1:]:
            ledger = f"{known[1]:g} %" if known[2] and known[1] else "off"
            yield f"By hand: the ledger made the routing {ledger}. What it is now: rollout monitor"
        if standing.rolled_back_at is not None:
            why = standing.latched_reason or "by a person"
            yield f"Rolled back at {self._clock(standing.rolled_back_at, session)}: {redact(why)}"
        hold = paused(standing)
        if hold is not None:
            at = self._clock(hold.at, session)
            yield f"Paused by {hold.by} since {at}: {redact(hold.reason)}. To go on: rollout resume"
        step = next_step(standing, plan, lambda at: self._clock(at, session))
        words, _, command = step.partition(": rollout ")
        yield f"Next: {words[0].upper()}{words[1:]}{':' if command else ''}"
        if command:
            first = command.split(" (")[0].split(", rollout ")[0]
            yield f"rollout {first} --plan {plan.path}"
        seq, digest = standing.head
        yield f"Ledger: #{seq}:{digest[:16]}"

    def _watched(self, session: Session) -> str:
        if self.watcher is None:
            return "nobody ever watched; rollout watch does"
        if self.watcher.runs:
            return f"{self.watcher.name}"
        return f"nobody since {self._clock(self.watcher.until, session)}; rollout watch does"

    def _clock(self, at: datetime, session: Session) -> str:
        """`10:15`, with the day where it is another one."""
        local, now = at.astimezone(session.plan.zone), self.at.astimezone(session.plan.zone)
        return f"{local:%H:%M}" if local.date() == now.date() else f"{local:%a %d %b %H:%M}"


def look(session: Session) -> Status:
    """Read what can be read. Raises where not even the configuration can be."""
    unread: dict[str, str] = {}
    plan = session.plan
    copied = read_head(session.database)  # before the facts: what is written meanwhile is newer
    found = _read(session, "ledger", unread, lambda c: _standing(session, c, copied))
    if found is not None:
        config, now = found[0].config, session.now(found[0].now)
    else:
        with session.database.transaction(readonly=True) as connection:
            config, now = read_config(connection), session.now(read_clock(connection))
    if config is None:
        unread["configuration"] = (
            "it has no row, or the percentage, switch or instant of its newest is none: SELECT *"
            " FROM webhook_routing_config ORDER BY created_at DESC LIMIT 2"
        )
    line = _read(session, "log", unread, lambda c: one_line_status(c, plan, now))
    return Status(
        at=now,
        config=config,
        standing=found[1] if found is not None else None,
        line=line or {},
        unread=unread,
        last=_last(found[0]) if found is not None else None,
        watcher=_read(session, "watcher", {}, lambda _: who_watches(session.database)),
    )


def _standing(
    session: Session, connection: Connection, copied: CopiedHead | None
) -> tuple[Facts, Standing]:
    facts = read_facts(connection, session.plan)
    return facts, stand(session, connection, facts, copied)


def _last(facts: Facts) -> Checkpoint | None:
    """The newest run that says how it stands, or what was done to the routing."""
    told = [
        entry.body
        for entry in runs(facts.entries)
        if entry.operation in ("monitor", "evaluate", "change", "rollback")
    ]
    return told[-1] if told else None


def _read(
    session: Session, what: str, unread: dict[str, str], ask: Callable[[Connection], _Answer]
) -> _Answer | None:
    """Ask in a transaction of its own, so that what fails takes nothing else with it."""
    try:
        with session.database.transaction(readonly=True) as connection:
            return ask(connection)
    except DatabaseUnreachable:
        raise
    except CouldNotMeasure as error:
        unread[what] = " ".join(str(error).split())
        return None
