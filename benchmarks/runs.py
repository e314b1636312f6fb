"""What one monitor run and one whole day cost here, beside stock papermill on the same notebook.

Run: python -m benchmarks.runs [rounds, default 7]. Prints Markdown; benchmarks/README.md holds a
dated copy."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import papermill

from benchmarks.pairing import paired, table
from rollout_lib.rehearsal.conductor import rehearse
from rollout_lib.rehearsal.server import embedded
from rollout_lib.runner import run_notebook, servers
from rollout_lib.runner.run import notebook_path

MONITOR = notebook_path("20_monitor")


def main(rounds: int) -> None:
    """A day first (its database is what the single runs look at), then the runs in turn."""
    embedded()  # its start is not what is measured
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder)
        began = time.perf_counter()
        day = rehearse("healthy", outputs=outputs)
        took = time.perf_counter() - began
        os.environ["ROLLOUT_PLAN"] = str(day.plan_path)
        as_of = day.summary.phases[-1].began_at.isoformat()
        times = _runs(
            {"plan": str(day.plan_path), "as_of": as_of, "operator": "bench"}, outputs, rounds
        )
        print(
            f"### One `20_monitor` run, {rounds} rounds\n\n{table(times, 'a warm kernel here')}\n"
        )
        stock = sorted(times["papermill, stock"])[rounds // 2]
        print(f"### A healthy Day 3: {day.runs} notebooks\n")
        would = day.runs * stock
        print(
            f"{took:.0f} s here, simulated, archived and sealed. Stock papermill at its median of"
            f" {stock:.1f} s a run would need {would:.0f} s: {would / took:.1f} times.\n"
        )
        print(f"### Memory and disk\n\n{_memory()}\n{_size(day.outputs, day.runs)}")


def _runs(given: dict, outputs: Path, rounds: int) -> dict[str, list[float]]:
    stock_output = str(outputs / "stock.ipynb")
    environment = {**os.environ, "ROLLOUT_OUTPUTS": str(outputs)}
    command = [
        sys.executable,
        "-m",
        "papermill",
        "-k",
        "python3",
        "--no-progress-bar",
        str(MONITOR),
        stock_output,
    ]
    command += [part for name, value in given.items() for part in ("-p", name, value)]
    os.environ["ROLLOUT_OUTPUTS"] = str(outputs)
    return paired(
        {
            "a warm kernel here": lambda: run_notebook(
                "20_monitor", given, outputs=outputs, kernel="warm"
            ),
            "a plain kernel here": lambda: run_notebook(
                "20_monitor", given, outputs=outputs, kernel="plain"
            ),
            "papermill, stock": lambda: papermill.execute_notebook(
                str(MONITOR),
                stock_output,
                parameters=given,
                progress_bar=False,
                kernel_name="python3",
            ),
            "papermill, stock, as a command": lambda: subprocess.run(
                command, env=environment, check=True, capture_output=True
            ),
        },
        rounds,
    )


def _memory() -> str:
    """The resident memory of the two servers of warm kernels."""
    lines = []
    for name, server in servers.running().items():
        status = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        lines.append(f"- the server of {name}: {resident / 1024:.0f} MB resident")
    return "\n".join(lines)


def _size(folder: Path, runs: int) -> str:
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    twins = [path.stat().st_size for path in folder.rglob("*.html") if path.name != "index.html"]
    return (
        f"- the archive of the day: {total / 1e6:.1f} MB, {total / runs / 1e3:.0f} kB a run; "
        f"the largest HTML twin {max(twins) / 1e3:.0f} kB"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
