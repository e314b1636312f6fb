"""HTML from templates: one environment, every text escaped, a missing name is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def rendered(template: str, **values: Any) -> Markup:
    """Return the HTML of `templates/<template>.html.j2` with these values."""
    return Markup(_environment().get_template(f"{template}.html.j2").render(**values).strip())


def part(name: str, *values: Any, **named: Any) -> Markup:
    """Return one piece of parts.html.j2 by the name of its macro."""
    macro = getattr(_environment().get_template("parts.html.j2").module, name)
    return Markup(macro(*values, **named))
