"""The shipped DAG, by Airflow 3 itself in an environment of its own, against a real rehearsal
database.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

pytestmark = pytest.mark.slow
AIRFLOW = "apache-airflow==3.3.2"
PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".cache" / AIRFLOW.replace("==", "-")


@pytest.fixture(scope="session")
def airflow() -> Path:
    """The command `airflow` of an environment that is built once and kept below .cache/."""
    program, done = CACHE / "bin" / "airflow", CACHE / "complete"
    if done.exists():
        return program
    shutil.rmtree(CACHE, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", CACHE], check=True)
    install = [
        CACHE / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        AIRFLOW,
    ]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode != 0:
        say = pytest.fail if os.environ.get("ROLLOUT_REQUIRE_ALL") else pytest.skip
        say(f"{AIRFLOW} cannot be installed from the package index here: {installed.stderr[-500:]}")
    done.touch()
    return program


@pytest.fixture
def dag(airflow, tmp_path) -> Callable[..., tuple[str, str]]:
    """Runs the shipped DAG once; returns the task's state and the log. program: what stands for
    rollout.
    """
    home, settings = tmp_path / "home", tmp_path / "environment"
    (home / "dags").mkdir(parents=True)
    source = (files("rollout_lib") / "units" / "rollout_dag.py").read_text(encoding="utf-8")
    environment = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "OF_AIRFLOW": "must not reach the check",
    }

    def run(checkout: Path, **variables: str) -> tuple[str, str]:
        text = source.replace('"/opt/rollout"', f'"{checkout}"').replace("sleep 20", "true")
        (home / "dags" / "rollout_dag.py").write_text(
            text.replace("/etc/rollout/environment", str(settings))
        )
        settings.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()))
        for command in (["db", "migrate"], ["dags", "test", "rollout_monitor"]):
            done = subprocess.run(
                [airflow, *command],
                capture_output=True,
                text=True,
                env=environment,
                timeout=300,
                check=False,
            )
        log = done.stdout + done.stderr
        states = re.findall(r"new_state=(\w+)", log)
        assert len(states) == 1, log[-3000:]
        return states[0], log

    return run


@pytest.mark.parametrize(
    ("code", "state"),
    [(0, "success"), (10, "skipped"), (20, "failed"), (40, "failed"), (50, "failed")],
    ids=["healthy", "watch", "hold", "roll back", "could not measure"],
)
def test_an_exit_code_becomes_a_state_of_the_task(dag, tmp_path, code, state):
    """0 is success, 10 skipped, all others failed; the check sees nothing of
    Airflow's environment.
    """
    program = tmp_path / "checkout" / ".venv" / "bin" / "rollout"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\necho "asked: $* in $PWD, SHLVL $SHLVL, secret $SECRET"\nenv\nexit "$CODE"\n'
    )
    program.chmod(0o755)
    found, log = dag(tmp_path / "checkout", CODE=str(code), SECRET="of the file")
    assert found == state
    assert f"asked: monitor --slot now in {tmp_path}/checkout, SHLVL 1, secret of the file" in log
    assert "OF_AIRFLOW" not in log
    assert "AIRFLOW__" not in log


def test_the_dag_checks_a_real_database_and_a_leak_fails_the_task_and_switches_routing_off(
    database, dag, tmp_path
):
    """First nothing is routed: success, a slot on the ledger. Then a protected domain leaks:
    failed, and off.
    """
    with psycopg.connect(database.address) as connection:
        connection.execute(
            "INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status)"
            " SELECT now() - n * interval '1 minute', 'jobs', 'legacy', 'success'"
            " FROM generate_series(1, 60) n"
        )
    given = {
        "ROLLOUT_PLAN": "parameters/week6.rehearsal.yaml",
        "ROLLOUT_OPERATOR": "Airflow",
        "ROLLOUT_REHEARSAL_URL": database.address,
        "ROLLOUT_OUTPUTS": str(tmp_path / "outputs"),
    }
    checkout = tmp_path / "checkout"  # the project, with the environment that these tests run in
    checkout.mkdir()
    for name in ("parameters", "notebooks", "rollout_lib"):
        (checkout / name).symlink_to(PROJECT / name)
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "rollout").symlink_to(Path(sys.executable).parent / "rollout")
    state, log = dag(checkout, **given)
    assert state == "success", log[-3000:]
    with psycopg.connect(database.address, autocommit=True) as connection:
        entries = (
            "SELECT operation, slot IS NOT NULL FROM rollout.ledger WHERE operation = 'monitor'"
            " ORDER BY seq"
        )
        assert connection.execute(entries).fetchall()[0] == ("monitor", True)
        connection.execute(
            "SELECT set_routing_enabled(true, 'x'), update_routing_percentage(10, 'x')"
        )
        connection.execute(
            "INSERT INTO webhook_routing_logs (created_at, domain, routed_to, status) "
            "VALUES (now() - interval '5 seconds', 'mobility', 'unified', 'success')"
        )
        state, log = dag(checkout, **given)
        assert state == "failed"
        assert "exited with return code 40" in log
        row = connection.execute(
            "SELECT percentage, enabled FROM webhook_routing_config"
        ).fetchone()
        assert row == (0, False)
    assert list((tmp_path / "outputs").rglob("*20_monitor*.ipynb")), (
        "the record is archived as by any other run"
    )
