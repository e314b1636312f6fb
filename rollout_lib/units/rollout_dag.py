"""An Apache Airflow 3 DAG for those who run a scheduler already: one check of the rollout in each
slot.

Copy it into the DAG folder. The suite runs in its own environment, never in Airflow's: one command,
whose exit code becomes the task's state (0 success, 10 skipped: a literal threshold is crossed and
evidence is not there, all others failed). Secrets stay in a file that only the worker's user reads;
nothing of them is rendered here. Runs that Airflow drops or doubles do no harm: a slot is unique on
the suite's ledger, and missed ones are recorded."""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

HOME = "/opt/rollout"  # the checkout with its .venv
ENVIRONMENT = (  # ROLLOUT_PLAN, ROLLOUT_OPERATOR and the address that the plan names
    "/etc/rollout/environment"
)
WATCH = 10

with DAG(
    dag_id="rollout_monitor",
    description="Webhook rollout: one scheduled check",
    schedule="*/15 * * * *",
    start_date=datetime(2025, 12, 3, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # No dagrun_timeout: it would mark a check that hangs as skipped. The task's own limit fails it.
    default_args={"retries": 0, "execution_timeout": timedelta(minutes=10)},
    tags=["rollout"],
):
    BashOperator(
        task_id="monitor",
        # Twenty seconds into the slot, for the database's clock; `exec`, so that SIGTERM reaches
        # the check itself.
        bash_command=(
            f"sleep 20; set -a; . {ENVIRONMENT}; set +a; exec {HOME}/.venv/bin/rollout monitor"
            " --slot now"
        ),
        cwd=HOME,
        # Nothing of Airflow's own environment; SHLVL keeps bash from reading the user's ~/.bashrc.
        env={"SHLVL": "1", "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"},
        append_env=False,
        skip_on_exit_code=WATCH,
    )
