"""Rollout files of other tools as a plan: their shapes, written anew, and what is done with what has
no counterpart.
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
import yaml

from rollout_lib.cli.app import run
from rollout_lib.errors import ParameterError
from rollout_lib.plan import load_plan
from rollout_lib.plan.foreign import taken_from, tool_of

ARGO = """
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: webhooks}
spec:
  replicas: 4
  strategy:
    canary:
      maxSurge: 1
      steps:
        - setWeight: 10
        - pause: {duration: 1h}
        - pause: {duration: 30m}
        - setWeight: 25
        - analysis: {templates: [{templateName: errors}]}
        - pause: {duration: 7200}
        - setWeight: 50
        - pause: {}
"""
FLAGGER = """
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: webhooks}
spec:
  analysis:
    interval: 30m
    threshold: 5
    stepWeights: [5, 20, 60]
    metrics:
      - {name: request-success-rate, thresholdRange: {min: 99.5}, interval: 1m}
      - {name: request-duration, thresholdRange: {max: 1500}, interval: 1m}
      - {name: queue-depth, thresholdRange: {max: 10}}
"""
CODEDEPLOY = {
    "deploymentConfigName": "Slow",
    "computePlatform": "Lambda",
    "trafficRoutingConfig": {
        "type": "TimeBasedLinear",
        "timeBasedLinear": {"linearPercentage": 40, "linearInterval": 60},
    },
}
APPCONFIG = {
    "Name": "Slow",
    "DeploymentDurationInMinutes": 120,
    "GrowthFactor": 25,
    "GrowthType": "LINEAR",
    "FinalBakeTimeInMinutes": 60,
}
HALF, HOUR = timedelta(minutes=30), timedelta(hours=1)
GIVEN = (
    "--rollout",
    "week7",
    "--domains",
    "jobs",
    "--protected",
    "mobility",
    "--day",
    "2026-01-07",
)


def phases(content) -> list:
    return [(int(percentage), hold) for percentage, hold in taken_from(content).phases]


@pytest.mark.parametrize(
    ("content", "tool", "wanted"),
    [
        (yaml.safe_load(ARGO), "Argo Rollouts", [(10, 3 * HALF), (25, 2 * HOUR), (50, None)]),
        (yaml.safe_load(FLAGGER), "Flagger", [(5, HALF), (20, HALF), (60, HALF)]),
        (CODEDEPLOY, "AWS CodeDeploy", [(40, HOUR), (80, HOUR), (100, None)]),
        (
            "CodeDeployDefault.LambdaCanary10Percent15Minutes",
            "AWS CodeDeploy",
            [(10, HALF / 2), (100, None)],
        ),
        (
            {"deploymentConfigName": "CodeDeployDefault.ECSLinear50PercentEvery30Minutes"},
            "AWS CodeDeploy",
            [(50, HALF), (100, None)],
        ),
        (APPCONFIG, "AWS AppConfig", [(25, HALF), (50, HALF), (75, HALF), (100, HOUR)]),
        (
            APPCONFIG | {"GrowthType": "EXPONENTIAL", "GrowthFactor": 20},
            "AWS AppConfig",
            [(20, HALF), (40, HALF), (80, HALF), (100, HOUR)],
        ),
    ],
    ids=["argo", "flagger", "codedeploy", "by name", "by name in a file", "appconfig", "doubling"],
)
def test_phases_are_taken_over_as_the_tool_means_them(content, tool, wanted):
    """Weights that rise, each held as long as its pauses say; None where the file does not."""
    assert tool_of(content) == tool
    assert phases(content) == wanted


def test_thresholds_are_taken_over_and_the_rest_is_named():
    """A success rate is an error rate; a custom metric, a count of failures, surges are said."""
    flagger = taken_from(yaml.safe_load(FLAGGER))
    assert flagger.thresholds == {
        "error_rate_rollback_pct": Decimal("0.5"),
        "p95_rollback_ms": Decimal(1500),
    }
    assert any("queue-depth" in line for line in flagger.left)
    assert any("analysis.threshold" in line for line in flagger.left)
    argo = taken_from(yaml.safe_load(ARGO)).left
    for words in ("maxSurge", "steps[4].analysis", "waits for a person"):
        assert any(words in line for line in argo), words


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, "no rollout of Argo"),
        ([], "no rollout of Argo"),
        (yaml.safe_load(ARGO.replace("setWeight: 25", "setWeight: 5")), "do not rise"),
        (yaml.safe_load(ARGO.replace("duration: 1h", "duration: soon")), "no duration"),
        (yaml.safe_load(FLAGGER.replace("[5, 20, 60]", "[]")), "do not rise"),
        (CODEDEPLOY | {"trafficRoutingConfig": {"type": "AllAtOnce"}}, "all traffic at once"),
        ({"apiVersion": "flagger.app/v1beta1", "spec": None}, "not as it has them"),
        (APPCONFIG | {"GrowthFactor": 0}, "do not rise"),
    ],
)
def test_a_file_that_is_none_is_one_sentence(content, said):
    """Never a traceback, whatever the file holds."""
    with pytest.raises(ParameterError, match=said):
        taken_from(content)


@pytest.mark.parametrize("text", [ARGO, FLAGGER, json.dumps(CODEDEPLOY), json.dumps(APPCONFIG)])
def test_a_plan_made_of_it_can_be_used_once_it_is_filled_in(text, tmp_path, monkeypatch, capsys):
    """`plan new --from` writes a plan that `plan check` takes, and says what it left out."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    foreign, out = tmp_path / "foreign.yaml", tmp_path / "plan.yaml"
    foreign.write_text(text, encoding="utf-8")
    assert run(["plan", "new", "--from", str(foreign), "--out", str(out), *GIVEN]) == 0
    plan = load_plan(out)
    assert [phase.percentage for phase in plan.phases] == [
        percentage for percentage, _ in taken_from(yaml.safe_load(text)).phases
    ]
    assert run(["plan", "check", str(out)]) == 0
    assert "fill in" in out.read_text(encoding="utf-8")
    capsys.readouterr()
    assert run(["plan", "new", "--from", str(foreign), "--out", str(out), *GIVEN]) == 2
    assert "is not written over" in capsys.readouterr().err


def test_a_foreign_file_given_as_a_plan_says_so(tmp_path, capsys):
    """And how it is taken over."""
    file = tmp_path / "rollout.yaml"
    file.write_text(ARGO, encoding="utf-8")
    assert run(["plan", "check", str(file)]) == 2
    said = capsys.readouterr().err
    assert "It is a rollout of Argo Rollouts, and no plan" in said
    assert "rollout plan new --from" in said


def test_a_plan_from_options_is_laid_out_over_days(tmp_path, monkeypatch):
    """Half an hour after the phase before, or the next morning; the runbook's thresholds."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    out = tmp_path / "plan.yaml"
    options = ("--phases", "10:4h, 25:4h, 35:6h, 50:24h", "--environment", "production")
    assert run(["plan", "new", "--out", str(out), *options, *GIVEN]) == 0
    plan = load_plan(out)
    begins = [f"{plan.begins(index):%d %H:%M}" for index in range(4)]
    assert begins == ["07 09:00", "07 13:30", "08 09:00", "08 15:30"]
    assert plan.thresholds == load_plan("parameters/week6.rehearsal.yaml").thresholds


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--phases: needed"),
        (("--phases", "10:4h"), "--rollout: needed"),
        (("--phases", "10:4h", *GIVEN, "--day", "soon"), "--day: must be a day"),
        (("--phases", "10%", *GIVEN), "--phases: must be a duration"),
        (("--phases", "x:4h", *GIVEN), "--phases: must be a rate"),
        (("--phases", "10:4h", *GIVEN, "--environment", "moon"), "environment:"),
        (("--from", "nowhere.yaml", *GIVEN), "--from:"),
        (("--phases", "10:4h", *GIVEN, "--rollout", "x\nmode: strict"), "key given twice"),
    ],
)
def test_what_is_missing_or_wrong_writes_nothing(options, said, tmp_path, monkeypatch, capsys):
    """One sentence by the option's name, exit 2, no file."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    out = tmp_path / "plan.yaml"
    assert run(["plan", "new", "--out", str(out), *options]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_that_is_not_there_is_said(tmp_path, monkeypatch, capsys):
    """Exit 2, and no defect of ours."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    out = tmp_path / "nowhere" / "plan.yaml"
    assert run(["plan", "new", "--out", str(out), "--phases", "10:4h", *GIVEN]) == 2
    assert "cannot be written" in capsys.readouterr().err
