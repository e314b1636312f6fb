"""What `rollout plan new` does with what it was given: asked, taken over, written once, checked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import typer

from rollout_lib.errors import ParameterError, PlanError
from rollout_lib.operations.foresight import expected_from, foresee
from rollout_lib.plan import Plan, load_plan
from rollout_lib.plan.foreign import Taken, taken_from
from rollout_lib.plan.load import parse_plan, read_yaml
from rollout_lib.plan.making import Wanted, plan_text
from rollout_lib.plan.values import duration_of, rate_of

T = TypeVar("T")
_ASKED = {
    "rollout": "Name of the rollout",
    "protected": "Protected domains, with commas",
    "day": "Day of the first phase (2026-01-07)",
}


@dataclass(frozen=True, kw_only=True)
class Given:
    """The options as they were typed, "" for those that were not."""

    out: str
    source: str
    rollout: str
    environment: str
    domains: str
    protected: str
    phases: str
    day: str
    start: str
    time_zone: str
    variable: str
    database: str


def write_new(given: Given) -> Iterator[str]:
    """Write the plan, and yield what is to be said of it; raises ParameterError or PlanError with
    nothing written.
    """
    file = Path(given.out)
    if file.exists():
        raise ParameterError(problems=f"--out: {file} exists, and is not written over")
    taken = _phases(given)
    given = _complete(given)
    protected = _names(given.protected)
    wanted = Wanted(
        rollout=given.rollout,
        environment=given.environment,
        time_zone=given.time_zone,
        variable=given.variable,
        database=given.database,
        domains=_names(given.domains) or ("unknown",),
        protected=protected,
        day=_parsed(date.fromisoformat, given.day, "--day", "a day such as 2026-01-07"),
        start=_parsed(time.fromisoformat, given.start, "--start", "a time such as 09:00"),
        taken=taken,
        expected={},
        foreign=bool(given.source),
    )
    wanted = _with_log(wanted, file, given)
    text = plan_text(wanted)
    _checked(text, file)
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except OSError as error:
        raise ParameterError(problems=f"--out: {file} cannot be written: {error}") from None
    yield f"{file}: {wanted.rollout}, {len(taken.phases)} phases. Read it, and fill in what is marked."
    for line in taken.left:
        yield f"left out  {line}"
    for warning in foresee(load_plan(file)).warnings:
        yield f"unwise  {warning}"


def _phases(given: Given) -> Taken:
    if given.source:
        if given.phases:
            raise ParameterError(problems="--phases: they come from the file of --from")
        try:
            _, content, _ = read_yaml(given.source)
        except PlanError as error:
            raise ParameterError(problems=f"--from: {error}") from None
        return taken_from(content)
    words = given.phases or _ask("phases", "Phases (10:4h,25:4h,50:24h)")
    phases = []
    for part in _names(words):
        percentage, _, hold = part.partition(":")
        rate = Decimal(str(100 * rate_of(percentage, "--phases"))).quantize(Decimal("0.01"))
        phases.append((rate.normalize(), duration_of(hold, "--phases")))
    return Taken(tool="", phases=tuple(phases))


def _complete(given: Given) -> Given:
    missing = [name for name in _ASKED if not getattr(given, name)]
    if missing and not sys.stdin.isatty():
        raise ParameterError(problems="\n".join(f"--{name}: needed" for name in missing))
    return replace(given, **{name: _ask(name, _ASKED[name]) for name in missing})


def _ask(name: str, words: str) -> str:
    if not sys.stdin.isatty():
        raise ParameterError(problems=f"--{name}: needed")
    answer: str = typer.prompt(words)
    return answer


def _with_log(wanted: Wanted, file: Path, given: Given) -> Wanted:
    """Domains and traffic as the log has them, where it can be read."""
    provisional = _checked(plan_text(wanted), file)
    expected = expected_from(provisional)
    if not given.domains and not expected:
        raise ParameterError(
            problems=f"--domains: needed, since ${given.variable} leads to no log that names them"
        )
    domains = _names(given.domains) or tuple(expected)
    return replace(wanted, domains=domains, expected=expected)


def _checked(text: str, file: Path) -> Plan:
    with TemporaryDirectory() as folder:
        written = Path(folder) / "plan.yaml"
        written.write_text(text, encoding="utf-8")
        _, content, problems = read_yaml(written)  # as strictly as any plan is read
    return parse_plan(content, path=str(file), problems=problems)


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _parsed(parse: Callable[[str], T], text: str, name: str, wanted: str) -> T:
    try:
        return parse(text.strip())
    except ValueError:
        raise ParameterError(problems=f"{name}: must be {wanted}, not {text!r}") from None
