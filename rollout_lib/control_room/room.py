"""The room itself: a thread that looks every ten seconds, and presses that never wait.

Each press starts a thread (an emergency a process) and returns; what came of it is shown when it
ends. Nothing that the looking thread waits for holds a press up."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import ipywidgets as w

from rollout_lib.control_room import paint
from rollout_lib.control_room.acting import (
    Said,
    carry_out,
    end_of_emergency,
    gates_for,
    start_emergency,
)
from rollout_lib.control_room.offers import AT_ONCE, Offer, is_over, offer_for, problems
from rollout_lib.control_room.screen import Screen
from rollout_lib.control_room.view import View, view_of
from rollout_lib.database.lease import who_watches
from rollout_lib.database.ledger import Facts
from rollout_lib.database.session import Session
from rollout_lib.display import drawer
from rollout_lib.errors import RolloutError
from rollout_lib.operations import glance
from rollout_lib.runner.servers import Server
from rollout_lib.spool import outputs_folder

EVERY = timedelta(seconds=10)
STALE = 4 * EVERY  # without a new look for so long, the browser itself greys what it shows
_open: list[Room] = []


def control_room(session: Session) -> w.VBox:
    """The control room of a session; one that was opened in this kernel before stops looking."""
    while _open:
        _open.pop().close()
    _open.append(Room(_at_its_own_time(session)))
    return _open[0].screen.box


def _at_its_own_time(session: Session) -> Session:
    """A rehearsed day that is over is shown at the instant of its last entry, for its rows are of
    then.
    """
    if session.as_of is not None or session.plan.environment != "rehearsal":
        return session
    try:
        facts = glance(session).facts
    except RolloutError:
        return session  # the room says it itself, and goes on trying
    last = (facts.entries[-1].at if facts.entries else None) or facts.now
    return replace(session, as_of=last) if facts.now - last > timedelta(days=1) else session


class Room:
    """One open control room: the thread that keeps its screen true, and what waits for a
    confirmation.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.view: View | None = None
        self.offer: Offer | None = None
        self._known: Facts | None = None
        self._away_since: datetime | None = None
        self._presses, self._asking = 0, threading.Lock()
        self._busy, self._stop, self._poke = threading.Lock(), threading.Event(), threading.Event()
        self.screen = Screen(
            session,
            outputs_folder(session.plan.path),
            press=self.press,
            confirm=self.confirm,
            cancel=self._forget,
        )
        _in_thread(self._keep_looking)

    def close(self) -> None:
        """Stop looking; what was confirmed is carried out all the same."""
        self._stop.set()
        self._poke.set()

    # looking

    def _keep_looking(self) -> None:
        _draw_elsewhere()
        while not self._stop.is_set():
            self._look()
            self._poke.wait(EVERY.total_seconds())
            self._poke.clear()

    def _look(self) -> None:
        """Look once and show it, or show since when nothing can be seen: no error ends this thread
        unseen.
        """
        try:
            seen = glance(self.session, self._known)
            watcher = who_watches(self.session.database)
            self._known = seen.facts
            self.view = view_of(
                self.session.plan,
                self.session.place,
                seen,
                watcher,
                read_at=datetime.now(UTC),
                simulated=self.session.as_of is not None,
            )
            self.screen.paint(self.view, STALE.total_seconds())
            self._away_since = None
        except Exception as error:
            self._away_since = self._away_since or datetime.now(UTC)
            self.screen.show(
                "heart", paint.heartbeat(self.view, _words(error), self._away_since, 0)
            )

    # pressing

    def press(self, kind: str) -> None:
        """A button: what only looks begins at once, the rest is offered and waits for its
        confirmation.
        """
        with self._asking:
            self._presses += 1
            this = self._presses
        offer = offer_for(kind, self.view, datetime.now(UTC))
        if isinstance(offer, str):
            self._say("said", kind, Said(done=False, text=offer))
        elif kind in AT_ONCE:
            self._begin(kind, lambda: carry_out(self.session, offer, reason="", typed=""))
        elif kind == "raise":
            self._begin("the gates of a raise", lambda: self._gates(offer, this))
        else:
            self._ask(offer)

    def confirm(self) -> None:
        """The confirmation of what is offered: carried out once, and only while it counts."""
        with self._asking:  # what arrives from now on is not what this confirms
            self._presses += 1
            offer, given = self.offer, (self.screen.reason.value, self.screen.typed.value)
        if offer is None:
            return  # a second press of the same confirmation
        environment = self.session.plan.environment
        found = problems(
            offer, datetime.now(UTC), reason=given[0], typed=given[1], environment=environment
        )
        if found:
            self._say("said", offer.kind, Said(done=False, text=" ".join(found)))
            if is_over(offer, datetime.now(UTC)):
                self._forget()
            return
        self._forget()
        if offer.kind == "emergency":
            process = start_emergency(self.session, given[0])
            self._run("urgent", "emergency rollback", lambda: end_of_emergency(process))
        else:
            self._begin(
                offer.kind, lambda: carry_out(self.session, offer, reason=given[0], typed=given[1])
            )

    def _gates(self, offer: Offer, press: int) -> Said:
        """Read the gates and ask; never in the place of a question that was asked meanwhile."""
        gates, sentence = gates_for(self.session, offer)
        with self._asking:
            if press != self._presses:
                return Said(
                    done=False,
                    text="Something else was pressed meanwhile: not asked, nothing was done.",
                )
            self._ask(replace(offer, gates=gates, shown_at=datetime.now(UTC)))
        return Said(done=bool(gates) and all(gate.met for gate in gates), text=sentence)

    def _ask(self, offer: Offer) -> None:
        self.offer = offer
        self.screen.ask(offer)
        timer = threading.Timer(
            (offer.open_until - datetime.now(UTC)).total_seconds(), self._expire, (offer,)
        )
        timer.daemon = True
        timer.start()

    def _expire(self, offer: Offer) -> None:
        if self.offer is offer:
            self._forget()
            self._say(
                "said",
                offer.kind,
                Said(done=False, text="Not confirmed in time, and forgotten. Nothing was done."),
            )

    def _forget(self) -> None:
        self.offer = None
        self.screen.withdraw()

    def _begin(self, what: str, do: Callable[[], Said]) -> None:
        """One thing at a time; an emergency never stands in this line."""
        if not self._busy.acquire(blocking=False):
            self._say(
                "said",
                what,
                Said(done=False, text="What was pressed before is still being done. Not begun."),
            )
            return
        self._run("said", what, do, after=self._busy.release)

    def _run(
        self,
        place: str,
        what: str,
        do: Callable[[], Said],
        after: Callable[[], None] = lambda: None,
    ) -> None:
        def work() -> None:
            try:
                result = do()
            except Exception as error:
                result = Said(done=False, text=_words(error))
            finally:
                after()
            self._say(place, what, result)
            self._poke.set()

        self._say(place, what, None)
        _in_thread(work)

    def _say(self, place: str, what: str, result: Said | None) -> None:
        self.screen.show(place, paint.said(what, result, datetime.now(UTC)))


def _words(error: Exception) -> str:
    """Ours say what is true and what to do; anything else is a defect, and said to be one."""
    ours = isinstance(error, RolloutError)
    return (
        str(error)
        if ours
        else f"A defect of ours, please report it: {type(error).__name__}: {error}"
    )


def _in_thread(do: Callable[[], None]) -> None:
    threading.Thread(target=do, name="control room", daemon=True).start()


def _draw_elsewhere() -> None:
    """Charts are drawn by a process of its own: drawing in this one would hold the presses up."""
    if os.environ.get(drawer.VARIABLE):
        return
    try:
        server = Server(drawer.__name__)
        atexit.register(server.close)
        server.await_ready()
        os.environ[drawer.VARIABLE] = str(server.path)
    except OSError:
        return  # then they are drawn here, a moment slower
