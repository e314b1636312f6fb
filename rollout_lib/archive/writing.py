"""Write once: a temporary file, fsync, exclusive link, read-only. A name that exists is refused."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from rollout_lib.errors import ArchiveFailed, NameTaken


def write_once(path: Path, content: bytes) -> str:
    """Create path with content, whole or not at all; returns its sha256.

    Raises NameTaken where it exists, ArchiveFailed where the disk or the folder does not take it.
    """
    part: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o444)
        os.link(part, path)  # fails where the name is taken, unlike a rename
        _sync_folder(path.parent)
    except FileExistsError:
        raise NameTaken(path=path) from None
    except OSError as error:
        raise ArchiveFailed(reason=f"{path}: {error.strerror or error}") from None
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                os.unlink(part)
    return hashlib.sha256(content).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
