"""The size of the house: what `make lint` prints, and the picture of its layers in docs/house.md.

Prints one line a number, with the limit it must keep. No database is asked."""

from __future__ import annotations

import io
import sys
import tokenize
import tomllib
from pathlib import Path

import grimp

LIBRARY = Path("rollout_lib")
SKIPPED = "fmt" + ": skip"  # so that this line is none
QUIET = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.COMMENT,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
VERDICT, CHECK = "rollout_lib.judgement.slot", "rollout_lib.operations.monitor"


def rooms() -> list[str]:
    """The modules and packages at the top of the library, by name."""
    found = [path for path in LIBRARY.iterdir() if path.suffix == ".py" or path.is_dir()]
    return sorted(path.stem for path in found if not path.name.startswith("__"))


def layers() -> list[list[str]]:
    """The import layers of pyproject.toml, outermost first, each with its rooms."""
    settings = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    named = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in named]


def closure(module: str, graph: grimp.ImportGraph | None = None) -> set[str]:
    """The modules of ours that have to be read to know all that a module does, itself included."""
    graph = graph or grimp.build_graph("rollout_lib", exclude_type_checking_imports=True)
    return {module, *graph.find_upstream_modules(module)}


def tokens(path: Path) -> int:
    """What `tokenize` finds in a file, without comments, line ends and indentation."""
    read = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return sum(token.type not in QUIET for token in read)


def picture() -> str:
    """The layers as a mermaid flowchart, drawn from the import contract."""
    lines = ["flowchart TB"]
    for number, layer in enumerate(layers()):
        words = "  |  ".join(layer)
        lines.append(f'    layer{number}["{words}"]')
    lines += [f"    layer{number - 1} --> layer{number}" for number in range(1, len(layers()))]
    return "\n".join(lines)


def figures() -> list[tuple[str, int, int]]:
    """Each number of the house: what it is, its value, and the most it may be."""
    sources = sorted(LIBRARY.rglob("*.py"))
    skipped = sum(path.read_text(encoding="utf-8").count(SKIPPED) for path in sources)
    told = sum(tokens(path) for path in sources if "rehearsal" not in path.parts)
    graph = grimp.build_graph("rollout_lib", exclude_type_checking_imports=True)
    return [
        ("rooms at the top of rollout_lib", len(rooms()), 26),
        ("import layers", len(layers()), 10),
        (SKIPPED, skipped, 0),
        ("tokens without rehearsal/, comments, line ends and indentation", told, 107_000),
        (f"files of a verdict ({VERDICT} and what it imports)", len(closure(VERDICT, graph)), 20),
        (f"files of a recorded check ({CHECK} likewise)", len(closure(CHECK, graph)), 37),
    ]


def main() -> None:
    """Print the figures; `picture` prints the mermaid picture instead."""
    if sys.argv[1:] == ["picture"]:
        print(picture())
        return
    for what, value, most in figures():
        print(f"{value:>8,} of {most:>7,}  {what}{'' if value <= most else '  (over)'}")


if __name__ == "__main__":
    main()
