"""What a person sees first: the page to read, and beside it the control room,
which runs already.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import httpx2
import nbformat

from rollout_lib.archive.sealing import WORKING

ROOM = "50_control_room.ipynb"
_KERNEL_S = 120.0  # a cold kernel on a busy machine; the person waits no longer than this


def lay_out(workspaces: Path, folder: Path, page: str, *, beside: bool) -> None:
    """The workspace that JupyterLab opens: the page beside the room; on duty the room in front, the
    page a tab.
    """
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    read, room = (f"{WORKING}/{folder.name}/{name}" for name in (page, ROOM))
    shown = {f"markdownviewer-widget:{read}": {"path": read, "factory": "Markdown Preview"}}
    if (folder / ROOM).exists():
        shown[f"notebook:{room}"] = {"path": room, "factory": "Notebook"}
    tabs = [[name] for name in shown] if beside else [list(shown)]
    areas = [
        {"type": "tab-area", "currentIndex": len(names) - 1, "widgets": names} for names in tabs
    ]
    dock = areas[0]
    if len(areas) > 1:
        dock = {
            "type": "split-area",
            "orientation": "horizontal",
            "sizes": [0.34, 0.66],
            "children": areas,
        }
    side = {"collapsed": True, "visible": True, "widgets": []}
    layout = {
        "main": {"dock": dock, "current": list(shown)[-1]},
        "left": side,
        "right": side,
        "down": {"size": 0, "collapsed": True, "widgets": []},
        "relativeSizes": [0, 1, 0],
        "top": {"simpleVisibility": True},
    }
    data = {name: {"data": what} for name, what in shown.items()} | {"layout-restorer:data": layout}
    raw = json.dumps({"data": data, "metadata": {"id": "default"}})
    WorkspacesManager(str(workspaces)).save("default", raw)


def run_room(server: dict[str, Any], runtime: Path, folder: Path, model: Path) -> str:
    """Run the working copy of the control room in a kernel of the server, so that it is live when
    it is opened.

    server: what JupyterLab wrote about itself (url, token). Returns "" or why a person has to run
    it: a copy that somebody worked in is not run for them."""
    copy = folder / ROOM
    try:
        notebook = nbformat.read(copy, as_version=4)
        if _code(notebook) != _code(nbformat.read(model, as_version=4)):
            return "somebody wrote code into this copy, so it is not run for them"
        where, headers = server["url"].rstrip("/"), {"Authorization": f"token {server['token']}"}
        with httpx2.Client(base_url=where, headers=headers, trust_env=False, timeout=30) as client:
            path = f"{WORKING}/{folder.name}/{ROOM}"
            wanted = {"path": path, "name": ROOM, "type": "notebook", "kernel": {"name": "python3"}}
            answer = client.post("/api/sessions", json=wanted).raise_for_status().json()
            trouble = _execute(notebook, runtime / f"kernel-{answer['kernel']['id']}.json")
            content = {"type": "notebook", "format": "json", "content": notebook}
            client.put(f"/api/contents/{path}", json=content).raise_for_status()
            return trouble
    except (OSError, RuntimeError, TimeoutError, ValueError, httpx2.HTTPError) as error:
        return f"{type(error).__name__}: {error}"


def _code(notebook: Any) -> list[str]:
    """What it would do; the parameters are the person's own."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell.source for cell in cells if "parameters" not in cell.metadata.get("tags", [])]


def _execute(notebook: Any, connection: Path) -> str:
    """Run each code cell in the kernel of a connection file and keep what it shows; "" or the
    error's words.
    """
    from jupyter_client import BlockingKernelClient

    client = BlockingKernelClient(connection_file=str(connection))
    client.load_connection_file()
    client.start_channels(hb=False)  # a late heartbeat is a busy machine, not a dead kernel
    ends = time.monotonic() + _KERNEL_S
    try:
        client.wait_for_ready(timeout=_KERNEL_S)
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            cell.outputs = []
            reply = client.execute_interactive(
                cell.source,
                timeout=max(ends - time.monotonic(), 1),
                allow_stdin=False,
                output_hook=lambda said, into=cell.outputs: _keep(said, into),
            )["content"]
            cell.execution_count, cell.metadata["trusted"] = reply["execution_count"], True
            if reply["status"] != "ok":
                return f"{reply.get('ename')}: {reply.get('evalue')}"
    finally:
        client.stop_channels()
    return ""


def _keep(said: dict[str, Any], into: list[Any]) -> None:
    if said["msg_type"] in ("stream", "display_data", "execute_result", "error"):
        into.append(nbformat.v4.output_from_msg(said))
