"""The plan is validated whole: every problem at once, each with its path, and nothing coerced."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from rollout_lib import errors
from rollout_lib.errors import PlanError
from rollout_lib.model import STATES
from rollout_lib.plan import Plan, load_plan, parse_plan

CONTENT = yaml.safe_load(Path("parameters/week6.rehearsal.yaml").read_text())


def changed(**values: Any) -> dict:
    """The rehearsal's plan with values put at paths such as `phases.2.percentage` (dots as double
    underscores).
    """
    content = copy.deepcopy(CONTENT)
    for path, value in values.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        place = content
        for parent in parents:
            place = place[parent]
        place[last] = value
    return content


def problems(content: Any) -> list[str]:
    """The lines of the refusal, without its first."""
    with pytest.raises(PlanError) as error:
        parse_plan(content)
    assert error.value.exit_code == 2
    return str(error.value).splitlines()[1:]


def test_both_shipped_plans_are_valid():
    """The plans that ship with the suite pass their own validation."""
    for name in ("rehearsal", "production"):
        assert load_plan(f"parameters/week6.{name}.yaml").environment == name


def test_both_shipped_plans_hold_the_runbooks_numbers():
    """Phases, holds and thresholds are the runbook's; a leak and ROLL BACK act alone, STEP BACK
    asks.
    """
    for name in ("rehearsal", "production"):
        plan = load_plan(f"parameters/week6.{name}.yaml")
        hours = [(int(phase.percentage), phase.hold / timedelta(hours=1)) for phase in plan.phases]
        assert hours == [(10, 4), (25, 4), (35, 6), (50, 24)]
        limits = plan.thresholds
        assert (
            float(limits.error_rate_investigate_pct),
            float(limits.error_rate_rollback_pct),
        ) == (0.1, 0.5)
        assert (limits.p95_investigate_ms, limits.p95_rollback_ms) == (2000, 3000)
        acts = plan.acts_alone
        assert (acts.protected_leak, acts.roll_back, acts.step_back) == (True, True, False)
        assert plan.monitoring.interval == timedelta(minutes=15)


def test_every_problem_is_reported_at_once_with_its_path():
    """An unknown key, a contradiction between phases, a NaN and a missing section are all named in
    one error.
    """
    content = changed(
        phases__2__percentage=25, thresholds__p95_rollback_ms=float("nan"), surprise=1
    )
    del content["acts_alone"]
    words = "\n".join(problems(content))
    assert "phases[2].percentage: must rise, 25 after 25" in words
    assert "thresholds.p95_rollback_ms" in words
    assert "surprise: unknown key" in words
    assert "acts_alone: missing" in words


BACKWARDS = {"start": datetime(2025, 12, 27, tzinfo=UTC), "end": datetime(2025, 12, 24, tzinfo=UTC)}
# Mistakes that stand in nobody's way: what any of them needs, no other one spoils. (path, value,
# what is said)
MISTAKES = (
    ("phases__1__percentage", 10, "phases[1].percentage: must rise, 10 after 10"),
    ("phases__1__start", "12:00", "phases[1].start: the hold of phases[0] has not ended by then"),
    ("phases__1__note", "soon", "phases[1].note: unknown key"),
    ("phases__2__day", "tomorrow", "phases[2].day: must be a date"),
    ("phases__3__percentage", True, "phases[3].percentage: must be a number"),
    ("phases__3__hold", "250m", "phases[3].hold: must be a whole number of monitoring.interval"),
    ("monitoring__window", "5m", "monitoring.window: must be at least monitoring.interval"),
    ("monitoring__stale_after", 15, "monitoring.stale_after: must be a duration"),
    ("monitoring__tripwire", "31s", "monitoring.tripwire: must be at most 30 s"),
    ("probes", {"timeout": "8s"}, "probes.timeout: must be at most 7 s"),
    ("monitoring__every", "5m", "monitoring.every: unknown key"),
    (
        "thresholds__error_rate_rollback_pct",
        0.05,
        "thresholds.error_rate_rollback_pct: must be over error_rate_inv",
    ),
    (
        "thresholds__p95_rollback_ms",
        2000,
        "thresholds.p95_rollback_ms: must be over p95_investigate_ms",
    ),
    (
        "thresholds__split_tolerance_points",
        float("nan"),
        "thresholds.split_tolerance_points: must be a finite",
    ),
    ("thresholds__surprise", 1, "thresholds.surprise: unknown key"),
    ("protected_domains__0", "jobs", "protected_domains: jobs may not be eligible and protected"),
    ("protected_domains__1", "Profile!", "protected_domains[1]: must be lower-case letters"),
    (
        "expected_requests_per_hour",
        {"jobs": 0, "property": 9},
        "expected_requests_per_hour: must name exactly",
    ),
    ("freezes", [BACKWARDS], "freezes[0].end: must be after start"),
    ("freezes", [BACKWARDS], "freezes[0].reason: missing"),
    ("database__name", None, "database.name: "),
    ("acts_alone__step_back", "no", "acts_alone.step_back: "),
    ("mode", "literal", "mode: "),
    ("digest", "0" * 16, "digest: unknown key"),
    ("surprise", 1, "surprise: unknown key"),
)


@given(st.sets(st.sampled_from(range(len(MISTAKES))), min_size=2))
@example(set(range(len(MISTAKES))))
@settings(deadline=None, max_examples=60)
def test_no_mistake_hides_another(chosen):
    """Any of them together, within one section and across sections: each is said, and nothing that
    is right.
    """
    mistakes = [MISTAKES[index] for index in chosen]
    said = problems(changed(**{path: value for path, value, _ in mistakes}))
    for path, _, words in mistakes:
        assert any(line.startswith(words) for line in said), (path, said)
    wrong = {path.replace("__", ".").split(".")[0] for path, *_ in mistakes}
    assert {re.split(r"[.\[:]", line)[0] for line in said} == wrong


def test_what_needs_a_wrong_value_is_not_said():
    """A percentage, a zone and a domain that are no such thing: one line each, and no guess about
    what they meant.
    """
    said = problems(
        changed(
            phases__1__percentage="ten", time_zone="Bonn", domains=["jobs", "Market", "property"]
        )
    )
    assert [line.split(":")[0] for line in said] == [
        "time_zone",
        "domains[1]",
        "phases[1].percentage",
    ]
    said = problems(changed(phases__1__percentage="ten", phases__2__percentage=10))
    assert "phases[2].percentage: must rise, 10 after 10" in said


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("phases__0__percentage", "10", "phases[0].percentage: must be a number, not '10'"),
        ("phases__0__percentage", float("nan"), "phases[0].percentage: must be a finite number"),
        ("phases__0__percentage", True, "phases[0].percentage: must be a number, not True"),
        ("phases__3__percentage", 100.5, "phases[3].percentage: must be over 0 and at most 100"),
        (
            "phases__0__hold",
            240,
            "phases[0].hold: must be a duration such as 90s, 15m, 4h or 1d, not 240",
        ),
        ("phases__0__hold", "4h10m", "phases[0].hold: must be a duration"),
        (
            "phases__0__hold",
            "250m",
            "phases[0].hold: must be a whole number of monitoring.interval",
        ),
        ("phases__0__start", 540, "phases[0].start: must be a quoted time"),
        ("phases__0__day", "2025-12-03", "phases[0].day: must be a date"),
        (
            "phases__1__start",
            "12:00",
            "phases[1].start: the hold of phases[0] has not ended by then",
        ),
        ("phases", [], "phases: "),
        ("domains", [], "domains: "),
        ("domains", ["jobs", "jobs", "property"], "domains: each once"),
        ("protected_domains", [], "protected_domains: "),
        (
            "protected_domains",
            ["jobs"],
            "protected_domains: jobs may not be eligible and protected",
        ),
        (
            "thresholds__error_rate_rollback_pct",
            0.05,
            "thresholds.error_rate_rollback_pct: must be over error_rate",
        ),
        (
            "thresholds__error_rate_rollback_pct",
            100,
            "thresholds.error_rate_rollback_pct: must be over 0 and under",
        ),
        (
            "thresholds__error_rate_investigate_pct",
            0,
            "thresholds.error_rate_investigate_pct: must be over 0 and",
        ),
        ("phases__0__hold", "999999999999d", "phases[0].hold: must be at most 366d"),
        (
            "phases__0__percentage",
            10.005,
            "phases[0].percentage: must be over 0 and at most 100 with two decimals",
        ),
        (
            "thresholds__p95_rollback_ms",
            2000,
            "thresholds.p95_rollback_ms: must be over p95_investigate_ms",
        ),
        ("thresholds__p95_rollback_ms", 3000.0, "thresholds.p95_rollback_ms: "),
        ("thresholds__split_tolerance_points", float("inf"), "thresholds.split_tolerance_points: "),
        ("monitoring__window", "5m", "monitoring.window: must be at least monitoring.interval"),
        ("monitoring__every", "5m", "monitoring.every: unknown key"),
        ("acts_alone__roll_back", "yes", "acts_alone.roll_back: "),
        ("acts_alone__roll_back", 1, "acts_alone.roll_back: "),
        ("mode", "literal", "mode: "),
        ("environment", "prod", "environment: "),
        ("time_zone", "Europe/Bonn", "time_zone: is not a time zone that this machine knows"),
        ("database__variable", "database url", "database.variable: "),
        ("database", {"variable": "DATABASE_URL"}, "database.name: missing"),
        (
            "expected_requests_per_hour",
            {"jobs": 1},
            "expected_requests_per_hour: must name exactly the domains",
        ),
        (
            "probes",
            {"protected": {"jobs": "https://x"}},
            "probes.protected: jobs is not a protected domain",
        ),
        ("probes", {"witness": "ftp://x"}, "probes.witness: "),
        ("digest", "0" * 16, "digest: unknown key"),
        ("rollout", "Week 6", "rollout: must be lower-case letters"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(path, value, words):
    """Nothing is coerced, no list may be empty, and contradictions between sections are found."""
    assert any(line.startswith(words) for line in problems(changed(**{path: value})))


def test_a_freeze_needs_offsets_and_an_order():
    """A naive instant and an end before its beginning are refused."""
    naive = {"start": "2025-12-24T00:00:00", "end": "2025-12-27T00:00:00", "reason": "Christmas"}
    content = yaml.safe_load(
        yaml.safe_dump(changed(freezes=[naive])).replace("'2025", "2025").replace("00:00'", "00:00")
    )
    assert [line.split(",")[0] for line in problems(content)] == [
        "freezes[0].start: needs an offset",
        "freezes[0].end: needs an offset",
    ]
    text = "{start: 2025-12-27T00:00:00+01:00, end: 2025-12-24T00:00:00+01:00, reason: Christmas}"
    (line,) = problems(changed(freezes=[yaml.safe_load(text)]))
    assert line.startswith("freezes[0].end: must be after start")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rollout: a\nrollout: b\n", "line 1: key given twice: rollout"),
        (
            "mode: strict\nphases: [{day: 2025-02-30, day: 2025-02-30}]\n",
            "line 2: key given twice: day",
        ),
        (
            "phases: [{day: 2025-02-30}]\n",
            "phases[0].day: must be a date such as 2025-12-03, not '2025-02-30'",
        ),
        ("phases: [{day: 9999-12-31}]\n", "phases[0].day: must be a date"),
        ("1: x\n", "[1]: keys should be strings"),
        ("[a]: x\n", "It is not YAML"),
        ("[" * 5000, "It is not YAML"),
        ("rollout: [", "It is not YAML"),
        ("- a\n", "It must be a mapping"),
        ("", "It must be a mapping"),
        ("x: !!python/object/apply:os.system ['true']\n", "It is not YAML"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, text, words):
    """A doubled key, broken YAML, a list, an empty file and a Python object are
    each one message.
    """
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(PlanError, match=re.escape(words)):
        load_plan(path)


def test_a_missing_file_is_one_message(tmp_path):
    """The path stands in it."""
    with pytest.raises(PlanError, match=r"nowhere\.yaml"):
        load_plan(tmp_path / "nowhere.yaml")


def test_the_digest_is_of_the_text(tmp_path):
    """A comment more is another digest: what was reviewed is what runs."""
    text = Path("parameters/week6.rehearsal.yaml").read_text()
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    before = load_plan(path).digest
    path.write_text(text + "# seen\n")
    assert load_plan(path).digest != before


def test_a_hold_over_a_change_of_clocks_is_counted_in_real_hours():
    """24 h from 09:00 on the Saturday before summer time end at 10:00 on the Sunday."""
    content = changed(phases=[{"percentage": 50, "hold": "24h", "day": None, "start": "09:00"}])
    content["phases"][0]["day"] = yaml.safe_load("2026-03-28")
    plan = parse_plan(content)
    assert f"{plan.ends(0):%d %H:%M}" == "29 10:00"


def test_validating_a_plan_loads_nothing_heavy():
    """`rollout_lib.plan` imports neither pandas, SQLAlchemy, psycopg, altair nor papermill."""
    code = (
        "import sys, rollout_lib.plan;print([n for n in ('pandas', 'sqlalchemy', 'psycopg',"
        " 'altair', 'papermill', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every key of a plan file by its path, with pydantic's field."""
    found = {}
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        found[prefix + name] = field
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= keys(kind, f"{prefix}{name}.")
    return found


def test_each_key_of_the_plan_is_documented():
    """docs/plan.md has a row for every key, for no other, and says "required" just where there is
    no default.
    """
    rows = re.findall(
        r"^\| `([a-z0-9_.]+)` \|.*\| ([^|]+) \|$", Path("docs/plan.md").read_text(), re.MULTILINE
    )
    known = keys(Plan)
    assert {name for name, _ in rows} == set(known)
    assert {name for name, default in rows if default == "required"} == {
        name for name, field in known.items() if field.is_required()
    }


def test_each_exit_code_is_documented():
    """docs/exit-codes.md has a row for every code that an error or a state carries, and for no
    other.
    """
    listed = {
        int(code)
        for code in re.findall(
            r"^\| (\d+) \|", Path("docs/exit-codes.md").read_text(), re.MULTILINE
        )
    }
    assert listed == {0, *STATES.values(), *(cls.exit_code for cls in errors.all_errors().values())}
