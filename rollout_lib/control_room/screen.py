"""The widgets: what is shown, and what can be pressed. It knows no database, and
decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ipywidgets as w

from rollout_lib.control_room import paint
from rollout_lib.control_room.links import address_of
from rollout_lib.control_room.offers import NEEDS_REASON, Offer, next_press
from rollout_lib.control_room.view import View
from rollout_lib.database.session import Session
from rollout_lib.display.page import stylesheet

BUTTONS = {
    "emergency": (
        "■ Emergency: routing off …",
        "one press, one confirmation; a process of its own",
    ),
    "check": ("Check now", "an extra check; it claims no slot"),
    "evaluate": ("Evaluate the phase", "may the rollout advance?"),
    "raise": ("▲ Raise …", "shows the gates, then asks"),
    "step back": ("▼ Step back …", "one phase down, after a confirmation"),
    "attest": ("Attest no complaints …", "by your name, for this phase"),
    "acknowledge": ("Acknowledge …", "an undecided phase, or a restart after a rollback"),
}
_PIECES = (
    "banner",
    "ask",
    "urgent",
    "said",
    "heart",
    "tiles",
    "road",
    "verdict",
    "figures",
    "trends",
    "timeline",
)
# JupyterLab's one-letter commands reach a focused button too ("dd" deletes the cell that the room
# is in), unless an
# element says that they must not. No widget can say that, and an HTML widget runs no <script>; so
# an image says it.
_NO_SHORTCUTS = """<img alt="" src="data:," hidden
onerror="this.closest('.ro-room').setAttribute('data-lm-suppress-shortcuts', 'true'); this.remove()">"""
_BELOW = ("heart", "tiles", "road", "verdict", "figures", "trends", "timeline")


class Screen:
    """The widgets of one room; `box` is what the notebook shows."""

    def __init__(
        self,
        session: Session,
        outputs: Path,
        *,
        press: Callable[[str], None],
        confirm: Callable[[], None],
        cancel: Callable[[], None],
    ) -> None:
        self.session, self.outputs = session, outputs
        self._head: tuple[int, str] | None = None
        self.html = {name: w.HTML() for name in _PIECES}
        self.html["heart"].add_class("cr-heart")
        self.reason = w.Text(
            description="Reason", layout={"width": "640px"}, style={"description_width": "100px"}
        )
        self.typed = w.Text(
            description="Environment",
            placeholder=f"type {session.plan.environment}",
            style={"description_width": "100px"},
        )
        self.yes, self.no = w.Button(), w.Button(description="Cancel")
        self.yes.on_click(lambda _: confirm())
        self.no.on_click(lambda _: cancel())
        self.buttons = {
            kind: w.Button(description=words, tooltip=tip) for kind, (words, tip) in BUTTONS.items()
        }
        for kind, button in self.buttons.items():
            button.on_click(lambda _, kind=kind: press(kind))
        self.buttons["emergency"].add_class("cr-emergency")
        self.form = w.VBox([self.html["ask"], self.reason, self.typed, _row([self.yes, self.no])])
        self.withdraw()
        css = stylesheet() + (Path(__file__).parent / "room.css").read_text(encoding="utf-8")
        style = w.HTML(f"<style>{css}</style>{_NO_SHORTCUTS}")
        below = w.VBox([self.html[name] for name in _BELOW]).add_class("cr-figures")
        self.box = w.VBox(
            [
                style,
                self.html["banner"],
                _row(list(self.buttons.values())),
                self.form,
                self.html["urgent"],
                self.html["said"],
                below,
            ]
        ).add_class("ro-room")
        self.show("banner", paint.banner(session.place))
        self.show("heart", paint.heartbeat(None, "", None, 0))

    def show(self, name: str, html: str) -> None:
        """One piece; the browser is told only of what changed."""
        html = f'<div class="ro">{html}</div>' if html else ""
        if self.html[name].value != html:
            self.html[name].value = html

    def paint(self, view: View, stale_after: float) -> None:
        """A whole view; timeline and charts only when the ledger has grown."""
        plan = self.session.plan
        self.show("heart", paint.heartbeat(view, "", None, stale_after))
        self.show("tiles", paint.tiles(view))
        self.show("road", paint.road(view, plan))
        self.show("verdict", paint.verdict(view))
        self.show("figures", paint.figures(view, plan))
        down = "" if view.down is None else f" to {view.down:g} %" if view.down else " to off"
        self.buttons["raise"].description = (
            "▲ Raise …" if view.up is None else f"▲ Raise to {view.up:g} % …"
        )
        self.buttons["step back"].description = f"▼ Step back{down} …"
        first = next_press(view, plan.monitoring.evaluation_valid)
        for kind, button in self.buttons.items():
            button.button_style = "primary" if kind == first else ""
        if view.head != self._head:
            self.show("timeline", paint.timeline(view, address_of, self.outputs))
            self.show("trends", paint.trends(view, plan))
            self._head = view.head

    def ask(self, offer: Offer) -> None:
        """Show what is about to be done; where it may not be, only why."""
        plan, may = self.session.plan, offer.may_be_confirmed
        self.show("ask", paint.offer(offer, plan.environment, self.session.operator))
        self.reason.value = "emergency from the control room" if offer.kind == "emergency" else ""
        self.typed.value = ""
        yes = {
            "emergency": "■ Yes, routing off now",
            "step back": "▼ Yes, step back",
            "raise": "▲ Yes, raise it",
        }
        self.yes.description = yes.get(offer.kind, f"Yes, {offer.kind}")
        (self.yes.add_class if offer.kind == "emergency" else self.yes.remove_class)("cr-emergency")
        named = may and offer.kind == "raise" and plan.environment == "production"
        for widget, wanted in ((self.reason, may), (self.typed, named), (self.yes, may)):
            widget.layout.display = None if wanted else "none"
        self.no.description = "Cancel" if may else "Close"
        self.form.layout.display = None
        writes = offer.kind in NEEDS_REASON and offer.kind != "emergency"
        (self.no if not may else self.reason if writes else self.yes).focus()

    def withdraw(self) -> None:
        """Nothing is asked any more."""
        self.form.layout.display = "none"
        self.show("ask", "")


def _row(widgets: list[w.Widget]) -> w.HBox:
    return w.HBox(widgets).add_class("cr-row")
