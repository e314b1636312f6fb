"""The documents say all there is, and nothing that is not: commands, options, variables, errors,
checks, gates.
"""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from rollout_lib.cli.app import ROOMS
from rollout_lib.cli.options import app
from rollout_lib.errors import all_errors
from rollout_lib.model import State

DOCS = Path("docs")
COMMANDS = (DOCS / "commands.md").read_text(encoding="utf-8")
TROUBLES = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
SOURCES = {path: path.read_text(encoding="utf-8") for path in Path("rollout_lib").rglob("*.py")}
# Set by one process of ours for another; nobody else is to touch them.
INTERNAL = {
    "ROLLOUT_KERNEL",  # from the runner to what its kernel starts
    "ROLLOUT_NOTEBOOK_SOURCE",
    "ROLLOUT_COMMIT",
    "ROLLOUT_DRAWER",
}
TEXTS = [
    Path("README.md"),
    *sorted(DOCS.glob("*.md")),
    *sorted(Path("rollout_lib/notify/templates").glob("*.j2")),
    Path("rollout_lib/units/rollout-alerts.yaml"),
]


def commands() -> dict[str, set[str]]:
    """Every command with its options, `group command` where it stands in a group."""
    for room in ROOMS:
        importlib.import_module(f"rollout_lib.cli.{room}")
    found = dict(typer.main.get_command(app).commands)
    for group in [name for name, command in found.items() if hasattr(command, "commands")]:
        for name, command in found.pop(group).commands.items():
            found[f"{group} {name}"] = command
    return {
        name: (
            {option for one in command.params for option in one.opts if option.startswith("--")}
            - {"--help"}
        )
        for name, command in found.items()
    }


def column(text: str, number: int) -> list[str]:
    """One column of every table of a document, without its heads."""
    rows = [
        line.split(" | ")
        for line in text.splitlines()
        if line.startswith("| ") and "---" not in line
    ]
    return [row[number].strip("| ") for row in rows if len(row) > number]


@pytest.mark.parametrize("name", sorted(commands()))
def test_each_command_stands_in_the_list_with_all_its_options(name):
    """Exactly the options that `--help` shows, in the command's row."""
    (row,) = [line for line in COMMANDS.splitlines() if line.startswith(f"| `rollout {name}` |")]
    assert set(re.findall(r"`(--[a-z-]+)`", row.split(" | ")[-1])) == commands()[name]


def test_the_emergency_has_no_option_that_the_list_leaves_out():
    """`rollback --emergency` reads its own options; each stands in commands.md."""
    options = re.findall(
        r'add_argument\(\s*"(--[a-z]+)"', Path("rollout_lib/cli/emergency.py").read_text("utf-8")
    )
    assert len(options) > 5
    assert [
        option for option in options if f"`{option}" not in COMMANDS and option not in COMMANDS
    ] == []


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_each_command_that_a_text_tells_somebody_to_type_exists(path):
    """`rollout <verb> --option …`, in prose, in blocks, in messages and alerts: the verb and each
    option are real.
    """
    known = commands()
    text = path.read_text(encoding="utf-8")
    for verb, rest in re.findall(r"(?<![\w./-])rollout ([a-z]+)((?: [^\n`|;#…&]*)?)", text):
        within = f"{verb} {rest.split()[0]}" if rest.split() else verb
        verb = within if within in known else verb
        if verb not in known and f"rollout {verb}" not in code(text):
            continue  # prose that goes on with another word
        assert verb in known, verb
        own = known[verb] | ({"--variable", "--operator"} if "--emergency" in rest else set())
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= own, (verb, rest)


def code(text: str) -> str:
    """What a document shows as code."""
    blocks = re.findall(r"^```bash$(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join(blocks + re.findall(r"`(rollout [^`\n]+)`", text))


def test_each_variable_that_is_read_is_explained_and_each_explained_one_is_read():
    """Whatever of ROLLOUT_… or SUPABASE_… the library or the shipped plans name stands in
    commands.md.
    """
    named = {
        name
        for text in SOURCES.values()
        for name in re.findall(r'"((?:ROLLOUT|SUPABASE)_[A-Z_]+)"', text)
    }
    plans = "".join(
        path.read_text(encoding="utf-8") for path in Path("parameters").glob("week6.*.yaml")
    )
    named |= set(re.findall(r"variable: ([A-Z_]+)", plans))
    said = set(re.findall(r"`([A-Z][A-Z_]+)`", "\n".join(column(COMMANDS, 0))))
    assert named - INTERNAL - said == set()
    assert {name for name in said if not name.startswith("PG")} - named == set()


def every_error() -> list[str]:
    """The classes of errors.py, and those that another module adds."""
    ours = re.compile(rf"^class \w+\((?:{'|'.join(all_errors())})\b", re.MULTILINE)
    for path, text in SOURCES.items():
        if ours.search(text):
            importlib.import_module(".".join(path.with_suffix("").parts))
    return sorted(
        name for name, cls in all_errors().items() if cls.__module__.startswith("rollout_lib")
    )


@pytest.mark.parametrize("name", every_error())
def test_each_error_is_found_by_its_words(name):
    """Its class and its exit code stand in troubleshooting.md, beside a part of what it says."""
    cls = all_errors()[name]
    (row,) = [line for line in TROUBLES.splitlines() if re.search(rf"`{name}` \(\d+\)", line)]
    assert f"`{name}` ({cls.exit_code})" in row
    quoted = re.findall(r"^\| `([^`]+)`", row)
    fixed = " ".join((cls.__doc__ or "").split())
    if re.sub(r"\{\w+\}", "", fixed).strip():
        assert quoted, "no words to find it by"
        assert quoted[0] in fixed


def test_each_check_and_gate_has_a_row(day):
    """What a check of a slot, the end of a phase or a refused raise can name is
    found by that name.
    """
    day.change(10)
    verdicts = [day.check().verdict, day.evaluate().verdict]
    names = {check.name for verdict in verdicts for check in verdict.checks} | {
        "off",
        "configuration",
    }
    rows = [name.strip("`") for cell in column(TROUBLES, 0) for name in cell.split(", ")]
    shapes = [re.compile(re.escape(row).replace("…", ".*")) for row in rows]
    assert [name for name in names if not any(shape.match(name) for shape in shapes)] == []
    asked = "".join(
        text for path, text in SOURCES.items() if path.name in ("gates.py", "change.py")
    )
    gates = set(re.findall(r'(?:_gate\(|Gate\(\s*name=)\s*"([^"]+)"', asked))
    assert len(gates) >= 13
    assert gates - set(rows) == set()


def test_each_state_is_in_the_glossary():
    """By the words that its badge has."""
    text = " ".join((DOCS / "glossary.md").read_text(encoding="utf-8").split())
    assert [state for state in State if state.value.replace("_", " ") not in text] == []


def test_the_glossary_is_in_order_and_says_each_word_once():
    """A reader finds a word where it is looked for."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8").split("## The states")[0]
    words = column(text, 0)[1:]
    assert words == sorted(set(words), key=str.lower)


def test_blocks_of_the_guides_are_shell():
    """Each line of a block can be pasted: quotes are closed, and nothing is left
    in angle brackets.
    """
    for path in sorted(DOCS.glob("*.md")):
        for block in re.findall(
            r"^```bash$(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            for line in block.strip().splitlines():
                assert shlex.split(line, comments=True) or line.startswith("#") or not line, (
                    path,
                    line,
                )
                assert not re.search(r"<\w+>", line), (path, line)
