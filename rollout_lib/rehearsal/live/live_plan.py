"""The plan of a live rehearsal: the given one with its windows scaled to minutes, and everything on
loopback.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rollout_lib.plan import Plan
from rollout_lib.rehearsal.live.platform import MIX
from rollout_lib.rehearsal.live.router import DATABASE
from rollout_lib.rehearsal.live.stage import Stage
from rollout_lib.rehearsal.own_plan import sections, write_own

INTERVAL_S, WINDOW_S = 15, 60
PROJECT = "rehearsal"


def write_live_plan(
    source: Plan, path: Path, *, database: str, stage: Stage, rate: float, minutes: float
) -> Plan:
    """Write and read back the plan: domains, percentages, limits and mode as in `source`, the rest
    scaled.

    rate: requests a second of the whole mix. Each phase is held for the length of the rehearsal.
    """
    hold = timedelta(seconds=INTERVAL_S * max(1, math.ceil(minutes * 60 / INTERVAL_S)))
    apart = timedelta(minutes=math.ceil(hold / timedelta(minutes=1)) + 1)
    begin = datetime.now(UTC).replace(second=0, microsecond=0)
    changed = {
        "environment": "rehearsal",
        "time_zone": "UTC",
        "database": {"variable": DATABASE, "name": database},
        "phases": [
            {
                "percentage": phase["percentage"],
                "hold": f"{int(hold.total_seconds())}s",
                "day": (begin + index * apart).date(),
                "start": f"{begin + index * apart:%H:%M}",
            }
            for index, phase in enumerate(sections(source)["phases"])
        ],
        "monitoring": {
            "interval": f"{INTERVAL_S}s",
            "window": f"{WINDOW_S}s",
            "ingestion_lag": "1s",
            "stale_after": "15s",
            "evaluation_valid": "1h",
            "attestation_valid": "1h",
            "tripwire": "2s",
        },
        "expected_requests_per_hour": {
            domain: max(1, round(rate * 3600 * MIX.get(domain, 1) / sum(MIX.values())))
            for domain in source.domains
        },
        "freezes": [],
        "probes": {
            "protected": {
                name: stage.address(f"wa-webhook-{name}") for name in source.protected_domains
            },
            "router_health": stage.address("router") + "/health",
            "witness": stage.address("management"),
            "management_project": PROJECT,
            "management_address": stage.address("management"),
            "timeout": "2s",
        },
    }
    return write_own(source, path, changed)
