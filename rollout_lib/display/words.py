"""Badges and numbers: one sign, word and colour per state, one spelling per kind of number."""

from __future__ import annotations

from rollout_lib.model import State

# For people five words, and beside them what is no verdict; the record keeps its states. Okabe-Ito,
# each with a sign: never colour alone.
_GROUNDS = {
    State.CERTIFIED: ("✓", "#00795A"),
    State.CLEAN: ("✓", "#00795A"),
    State.CLEAN_UNPROVEN: ("✓", "#00795A"),
    State.PASS: ("✓", "#00795A"),
    State.OFF: ("○", "#5B6470"),
    State.QUIET: ("○", "#5B6470"),
    State.WATCH: ("◔", "#8A6508"),
    State.INCONCLUSIVE: ("‖", "#0072B2"),
    State.HOLD: ("‖", "#0072B2"),
    State.COULD_NOT_LOOK: ("?", "#5B6470"),
    State.NO_DATA: ("?", "#5B6470"),
    State.STEP_BACK: ("↓", "#B84F00"),
    State.ROLL_BACK: ("■", "#7A0016"),
}
BADGES: dict[State, tuple[str, str, str]] = {
    state: (sign, state.words, ground) for state, (sign, ground) in _GROUNDS.items()
}
HATCHED = (State.COULD_NOT_LOOK, State.NO_DATA)
EMPTY = "–"


def count(value: int | None) -> str:
    """`1,034`."""
    return EMPTY if value is None else f"{value:,}"


def milliseconds(value: float | None) -> str:
    """`1,912`; the unit is in the table's header."""
    return EMPTY if value is None else f"{value:,.0f}"


def rate(bad: int, total: int) -> str:
    """`0.87 % · 1/115`; a rate is never without its counts."""
    if not total:
        return EMPTY
    share = 100 * bad / total
    digits = 1 if total < 100 else 2 if total < 10_000 else 3
    return f"{share:.{digits}f} % · {bad:,}/{total:,}"


def share(value: float | None) -> str:
    """`10.4 %`."""
    return EMPTY if value is None else f"{value:.1f} %"
