"""The page that a session lands on: what this world is, and what to open in which order."""

from __future__ import annotations

from pathlib import Path

import jinja2

from rollout_lib.model import Place
from rollout_lib.plan import Plan

NAME = "README.md"
_HERE = Path(__file__).parent


def write(folder: Path, plan: Plan, place: Place, operator: str, *, practising: bool) -> str:
    """Write the page of this opening into the working folder; returns its name."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    template = environment.get_template("practice.md.j2" if practising else "duty.md.j2")
    page = template.render(
        plan=plan,
        place=place,
        operator=operator,
        first=plan.phases[0],
        next=plan.phases[1:][:1],
        control_room=(folder / "50_control_room.ipynb").exists(),
    )
    (folder / NAME).write_text(page, encoding="utf-8")
    return NAME
