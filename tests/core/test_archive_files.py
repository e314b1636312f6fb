"""Written once, whole or not at all; pages without script or outside reference; a schema that
records keep to.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from papermill.iorw import papermill_io

from rollout_lib.archive import chain, names, sealing
from rollout_lib.archive.cleaning import clean
from rollout_lib.archive.twin import twin
from rollout_lib.archive.writing import write_once
from rollout_lib.errors import ArchiveFailed, NameTaken, ParameterError
from rollout_lib.model.record import schema, to_json

OUTSIDE = re.compile(
    r"""(?:src|href|action|data|poster|srcset)\s*=\s*["']?\s*(?!#|data:|["'])|url\(|@import""", re.I
)
PUBLISHED = Path(chain.__file__).parent / "checkpoint.schema.json"


def test_a_name_that_is_taken_is_refused_and_stays_as_it_was(tmp_path):
    """The first writer's content stays, the file is read-only, and nothing else is left in the
    folder.
    """
    path = tmp_path / "a" / "record.json"
    write_once(path, b"first")
    with pytest.raises(NameTaken, match="Nothing was overwritten"):
        write_once(path, b"second")
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode & 0o777 == 0o444
    assert [item.name for item in path.parent.iterdir()] == ["record.json"]


def test_of_many_writers_of_one_name_exactly_one_wins(tmp_path):
    """Twenty threads write one name at once: one content is there, whole, and
    nineteen are refused.
    """
    path, refused = tmp_path / "record.json", []

    def write(number: int) -> None:
        try:
            write_once(path, str(number).encode() * 10_000)
        except NameTaken:
            refused.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 19
    (winner,) = set(range(20)) - set(refused)
    assert path.read_bytes() == str(winner).encode() * 10_000


def test_a_read_only_folder_is_a_clear_error_and_leaves_nothing():
    """Where the folder takes no file, the error names it and says what of the run still stands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)  # root may write anywhere
        try:
            with pytest.raises(ArchiveFailed, match="Permission denied") as error:
                write_once(folder / "record.json", b"x")
        finally:
            os.seteuid(before)
        assert "stands on the ledger" in str(error.value)
        assert list(folder.iterdir()) == []


def test_the_handler_writes_a_path_once(tmp_path):
    """Through stock papermill, `archive://…` finds our handler, which has the same rule."""
    handler = papermill_io.get_handler(f"archive://{tmp_path}/x.ipynb")
    handler.write("{}", f"archive://{tmp_path}/x.ipynb")
    assert handler.read(f"archive://{tmp_path}/x.ipynb") == "{}"
    with pytest.raises(NameTaken):
        handler.write("{}", f"archive://{tmp_path}/x.ipynb")


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_name_never_leaves_its_folder(rollout, notebook):
    """Whatever a rollout or a notebook is called, its files' stem is one plain name."""
    stem = names.stem(
        datetime(2025, 12, 3, 9, 15, tzinfo=UTC), rollout, "p10", notebook, "s0915", "ab" * 16
    )
    assert re.fullmatch(r"20251203T091500Z_[A-Za-z0-9._-]+_abababab", stem)


def page_of(*outputs, source: str = "monitor(session)", markdown: str = "# Check") -> str:
    """The twin of a notebook with one markdown and one code cell."""
    cells = [
        nbformat.v4.new_markdown_cell(markdown),
        nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=1),
    ]
    return twin(nbformat.v4.new_notebook(cells=cells), "<title>")


def shown(**data: str):
    return nbformat.v4.new_output(
        "display_data", data={name.replace("_", "/"): text for name, text in data.items()}
    )


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> +49 170 1234567"
    " postgresql://u:hunter2@db/x"
)


@pytest.mark.parametrize(
    "output",
    [
        nbformat.v4.new_output("error", ename="ValueError", evalue=HOSTILE, traceback=[HOSTILE]),
        nbformat.v4.new_output("stream", name="stderr", text=HOSTILE),
        shown(text_plain=HOSTILE),
    ],
)
def test_hostile_text_is_escaped_and_redacted(output):
    """Markup in an error, in what a cell printed or showed, runs nowhere; numbers and passwords are
    taken out.
    """
    page = page_of(output, source=f"# {HOSTILE}", markdown=HOSTILE)
    assert "<script" not in page
    assert "<img" not in page
    body = page.split("<details>", 1)[1]
    assert "1234567" not in body
    assert "hunter2" not in body


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<SCRIPT src='https://x/y.js'></SCRIPT>",
        "<script>alert(1)",
        "<scr<script></script>ipt>alert(1)</script>",
        "<p onclick='alert(1)'>x</p>",
        "<svg onload=alert(1)></svg>",
        "<svg/onload=alert(1)></svg>",
        "<img src='https://example.org/x.png'>",
        "<iframe src='https://example.org'></iframe>",
        "<link rel=stylesheet href='https://example.org/x.css'>",
        "<a href='javascript:alert(1)'>x</a>",
        "<svg><image href='https://example.org/x.png'/></svg>",
        "<p style='background:url(https://example.org/x.png)'>x</p>",
        "<form action='https://example.org'><button>x</button></form>",
        "<object data='https://example.org'></object><embed src='https://example.org'>",
        "<meta http-equiv=refresh content='0;url=https://example.org'>",
        "<base href='https://example.org'>",
    ],
)
def test_nothing_that_runs_or_loads_survives(html):
    """Whatever HTML a cell shows, the page holds no script, no event, and nothing that is fetched
    from elsewhere.
    """
    left = clean(html)
    assert not re.search(r"<\s*(script|iframe|object|embed|link|meta|base|form|img)", left, re.I), (
        left
    )
    assert not re.search(r"[\s/]on\w+\s*=", left, re.I), left
    assert "javascript:" not in left.lower()
    assert "example.org" not in left


def test_our_own_html_and_charts_survive(day):
    """The card of a checkpoint and an SVG chart are shown as they are, once without their
    stylesheet.
    """
    card = (
        '<style>.ro{}</style><div class="ro"><span style="background-color:#00795A">✓'
        " PASS</span></div>"
    )
    chart = (
        '<svg viewBox="0 0 9 9"><path d="M0 0L9 9"'
        ' clip-path="url(#c)"></path><text>p95</text></svg>'
    )
    page = page_of(shown(text_html=card), shown(text_html=chart))
    assert '<span style="background-color:#00795A">✓ PASS</span>' in page
    assert (
        chart.replace("viewBox", "viewbox") in page
    )  # a browser spells SVG's names as it needs them


def test_a_page_is_one_file(day):
    """No script, nothing from elsewhere, a policy that forbids both, and far below 400 KB."""
    page = page_of(shown(text_plain="x" * 10_000))
    assert not OUTSIDE.search(page)
    assert "default-src 'none'" in page
    assert len(page.encode()) < 60_000


def test_the_published_schema_is_the_one_of_the_code():
    """checkpoint.schema.json is what the dataclasses say. Where it is not: write serial.schema() to
    it, and where a record of before would no longer fit, raise Checkpoint.schema_version."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(PUBLISHED.read_text()) == json.loads(json.dumps(schema()))


def test_records_keep_to_the_published_schema(day):
    """A change, checks with and without errors, and an evaluation are valid; a
    lost field is not.
    """
    made = [day.change(10), *(day.check(errors=errors) for errors in (0, 1, 0)), day.evaluate()]
    validator = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text()))
    for checkpoint in made:
        record = json.loads(to_json(checkpoint))
        validator.validate(record)
        for name in ("state", "at", "exit_code", "place"):
            assert not validator.is_valid(
                {key: value for key, value in record.items() if key != name}
            )
        assert not validator.is_valid({**record, "schema_version": 2})


SECRETS = ("hunter2secret", "+250788123458", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx")
SHOWN = f"postgresql://u:{SECRETS[0]}@host/db call {SECRETS[1]} {SECRETS[2]}"


def test_no_secret_that_a_cell_shows_is_archived(tmp_path):
    """Printed, raised, returned as text, Markdown or HTML: neither the notebook nor its page has
    it; figures stay.
    """
    v4 = nbformat.v4
    outputs = [
        v4.new_output("stream", text=f"1,315 requests\n{SHOWN}\n"),
        v4.new_output("error", ename="ValueError", evalue=SHOWN, traceback=[f"\x1b[31m{SHOWN}"]),
        v4.new_output(
            "display_data", {"text/plain": SHOWN, "text/html": f"<b>25.97 %</b><p>{SHOWN}</p>"}
        ),
        v4.new_output("display_data", {"text/markdown": SHOWN}),
        v4.new_output("display_data", {"application/json": {"called": [SHOWN]}}),
        v4.new_output("display_data", {"text/html": f'<i title="{SHOWN}">here</i>'}),
    ]
    notebook = v4.new_notebook(cells=[v4.new_code_cell("x", outputs=outputs)])
    files, failure = sealing.archive(notebook, "stem", tmp_path / "day", tmp_path, "")
    assert failure is None
    written = {name: (tmp_path / name).read_text() for name in files}
    assert not [
        (name, secret) for name, text in written.items() for secret in SECRETS if secret in text
    ]
    assert all("25.97 %" in text and "1,315 requests" in text for text in written.values())


def test_archive_takes_no_notebook_that_has_not_ended(tmp_path):
    """What papermill writes before its first cell is refused, naming the option
    that leaves it out.
    """
    begun = json.dumps(
        {"metadata": {"papermill": {"start_time": "2025-12-03T09:00:00", "end_time": None}}}
    )
    handler = papermill_io.get_handler(f"archive://{tmp_path}/x.ipynb")
    with pytest.raises(ParameterError, match="--no-request-save-on-cell-execute"):
        handler.write(begun, f"archive://{tmp_path}/x.ipynb")
    assert list(tmp_path.iterdir()) == []
