"""Where the running Jupyter server shows an archived file, by what the server
wrote about itself.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

from jupyter_core.paths import jupyter_runtime_dir


def address_of(path: Path) -> str:
    """The address of a file on the server that started this kernel; "" where the server or the file
    is not here.
    """
    try:
        server = json.loads(
            (Path(jupyter_runtime_dir()) / f"jpserver-{os.getppid()}.json").read_text("utf-8")
        )
        below = path.resolve(strict=True).relative_to(Path(server["root_dir"]).resolve())
    except (OSError, ValueError, KeyError):
        return ""
    door = "lab/tree/" if path.suffix == ".ipynb" else "files/"
    return f"{server['base_url']}{door}{quote(below.as_posix())}"
