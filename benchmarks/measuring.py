"""What one measuring statement costs beside the runbook's own dashboard and a bare count.

Run: python -m benchmarks.measuring [rows in millions, default 10]. A tenth of the rows lies in the
last hour. Prints Markdown; benchmarks/README.md holds a dated copy."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from benchmarks.pairing import paired, table
from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.traffic import measure
from rollout_lib.plan import load_plan
from rollout_lib.rehearsal.server import create_database, embedded, stop

ROUNDS = 5
DASHBOARD = (  # the runbook's "Monitor every 15 minutes", its three statements
    """SELECT domain, routed_to, request_count, ROUND(avg_response_ms::numeric, 2) as avg_ms,
              ROUND(p95_ms::numeric, 2) as p95_ms, error_count, ROUND(error_rate_pct::numeric, 4) as error_pct
         FROM webhook_routing_stats ORDER BY domain, routed_to""",
    "SELECT * FROM check_routing_health()",
    """SELECT domain, routed_to, COUNT(*) as requests,
              (COUNT(*)::float / SUM(COUNT(*)) OVER (PARTITION BY domain) * 100)::int as pct
         FROM webhook_routing_logs WHERE created_at > now() - interval '1 hour'
        GROUP BY domain, routed_to ORDER BY domain, routed_to""",
)
COUNT = "SELECT count(*) FROM webhook_routing_logs WHERE created_at > now() - interval '1 hour'"
FILL = """
INSERT INTO webhook_routing_logs
       (created_at, domain, message_id, routed_to, webhook_name, status, response_time_ms, error_message)
SELECT CAST(%(newest)s AS timestamptz) - i * CAST(%(hours)s || ' hours' AS interval) / %(rows)s,
       (ARRAY['jobs', 'marketplace', 'property'])[1 + i %% 3], 'wamid.' || i,
       CASE WHEN i %% 10 = 0 THEN 'unified' ELSE 'legacy' END, 'wa-webhook-jobs',
       CASE WHEN i %% 2003 = 0 THEN 'error' ELSE 'success' END,
       300 + CAST(random() * 1500 AS integer), CASE WHEN i %% 2003 = 0 THEN 'timeout' END
  FROM generate_series(1, %(rows)s) i"""


def main(millions: float) -> None:
    """Measure at a hundredth of the rows, and at all of them with 1, 3 and 10 hours of table."""
    plan = load_plan("parameters/week6.rehearsal.yaml")
    with tempfile.TemporaryDirectory() as folder:
        server = embedded(Path(folder), durable=False)
        try:
            for rows, hours in (
                (millions * 1e4, 10),
                (millions * 1e5, 1),
                (millions * 3e5, 3),
                (millions * 1e6, 10),
            ):
                print(f"\n### {rows:,.0f} rows, {rows / hours:,.0f} of them in the last hour\n")
                print(table(_measured(server, plan, int(rows), hours), "bare count"), flush=True)
        finally:
            stop(Path(folder))


def _measured(server: str, plan, rows: int, hours: int) -> dict[str, list[float]]:
    os.environ[plan.database.variable] = address = create_database(
        server, f"rehearsal_bench_{rows}"
    )
    database = connect(plan)
    migrate(database, apply=True)
    with psycopg.connect(address, autocommit=True) as connection, database.engine.connect() as own:
        connection.execute(FILL, {"rows": rows, "hours": hours, "newest": datetime.now(UTC)})
        connection.execute("VACUUM ANALYZE webhook_routing_logs")

        def ours() -> None:
            now = datetime.now(UTC)
            with own.begin():  # connected already, as the other two are
                measure(
                    own,
                    plan=plan,
                    as_of=now,
                    phase_began=now - timedelta(hours=4),
                    increment_start=now - timedelta(minutes=15),
                    whole_phase=False,
                    live=False,
                )

        def dashboard() -> None:
            for query in DASHBOARD:
                connection.execute(query).fetchall()

        things = {
            "bare count": lambda: connection.execute(COUNT).fetchall(),
            "our statement": ours,
            "the runbook's dashboard": dashboard,
        }
        for thing in things.values():
            thing()  # once, so that the pages are read
        return paired(things, ROUNDS)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
