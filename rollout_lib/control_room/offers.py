"""What a press offers, and until when its confirmation counts. Pure.

A confirmation is only as good as what it was given for: it is bound to the percentage and the phase
on the screen, and forgotten after a minute by the wall clock, so that a laptop that wakes up, or a
click that a broken connection delivers late, does nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rollout_lib.control_room.view import View
from rollout_lib.judgement.state import is_at_least
from rollout_lib.model import Gate, State

VALID = timedelta(seconds=60)
AT_ONCE = (
    "check",
    "evaluate",
)  # they only look; what the plan acts on alone, it would at the next check too
NEEDS_REASON = ("raise", "step back", "acknowledge", "emergency")
BOUND = (
    "step back",
    "acknowledge",
    "attest",
)  # a raise is compared under the lock; off is for whatever runs now


@dataclass(frozen=True, kw_only=True)
class Offer:
    """One confirmation that waits: its kind, where it would lead, and what it was shown for."""

    kind: str
    shown_at: datetime
    words: str = ""
    percentage: Decimal | None = None  # on the screen; None where it could not be read
    phase_began: datetime | None = None
    to: Decimal | None = None
    subject: str = ""
    value: str = ""
    gates: tuple[Gate, ...] = ()

    @property
    def open_until(self) -> datetime:
        return self.shown_at + VALID

    @property
    def may_be_confirmed(self) -> bool:
        return self.kind != "raise" or (bool(self.gates) and all(gate.met for gate in self.gates))


def offer_for(kind: str, view: View | None, now: datetime) -> Offer | str:
    """The offer of a press, or why there is none; a raise's gates are asked for afterwards."""
    if kind in AT_ONCE:
        return Offer(kind=kind, shown_at=now)
    if kind == "emergency":
        words = "Switch routing off: everything goes to legacy at once."
        return Offer(kind=kind, shown_at=now, words=words)
    if view is None or view.config is None:
        return (
            "Nothing was seen yet, or the configuration cannot be read: there is nothing to ask it"
            " for."
        )
    at = view.config.percentage
    seen: dict[str, Any] = {
        "kind": kind,
        "shown_at": now,
        "percentage": at,
        "phase_began": view.phase.began_at if view.phase else None,
    }
    if kind == "raise" and view.up is not None:
        shown = f"{at:g} %" if view.config.enabled else "off"
        return Offer(
            **seen, to=view.up, words=f"Raise routing to unified from {shown} to {view.up:g} %."
        )
    if kind == "step back" and view.down is not None:
        where = f"from {at:g} % to {view.down:g} %" if view.down else f"from {at:g} % to off"
        return Offer(
            **seen, to=view.down, words=f"Step back {where}. It is done at once, and asks no gate."
        )
    if kind == "attest":
        words = f"You state that no customer complained ({view.phase_words}). A reason is welcome."
        return Offer(**seen, subject="complaints", value="none", words=words)
    if kind == "acknowledge" and view.owed is not None:
        subject, value, words = view.owed
        return Offer(**seen, subject=subject, value=value, words=f"Acknowledge: {words}.")
    return {
        "raise": "There is no phase above this percentage in the plan.",
        "step back": "Routing is off already.",
        "acknowledge": "Nothing waits for a named person now: no undecided phase, no rollback.",
    }[kind]


def is_over(offer: Offer, now: datetime) -> bool:
    """Has it been waiting too long? A clock that was set back ends it too."""
    return not timedelta(0) <= now - offer.shown_at <= VALID


def problems(
    offer: Offer, now: datetime, *, reason: str, typed: str, environment: str
) -> list[str]:
    """Why a confirmation is not carried out; empty where it is."""
    if is_over(offer, now):
        shown = f"{offer.shown_at:%H:%M:%S} UTC"
        return [
            f"Too late: this was shown at {shown} and counted for {VALID.seconds} s. Nothing was"
            " done; ask again."
        ]
    found = []
    if not offer.may_be_confirmed:
        found.append("Not every gate is met.")
    if offer.kind in NEEDS_REASON and not reason.strip():
        found.append("A reason is missing: it stands on the ledger beside your name.")
    if offer.kind == "raise" and environment == "production" and typed.strip() != environment:
        found.append(f"Type the environment's name, {environment}, to raise the percentage there.")
    return found


def has_moved(offer: Offer, percentage: Decimal | None, phase_began: datetime | None) -> bool:
    """Is the rollout no longer where it was when this was shown?"""
    return offer.kind in BOUND and (offer.percentage, offer.phase_began) != (
        percentage,
        phase_began,
    )


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """One step of the road: its words, the button that takes it ("" for none), and whether it is
    known to be done."""

    words: str
    press: str = ""
    done: bool = False


def road_of(view: View, valid: timedelta) -> tuple[Ahead, ...]:
    """The steps to the next percentage; () where none is planned or the configuration is unknown.

    valid: how long a PASS counts. Only what was read is done: the gates of a raise are asked when it
    is pressed."""
    if view.config is None or view.up is None:
        return ()
    attest = Ahead(words="Attest", press="attest")
    acknowledge = Ahead(words="Acknowledge", press="acknowledge")
    if not (view.config.enabled and view.config.percentage > 0):
        start = Ahead(words=f"Start at {view.up:g} %", press="raise")
        first = (acknowledge,) if view.owed is not None else ()
        return (*first, Ahead(words="Pre-flight (rollout preflight)"), attest, start)
    began = view.phase.began_at if view.phase is not None else None
    served = view.hold is not None and view.hold[0] <= view.at
    return (
        Ahead(words="Hold", done=served),
        *((acknowledge,) if view.owed is not None else ()),
        Ahead(words="Evaluate", press="evaluate", done=_is_passed(view, began, valid)),
        attest,
        Ahead(words=f"Raise to {view.up:g} %", press="raise"),
    )


def _is_passed(view: View, began: datetime | None, valid: timedelta) -> bool:
    """Does a PASS of the running phase count still: not expired, and no hold or act since?"""
    if began is None:
        return False
    mine = [run for run in view.history if run.at >= began]
    ends = [place for place, run in enumerate(mine) if run.operation == "evaluate"]
    if not ends or mine[ends[-1]].state is not State.PASS or view.at - mine[ends[-1]].at > valid:
        return False
    later = (run for run in mine[ends[-1] :] if run.operation == "monitor")
    return not any(is_at_least(run.state, State.HOLD) for run in later)


def next_press(view: View, valid: timedelta) -> str:
    """The button of the first step that is not done; "" where no button takes it."""
    return next((step.press for step in road_of(view, valid) if not step.done), "")
