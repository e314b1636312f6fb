"""The house: layers, short rooms, one statement a file, nothing of the machine it
was written on.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import house

SOURCES = sorted(Path("rollout_lib").rglob("*.py"))
SQL = [path for path in sorted(Path("rollout_lib/sql").glob("*.sql")) if path.name != "roles.sql"]
LONGEST_FILE, LONGEST_FUNCTION = 450, 80  # to come down to 300 and 60


def tracked(*patterns: str) -> list[Path]:
    """What git holds of the given patterns."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], capture_output=True, text=True, check=True
    )
    return [Path(name) for name in listed.stdout.split("\0") if name and Path(name).exists()]


def test_the_layers_point_inwards():
    """import-linter keeps every contract of pyproject.toml: layers, pure deciding, the light
    emergency path.
    """
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_walk_through_the_house_is_complete():
    """docs/house.md links every room and every module that a recorded check reads, and its picture
    is the import contract's.
    """
    text = Path("docs/house.md").read_text(encoding="utf-8")
    linked = {name.partition("#")[0] for name in re.findall(r"\]\(\.\./([^)]+)\)", text)}
    modules = {path: ".".join(Path(path).with_suffix("").parts) for path in linked}
    named = {name.removesuffix(".__init__") for name in modules.values()}
    assert house.closure(house.CHECK) <= named
    assert {f"rollout_lib.{room}" for room in house.rooms()} <= named
    assert f"```mermaid\n{house.picture()}\n```" in text


def test_the_house_keeps_its_size():
    """No more rooms than 26, and nothing is packed past the formatter."""
    assert len(house.rooms()) <= 26
    assert not any("fmt" + ": skip" in path.read_text(encoding="utf-8") for path in SOURCES)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_file_is_one_room(path):
    """No module and no function is longer than the limits above."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.body[0].lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_what_is_public_is_described(path):
    """Every module, public class and public function has a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module"
    nodes = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    bare = [
        node.name for node in nodes if not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not bare


@pytest.mark.parametrize("path", SQL, ids=str)
def test_a_question_is_one_statement_with_its_header(path):
    """A comment says what it answers, and its binds and columns where it has some; no second
    statement follows.
    """
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- ")
    body = re.sub(r"--.*", "", text).strip().rstrip(";")
    assert body, "no statement"
    assert ";" not in re.sub(r"'[^']*'", "", body), "a second statement"
    header = "\n".join(line for line in text.splitlines() if line.startswith("--"))
    for bind in set(re.findall(r"(?<![:\w]):([a-z_]+)", body)):
        assert bind in header, f"the header does not name :{bind}"


def test_only_commands_print():
    """No print outside the command line, the emergency and the small servers that announce
    themselves.
    """
    allowed = {"cli", "emergency", "forkserver.py", "drawer.py", "live"}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        calls = [
            call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"
        ]
        assert not calls or allowed & {*path.parts, path.name}, path


def test_nothing_names_the_machine_it_was_written_on():
    """No file of the repository holds a home, a scratch folder or a package index of somebody's
    machine.
    """
    wrong = re.compile(r"/work/(main|shared)|/home/\w|index-url|files\.pythonhosted")
    own = Path(__file__).relative_to(Path.cwd())
    found = [
        path
        for path in tracked()
        if path != own
        and path.suffix not in (".png",)
        and wrong.search(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert not found


def test_the_lock_pins_everything_with_hashes():
    """Each line of requirements.lock is a pinned package with hashes."""
    text = Path("requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]:
        assert re.match(r"^[a-zA-Z0-9_.\[\]-]+==\S+\s.*--hash=sha256:", line), line


def test_scheduled_notebooks_never_load_widgets():
    """Importing what a scheduled notebook imports loads neither ipywidgets nor the panels."""
    code = (
        "import sys, rollout_lib.notebook; print('ipywidgets' in sys.modules,"
        " 'rollout_lib.control_room' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_emergency_command_loads_psycopg_and_little_else():
    """`rollout rollback --emergency` at a closed port: none of the heavy packages was imported on
    the way.
    """
    code = (
        "import sys; sys.argv = ['rollout', 'rollback', '--emergency', '--reason', 'test'];from"
        " rollout_lib.cli import main\ntry: main()\nexcept SystemExit as end: code ="
        " end.code\nheavy = [n for n in ('pandas', 'altair', 'papermill', 'scipy', 'numpy',"
        " 'sqlalchemy', 'typer', 'pydantic') if n in sys.modules]\nprint(code, heavy)"
    )
    environment = {"DATABASE_URL": "postgresql://127.0.0.1:1/postgres", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == "50 []", done.stdout + done.stderr
