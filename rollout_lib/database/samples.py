"""Rows of the log for a person who investigates, redacted and bounded; and a statement with its
values, ready to paste into psql.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from psycopg import sql
from sqlalchemy import Connection

from rollout_lib.database.connection import load_sql
from rollout_lib.errors import ParameterError
from rollout_lib.redaction import redact

if TYPE_CHECKING:
    from pandas import DataFrame

MOST = 5000  # rows of one sample
LONGEST = timedelta(days=31)  # of its window
DESTINATIONS = ("", "unified", "legacy", "error")
_BIND = re.compile(r"(?<![:\w]):([a-z_]+)\b")


def sample(
    connection: Connection,
    *,
    start: datetime,
    end: datetime,
    domain: str = "",
    routed_to: str = "",
    failed: bool | None = None,
    slowest: bool = False,
    limit: int = 200,
) -> DataFrame:
    """Rows of a half-open window under the columns of frames.COLUMNS["sample"], newest first.

    `webhook` is a fingerprint of the message's id: the same for each retry, and nothing that leads
    back to it. Raises ParameterError for a filter that fits nothing."""
    from rollout_lib import frames

    refuse(start, end, routed_to=routed_to, limit=limit)
    binds = {
        "start": start,
        "until": end,
        "domain": domain.strip().lower(),
        "routed_to": routed_to,
        "failed": "" if failed is None else "yes" if failed else "no",
        "slowest": slowest,
        "most": limit,
    }
    rows = connection.execute(load_sql("sample"), binds).mappings()
    return frames.frame("sample", [_shown(dict(row)) for row in rows])


def refuse(start: datetime, end: datetime, *, routed_to: str = "", limit: int = 1) -> None:
    """Raise ParameterError for a window or a filter that cannot be meant, all of it at once."""
    problems = []
    if start.tzinfo is None or end.tzinfo is None:
        problems.append("start, end: each needs its offset, as 2025-12-03T09:00:00+01:00")
    elif end <= start:
        problems.append(f"end: must be after start, {end.isoformat()} is not")
    elif end - start > LONGEST:
        problems.append(f"end: at most {LONGEST.days} days after start")
    if routed_to not in DESTINATIONS:
        problems.append(f"routed_to: unified, legacy, error or nothing, not {routed_to!r}")
    if not 0 < limit <= MOST:
        problems.append(f"limit: 1 to {MOST:,}, not {limit}")
    if problems:
        raise ParameterError(problems="\n".join(problems))


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    texts = ("domain", "routed_to", "webhook_name", "status", "error_message")
    named = {name: redact(row[name] or "") for name in texts}
    return {**row, **named, "webhook": fingerprint(row["message_id"])}


def fingerprint(message_id: str | None) -> str:
    """Eight digits that stand for an id; "" for none."""
    words = (message_id or "").strip()
    return hashlib.sha256(words.encode()).hexdigest()[:8] if words else ""


def pasted(name: str, binds: Mapping[str, Any]) -> str:
    """The statement of sql/<name>.sql with its values in place, as psql takes it."""
    text = load_sql(name).text
    lines = [line for line in text.splitlines() if not line.startswith("-- Binds")]
    return _BIND.sub(lambda found: _literal(binds, found), "\n".join(lines)) + ";"


def _literal(binds: Mapping[str, Any], found: re.Match[str]) -> str:
    name = found[1]
    return sql.Literal(binds[name]).as_string(None) if name in binds else found[0]
