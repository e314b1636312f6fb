"""One look for notebooks, HTML twins, index, report, control room and terminal."""

from rollout_lib.display.page import (
    Html,
    checkpoint_card,
    checkpoint_text,
    framed,
    header,
    header_line,
    table,
)

__all__ = ["Html", "checkpoint_card", "checkpoint_text", "framed", "header", "header_line", "table"]
