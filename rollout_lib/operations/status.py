"""What is routed now, whatever else can be read: configuration, ledger and log each by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from rollout_lib.database.ledger import read_clock, read_facts
from rollout_lib.database.routing import read_config
from rollout_lib.database.session import Session
from rollout_lib.database.traffic import one_line_status
from rollout_lib.display import header_line
from rollout_lib.errors import CouldNotMeasure, DatabaseUnreachable
from rollout_lib.judgement.state import fold
from rollout_lib.model import RoutingConfig, Standing

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, kw_only=True)
class Status:
    """What could be read; unread has the reason for each that could not: "ledger", "log"."""

    at: datetime
    config: RoutingConfig | None
    standing: Standing | None
    line: Mapping[str, Any]
    unread: Mapping[str, str]

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
        """For a person: the routing first, then what else is known, then what is not."""
        config = self.config
        at = "no configuration"
        if config is not None:
            at = f"{config.percentage:g} %" if config.enabled else "routing off"
        shown = [header_line(session.place, self.at, at)]
        if config is not None and self.line:
            span = f"{session.plan.monitoring.window.total_seconds() / 3600:g} h"
            rate = self.line["error_pct"]
            shown.append(
                f"routing {self.line['routing']} · enabled {self.line['status']} ·"
                f" {self.line['requests_1h']:,} requests in {span} · errors"
                f" {'–' if rate is None else rate} %"
            )
        elif config is not None:
            enabled = str(config.enabled).lower()
            shown.append(f"routing {config.percentage:.2f}% → unified · enabled {enabled}")
        if self.standing is not None:
            seq, digest = self.standing.head
            shown.append(
                f"ledger #{seq}:{digest[:16]} · {len(self.standing.slots_done)} checks in this"
                f" phase · latched: {self.standing.latched or 'nothing'}"
            )
        return shown + [f"the {what} could not be read: {why}" for what, why in self.unread.items()]


def look(session: Session) -> Status:
    """Read what can be read. Raises where not even the configuration can be."""
    unread: dict[str, str] = {}
    plan = session.plan
    facts = _read(session, "ledger", unread, lambda c: read_facts(c, plan))
    if facts is not None:
        config, now = facts.config, session.now(facts.now)
    else:
        with session.database.transaction(readonly=True) as connection:
            config, now = read_config(connection), session.now(read_clock(connection))
    line = _read(session, "log", unread, lambda c: one_line_status(c, plan, now))
    return Status(
        at=now,
        config=config,
        standing=fold(facts.entries, plan) if facts is not None else None,
        line=line or {},
        unread=unread,
    )


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
