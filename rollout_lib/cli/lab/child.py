"""JupyterLab in a process that ends with the command that started it, also where that one was
killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def _end_with_parent() -> None:
    os.read(0, 1)  # nobody writes; it ends when whoever started us is gone
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    from jupyterlab.labapp import main

    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main())
