"""Where the rollout stands: its ledger, folded, and whether it is the ledger that was last seen
here.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from rollout_lib.database.heads import CopiedHead, is_kept
from rollout_lib.database.ledger import Facts
from rollout_lib.database.session import Session
from rollout_lib.judgement.state import fold
from rollout_lib.model import Standing, Subject


def stand(
    session: Session, connection: Connection, facts: Facts, copied: CopiedHead | None
) -> Standing:
    """Return the standing; `restored` says why the ledger is not the one last seen here.

    copied: the head as read from its file before the facts. A named person's acceptance of exactly
    this head is on the ledger: rollout acknowledge --restored."""
    standing = fold(facts.entries, session.plan)
    if copied is None or is_kept(connection, copied, facts):
        return standing
    if copied.trouble:
        why = f"The head last copied here cannot be read ({copied.trouble})"
        return replace(standing, restored=why)
    accepted = any(
        item.subject == Subject.RESTORED and copied.key in item.value.split()
        for item in standing.attestations
    )
    if accepted:
        return standing
    last = facts.head[0]
    what = f"ends at #{last}" if last < copied.seq else f"has another entry #{copied.seq}"
    why = f"Entry #{copied.seq} was seen here, and the ledger {what}: an older copy, or another"
    return replace(standing, restored=why)
