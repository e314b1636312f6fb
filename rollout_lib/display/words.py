"""Badges and numbers: one sign, word and colour per state, one spelling per kind of number."""

from __future__ import annotations

from rollout_lib.model import State

# Okabe-Ito, each with a sign: never colour alone.
BADGES: dict[State, tuple[str, str, str]] = {
    State.CERTIFIED: ("✓", "CERTIFIED", "#00795A"),
    State.CLEAN: ("✓", "CLEAN", "#00795A"),
    State.CLEAN_UNPROVEN: ("✓", "CLEAN, UNPROVEN", "#00795A"),
    State.PASS: ("✓", "PASS", "#00795A"),
    State.OFF: ("○", "OFF", "#6B7280"),
    State.QUIET: ("○", "QUIET", "#6B7280"),
    State.WATCH: ("◔", "WATCH", "#8A6508"),
    State.INCONCLUSIVE: ("‖", "INCONCLUSIVE", "#0072B2"),
    State.HOLD: ("‖", "HOLD", "#0072B2"),
    State.COULD_NOT_LOOK: ("?", "COULD NOT LOOK", "#6B7280"),
    State.NO_DATA: ("?", "NO DATA", "#6B7280"),
    State.STEP_BACK: ("↓", "STEP BACK", "#B84F00"),
    State.ROLL_BACK: ("■", "ROLL BACK", "#B00020"),
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
