"""The shape of the notebooks, by their syntax trees: prose first, thin cells, nothing that
computes.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from rollout_lib.errors import ParameterError
from rollout_lib.notebook import only
from rollout_lib.runner.parameters import defaults, load_notebook

NOTEBOOKS = sorted(Path("notebooks").glob("*.ipynb"))
# 05 and 60 look and record nothing; 50 judges nothing itself.
SCHEDULED = [path for path in NOTEBOOKS if path.name[:2] not in ("05", "50", "60")]
FORBIDDEN = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.For,
    ast.While,
    ast.If,
    ast.Try,
    ast.With,
    ast.ListComp,
    ast.DictComp,
    ast.SetComp,
    ast.GeneratorExp,
)
PANDAS = {"groupby", "merge", "pivot", "apply", "agg", "read_sql", "iloc", "loc", "DataFrame"}


def code(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_cell_calls_one_function_and_shows_the_value(path):
    """No definition, loop, condition, try, magic, SQL or pandas verb in any cell."""
    for source in code(path):
        assert not any(line.startswith(("%", "!")) for line in source.splitlines())
        tree = ast.parse(source)
        for node in ast.walk(tree):
            assert not isinstance(node, FORBIDDEN), ast.unparse(node)
            assert not (isinstance(node, ast.Attribute) and node.attr in PANDAS), ast.unparse(node)
            assert not (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and "select " in node.value.lower()
            ), node.value


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_begins_with_purpose_change_and_undo(path):
    """The first cell is prose that says what it is for, what it may change and how to undo it."""
    first = nbformat.read(path, 4).cells[0]
    assert first.cell_type == "markdown"
    for words in ("**Purpose.**", "**What it may change.**", "**How to undo.**"):
        assert words in first.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_one_cell_of_simple_parameters(path):
    """Exactly one cell is tagged `parameters`; it assigns literals of bool, int, float or str and
    nothing else.
    """
    tagged = [
        cell
        for cell in nbformat.read(path, 4).cells
        if "parameters" in cell.metadata.get("tags", [])
    ]
    assert len(tagged) == 1
    for node in ast.parse(tagged[0].source).body:
        assert isinstance(node, ast.Assign)
        assert isinstance(ast.literal_eval(node.value), bool | int | float | str)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_parameters_are_followed_by_a_cell_that_knows_them(path):
    """The next code cell calls only(globals(), …) with the parameters' names in their order, before
    anything could overwrite what was injected between the two.
    """
    cells = nbformat.read(path, 4).cells
    place = next(
        index for index, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", [])
    )
    imported, call = ast.parse(cells[place + 1].source).body
    assert ast.unparse(imported) == "from rollout_lib.notebook import only"
    names = ", ".join(map(repr, defaults(load_notebook(path)[0])))
    assert ast.unparse(call) == f"only(globals(), {names})"


@pytest.mark.parametrize(
    "name", ["slto", "percentage", "charts", "session", "reasn", "_slot", "_dry_run"]
)
def test_a_name_that_nobody_knows_is_refused(name):
    """A literal under any other name, one that a notebook imports later among them."""
    known = {"plan": "", "slot": "now"}
    own = {"__name__": "__main__", "_": 1, "___": "", "_ii": "x", "_i12": "x", "_3": 4, "_dh": [""]}
    own |= {
        "In": [""],
        "Out": {},
        "_oh": {},
        "_exit_code": 0,
        "__vsc_ipynb_file__": "x",
        "only": only,
    }
    only({**known, **own}, "plan", "slot")
    with pytest.raises(ParameterError, match=f"{name}: unknown; this notebook has plan, slot"):
        only({**known, **own, name: "x"}, "plan", "slot")


@pytest.mark.parametrize("path", SCHEDULED, ids=lambda path: path.stem)
def test_the_writing_cell_comes_before_any_chart_and_the_last_one_raises(path):
    """The operation stands before the first chart, and the last cell is the
    sentinel `conclude(…)`.
    """
    cells = code(path)
    charts = [index for index, source in enumerate(cells) if "charts." in source]
    operation = next(
        index for index, source in enumerate(cells) if source.startswith(("run = ", "result = "))
    )
    assert all(operation < index for index in charts)
    assert cells[-1].startswith("conclude(")


def test_the_control_room_ends_with_its_widgets_and_no_other_notebook_has_any():
    """50 judges nothing itself, so it ends by showing the room, in cells that a keystroke does not
    delete.
    """
    room = Path("notebooks/50_control_room.ipynb")
    cells = code(room)
    assert cells[-1].splitlines()[-1] == "control_room(session)"
    assert not any(
        words in source for source in cells for words in ("conclude(", "charts.", "run = ")
    )
    assert all(cell.metadata.get("deletable") is False for cell in nbformat.read(room, 4).cells)
    assert not any(
        "control_room" in source or "ipywidgets" in source
        for path in SCHEDULED
        for source in code(path)
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs_and_with_stable_ids(path):
    """nbstripout would change nothing, and the ids name the notebook and the place."""
    command = [Path(sys.executable).with_name("nbstripout"), "--verify", "--keep-id"]
    command += ["--extra-keys", "metadata.papermill cell.metadata.papermill", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    ids = [cell.id for cell in nbformat.read(path, 4).cells]
    assert len(set(ids)) == len(ids)
    assert all(one.startswith(path.name[:2]) for one in ids)


def test_defaults_leave_traffic_safer():
    """Where traffic can rise the default is a dry run; a rollback switches off; a monitor claims no
    slot.
    """
    changing = defaults(load_notebook(Path("notebooks/10_change_percentage.ipynb"))[0])
    assert changing["dry_run"] is True
    assert defaults(load_notebook(Path("notebooks/90_rollback.ipynb"))[0])["gradual"] is False
    assert defaults(load_notebook(Path("notebooks/20_monitor.ipynb"))[0])["slot"] == ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_parameter_set_fits_it(path):
    """parameters/<notebook>.yaml names only parameters of the notebook, each of
    the default's type.
    """
    given = yaml.safe_load(Path(f"parameters/{path.stem}.yaml").read_text(encoding="utf-8"))
    known = defaults(load_notebook(path)[0])
    assert set(given) <= set(known)
    assert all(type(value) is type(known[name]) for name, value in given.items())
