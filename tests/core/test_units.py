"""The shipped units: what each says is what the scheduler understands, and all of them run the same
command.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
from importlib.resources import files
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from rollout_lib.cli.app import run
from rollout_lib.plan import load_plan
from tests.conftest import needs

UNITS = files("rollout_lib") / "units"
CHECK = ["/opt/rollout/.venv/bin/rollout", "monitor", "--slot", "now"]
INTERVAL = load_plan("parameters/week6.production.yaml").monitoring.interval


def text(name: str) -> str:
    return (UNITS / name).read_text(encoding="utf-8")


def options(name: str, section: str) -> dict[str, str]:
    """The last value of each key in one section of a systemd unit."""
    found, inside = {}, False
    for line in text(name).splitlines():
        if line.startswith("["):
            inside = line == f"[{section}]"
        elif inside and "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found[key] = value
    return found


@pytest.fixture
def installed(tmp_path) -> Path:
    """A stand-in for /opt/rollout whose `rollout` says what it was called with, and ends with the
    code asked for.
    """
    program = tmp_path / "opt" / ".venv" / "bin" / "rollout"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$ROLLOUT_PLAN|$PWD|$*"\nexit "${CODE:-0}"\n')
    program.chmod(0o755)
    (tmp_path / "environment").write_text(
        'ROLLOUT_PLAN="parameters/week6.production.yaml"\nCODE=40\n'
    )
    return tmp_path


def placed(words: str, installed: Path) -> str:
    """The words of a unit, for the stand-in."""
    words = words.replace("/opt/rollout", str(installed / "opt")).replace("sleep 20", "true")
    return words.replace("/etc/rollout/environment", str(installed / "environment"))


def test_the_command_that_every_unit_runs_exists(capsys):
    """`rollout monitor --slot now` and `rollout watch` are commands of this suite."""
    assert run(["monitor", "--help"]) == 0
    assert "--slot" in capsys.readouterr().out
    assert run(["watch", "--help"]) == 0


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [needs("prometheus"), *arguments], capture_output=True, text=True, check=False
    )


def test_prometheus_accepts_the_alerts_and_they_fire_as_they_must():
    """promtool reads the rules without a complaint, and its rule tests pass: what fires when, and
    what is silent.
    """
    checked = promtool("check", "rules", str(UNITS / "rollout-alerts.yaml"))
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
    tested = promtool("test", "rules", "tests/core/alerts.test.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_prometheus_would_say_so_if_an_alert_did_not_fire(tmp_path):
    """The check above can fail: with a limit of three slots, nobody hears of a watcher that died at
    half an hour.
    """
    rules, tests = tmp_path / "rules.yaml", tmp_path / "alerts.test.yaml"
    rules.write_text(
        text("rollout-alerts.yaml").replace("2 * rollout_slot", "3 * rollout_slot"),
        encoding="utf-8",
    )
    asked = Path("tests/core/alerts.test.yaml").read_text(encoding="utf-8")
    tests.write_text(
        asked.replace("../../rollout_lib/units/rollout-alerts.yaml", str(rules)), encoding="utf-8"
    )
    done = promtool("test", "rules", str(tests))
    assert done.returncode == 1
    assert "RolloutNobodyWatches" in done.stdout + done.stderr


def test_each_alert_is_tested_and_says_what_to_do():
    """Every rule has its name in the rule tests, a severity, a summary, and a command or a place to
    look.
    """
    (group,) = yaml.safe_load(text("rollout-alerts.yaml"))["groups"]
    asked = Path("tests/core/alerts.test.yaml").read_text(encoding="utf-8")
    for rule in group["rules"]:
        assert rule["alert"] in asked
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert (
            "{{ $labels.rollout }}" in rule["annotations"]["summary"]
            or rule["alert"] == "RolloutMetricsMissing"
        )
        assert re.search(r"rollout [a-z]+|Rollout\w+", rule["annotations"]["description"])


@pytest.mark.parametrize(
    "name", ["rollout-monitor.service", "rollout-monitor.timer", "rollout-watch.service"]
)
def test_systemd_reads_a_unit_without_a_word(name, installed):
    """systemd-analyze verify says nothing at all: an unknown key would be a warning, a wrong value
    an error.
    """
    program = needs("systemd")
    for unit in ("rollout-monitor.service", "rollout-monitor.timer", "rollout-watch.service"):
        (installed / unit).write_text(placed(text(unit), installed))
    done = subprocess.run(
        [program, "verify", "--man=no", str(installed / name)],
        capture_output=True,
        text=True,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{installed}:"},
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_systemd_would_say_so_if_a_key_were_wrong(installed):
    """The check above can fail: a mistyped key is one line on stderr."""
    program = needs("systemd")
    unit = installed / "rollout-wrong.service"
    unit.write_text(
        placed(text("rollout-monitor.service"), installed).replace(
            "TimeoutStartSec", "TimeoutStart"
        )
    )
    done = subprocess.run(
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert "'TimeoutStart'" in done.stderr


def test_the_timer_fires_once_in_every_slot_of_the_plan(tmp_path):
    """systemd itself says when: twenty seconds into each quarter of an hour, in UTC."""
    program = needs("systemd")
    calendar = options("rollout-monitor.timer", "Timer")["OnCalendar"]
    done = subprocess.run(
        [program, "calendar", "--iterations=5", "--base-time=2025-12-03 08:00:00 UTC", calendar],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": "UTC"},
    )
    moments = re.findall(
        r"(?:Next elapse|Iteration #\d|Iter\. #\d): \w+ 2025-12-03 (\d\d:\d\d:\d\d) UTC",
        done.stdout,
    )
    assert moments == ["08:00:20", "08:15:20", "08:30:20", "08:45:20", "09:00:20"]
    assert INTERVAL.total_seconds() == 900


def test_the_services_run_the_suites_own_command_and_leave_room_for_its_end():
    """The exit code 10 is no failure of a check, every other is; a wrong plan is not tried again
    and again.
    """
    monitor, watch = (
        options("rollout-monitor.service", "Service"),
        options("rollout-watch.service", "Service"),
    )
    assert shlex.split(monitor["ExecStart"]) == CHECK
    assert shlex.split(watch["ExecStart"]) == [CHECK[0], "watch"]
    assert (monitor["Type"], monitor["SuccessExitStatus"], monitor["KillSignal"]) == (
        "oneshot",
        "10",
        "SIGTERM",
    )
    assert "Restart" not in monitor, "a slot is looked at once"
    assert monitor["TimeoutStartSec"] == "10min"
    assert watch["RestartPreventExitStatus"].split() == ["2", "20", "30", "40"]
    assert options("rollout-monitor.timer", "Timer")["Persistent"] == "true"


def test_the_crontab_line_runs_the_check_in_its_environment_and_hands_on_its_code(installed):
    """Five fields, no per cent sign (cron ends a command there), one check in a slot; a shell runs
    it as it is.
    """
    lines = [
        line for line in text("rollout.crontab").splitlines() if line and not line.startswith("#")
    ]
    settings = dict(line.split("=", 1) for line in lines[:-1])
    *fields, command = lines[-1].split(" ", 5)
    assert settings["CRON_TZ"] == "UTC"
    assert fields == [f"*/{INTERVAL.seconds // 60}", "*", "*", "*", "*"]
    assert "%" not in command
    done = subprocess.run(
        [settings["SHELL"], "-c", placed(command, installed)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert (
        done.stdout == f"parameters/week6.production.yaml|{installed / 'opt'}|monitor --slot now\n"
    )
    assert (done.returncode, done.stderr) == (40, "")


def test_kubernetes_accepts_the_cronjob_strictly():
    """The schema of the API, unknown fields refused; and what the schema does not look at."""
    job = yaml.safe_load(text("cronjob.yaml"))
    kubernetes_validate.validate(job, "1.37", strict=True)
    spec, run_once = job["spec"], job["spec"]["jobTemplate"]["spec"]
    assert spec["schedule"] == f"*/{INTERVAL.seconds // 60} * * * *"
    assert (spec["concurrencyPolicy"], spec["timeZone"]) == ("Forbid", "Etc/UTC")
    assert (run_once["backoffLimit"], run_once["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert run_once["activeDeadlineSeconds"] < INTERVAL.total_seconds()
    assert spec["startingDeadlineSeconds"] < INTERVAL.total_seconds()


def test_kubernetes_would_refuse_an_unknown_field():
    """The check above can fail."""
    job = yaml.safe_load(text("cronjob.yaml"))
    job["spec"]["concurencyPolicy"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.37", strict=True)


def test_the_cronjobs_container_runs_the_check_and_hands_on_its_code(installed):
    """Its command, run by the shell that it names, ends with the check's own exit code."""
    (container,) = yaml.safe_load(text("cronjob.yaml"))["spec"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]["containers"]
    shell, flag, command = container["command"]
    done = subprocess.run(
        [shell, flag, placed(command, installed)],
        capture_output=True,
        text=True,
        check=False,
        env={"CODE": "30", "ROLLOUT_PLAN": "p"},
        cwd=installed,
    )
    assert (done.stdout, done.returncode) == (f"p|{installed}|monitor --slot now\n", 30)
    assert all("URL" not in item["name"] for item in container["env"]), (
        "no address stands in a manifest"
    )


def test_the_dag_says_what_airflow_needs_to_hear():
    """One BashOperator, `exec`, a clean environment, no catching up, one run at a time, no
    dagrun_timeout.
    """
    calls = [
        node for node in ast.walk(ast.parse(text("rollout_dag.py"))) if isinstance(node, ast.Call)
    ]
    called = {
        getattr(node.func, "id", ""): {word.arg: word.value for word in node.keywords}
        for node in calls
    }
    dag, task = called["DAG"], called["BashOperator"]
    assert [getattr(node.func, "id", "") for node in calls].count("BashOperator") == 1
    assert ast.literal_eval(dag["schedule"]) == f"*/{INTERVAL.seconds // 60} * * * *"
    assert (ast.literal_eval(dag["catchup"]), ast.literal_eval(dag["max_active_runs"])) == (
        False,
        1,
    )
    assert "dagrun_timeout" not in dag
    assert ast.literal_eval(task["env"])["SHLVL"] == "1"
    assert ast.literal_eval(task["append_env"]) is False
    assert "exec {HOME}/.venv/bin/rollout monitor --slot now" in ast.unparse(task["bash_command"])
