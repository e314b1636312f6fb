"""What one measuring statement costs beside the runbook's own dashboard and a bare count.

Run: python -m benchmarks.measuring [rows in millions, default 10] [rows an hour of the phases,
default 200000]. A tenth of the rows lies in the last hour; then checks, rounds of the tripwire and
evaluations of phases that have run for 1, 4, 12 and 24 hours, with our indexes and with those of the
deployed system. Prints Markdown; benchmarks/README.md holds a dated copy."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg

from benchmarks.pairing import paired, table
from rollout_lib.database.connection import connect
from rollout_lib.database.migrations import migrate
from rollout_lib.database.traffic import measure
from rollout_lib.plan import Plan, load_plan
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
DEPLOYED = """
DROP INDEX webhook_routing_logs_created_at, webhook_routing_logs_unified, webhook_routing_logs_errors,
           webhook_routing_logs_slow;
CREATE INDEX ON webhook_routing_logs (created_at DESC);
CREATE INDEX ON webhook_routing_logs (domain, created_at);
CREATE INDEX ON webhook_routing_logs (routed_to, created_at);
CREATE INDEX ON webhook_routing_logs (status) WHERE status = 'error';
CREATE INDEX ON webhook_routing_logs (domain, status, created_at)"""
AGES = (1, 4, 12, 24)  # hours


def main(millions: float, per_hour: int) -> None:
    """Measure at a hundredth of the rows, at all of them with 1, 3 and 10 hours of table, and phases
    of 1 to 24 hours.
    """
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
            _ages(server, plan, per_hour)
        finally:
            stop(Path(folder))


def _measured(server: str, plan: Plan, rows: int, hours: int) -> dict[str, list[float]]:
    os.environ[plan.database.variable] = address = create_database(
        server, f"rehearsal_bench_{rows}"
    )
    database = connect(plan)
    migrate(database, apply=True)
    with psycopg.connect(address, autocommit=True) as connection, database.engine.connect() as own:
        connection.execute(FILL, {"rows": rows, "hours": hours, "newest": datetime.now(UTC)})
        connection.execute("VACUUM ANALYZE webhook_routing_logs")

        def ours() -> None:
            _asked(own, plan, datetime.now(UTC), 4)()

        def dashboard() -> None:
            for query in DASHBOARD:
                connection.execute(query).fetchall()

        things = {
            "bare count": lambda: connection.execute(COUNT).fetchall(),
            "our statement": ours,
            "the runbook's dashboard": dashboard,
        }
        return paired(_once(things), ROUNDS)


def _ages(server: str, plan: Plan, per_hour: int) -> None:
    """Print what a check costs at each age of a phase, with our indexes and the deployed system's."""
    os.environ[plan.database.variable] = address = create_database(server, "rehearsal_bench_ages")
    database = connect(plan)
    migrate(database, apply=True)
    rows, hours = per_hour * (AGES[-1] + 1), AGES[-1] + 1
    with psycopg.connect(address, autocommit=True) as connection, database.engine.connect() as own:
        connection.execute(FILL, {"rows": rows, "hours": hours, "newest": datetime.now(UTC)})
        for title, statements in (("our indexes", ""), ("deployed indexes", DEPLOYED)):
            for statement in filter(str.strip, statements.split(";")):
                connection.execute(statement)
            connection.execute("VACUUM ANALYZE webhook_routing_logs")
            newest = connection.execute("SELECT max(created_at) FROM webhook_routing_logs")
            now = newest.fetchone()[0]
            print(f"\n### Age of the phase, {per_hour:,.0f} rows an hour, {title}\n")
            print(table(paired(_things(connection, own, plan, now), ROUNDS), "bare count"))
            print()
            phase = _evaluation(connection, own, plan, now)
            print(table(paired(phase, ROUNDS), "bare count of 24 h"), flush=True)


def _asked(own, plan: Plan, now: datetime, hours: int, **how) -> Callable[[], None]:
    def ask() -> None:
        with own.begin():  # connected already, as the others are
            measure(
                own,
                plan=plan,
                as_of=now,
                phase_began=now - timedelta(hours=hours),
                increment_start=now - timedelta(minutes=17),
                live=False,
                percentage=Decimal(10),
                **{"whole_phase": False} | how,
            )

    return ask


def _things(connection, own, plan: Plan, now: datetime) -> dict[str, Callable[[], None]]:
    count = COUNT.replace("now()", "CAST(%s AS timestamptz)")
    things = {"bare count": lambda: connection.execute(count, (now,)).fetchall()}
    for hours in AGES:
        things[f"a check, phase of {hours} h"] = _asked(own, plan, now, hours)
    things["a round of the tripwire, 24 h"] = _asked(own, plan, now, 24, lag=timedelta(0))
    return _once(things)


def _evaluation(connection, own, plan: Plan, now: datetime) -> dict[str, Callable[[], None]]:
    count = COUNT.replace("now()", "CAST(%s AS timestamptz)").replace("1 hour", "24 hours")
    return _once(
        {
            "bare count of 24 h": lambda: connection.execute(count, (now,)).fetchall(),
            "the evaluation": _asked(own, plan, now, 24, whole_phase=True),
        }
    )


def _once(things: dict[str, Callable[[], None]]) -> dict[str, Callable[[], None]]:
    """The same, each having run once, so that the pages are read."""
    for thing in things.values():
        thing()
    return things


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 10,
        int(sys.argv[2]) if len(sys.argv) > 2 else 200_000,
    )
