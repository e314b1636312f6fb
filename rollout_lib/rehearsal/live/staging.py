"""The configuration of a staging database while a check has it: set for a step, put back at the end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from sqlalchemy import text

from rollout_lib.database.connection import Database
from rollout_lib.errors import CouldNotMeasure, RolloutError
from rollout_lib.rehearsal.live.contract import State

_NEWEST = "(SELECT max(created_at) FROM public.webhook_routing_config)"


class TakenConfiguration:
    """The newest row while the check has it: what it was, what we made of it, and putting it back."""

    def __init__(self, database: Database, told: Sequence[int] = ()) -> None:
        self._database, self._told, self.trouble = database, told, ""
        self.refused = ""
        with database.transaction(readonly=True) as connection:
            rows = connection.execute(
                text(
                    "SELECT percentage, enabled, domains, notes FROM public.webhook_routing_config"
                )
            ).all()
        if len(rows) != 1:
            raise CouldNotMeasure(
                reason=f"webhook_routing_config has {len(rows)} rows; the check needs exactly one."
            )
        self._before = dict(rows[0]._mapping)
        self._ours: dict[str, Any] = self._before
        self._tried = self._before  # a stop may come between the commit and knowing of it

    def set(self, state: State) -> None:
        """Make it so; what the table itself refuses is noted, and cannot happen to a router.

        Raises SystemExit where a stop was told and swallowed, by a callback or a finalizer."""
        if self._told:
            raise SystemExit(128 + self._told[0])
        ours = {"percentage": state.percentage, "enabled": state.enabled, "domains": state.domains}
        self.refused = ""
        self._write({**ours, "notes": "rollout router check"})
        if state.second_row:
            self._run(
                "INSERT INTO public.webhook_routing_config (percentage, enabled, domains, created_at)"
                f" SELECT 0, false, domains, created_at - interval '1 day'"
                f" FROM public.webhook_routing_config WHERE created_at = {_NEWEST}"
            )

    def put_back(self) -> None:
        """As it was; where somebody else changed it meanwhile, it stays theirs, and is told."""
        self._write(self._before)

    def _write(self, values: dict[str, Any]) -> None:
        delete = f"DELETE FROM public.webhook_routing_config WHERE created_at < {_NEWEST}"
        update = (
            "UPDATE public.webhook_routing_config SET percentage = :percentage, enabled = :enabled,"
            " domains = :domains, notes = :notes, updated_at = clock_timestamp()"
            f" WHERE created_at = {_NEWEST} AND ((percentage, enabled)"
            " IN ((:was_percentage, :was_enabled), (:tried_percentage, :tried_enabled)))"
        )
        was = {
            "was_percentage": self._ours["percentage"],
            "was_enabled": self._ours["enabled"],
            "tried_percentage": self._tried["percentage"],
            "tried_enabled": self._tried["enabled"],
        }
        self._tried = values
        try:
            with self._database.transaction(readonly=False) as connection:
                connection.execute(text(delete))
                done = connection.execute(text(update), {**values, **was}).rowcount
        except RolloutError as error:
            if not _by_constraint(error):
                raise
            self.refused = "the table refuses this configuration"
            self._tried = self._ours
            return
        if done != 1:
            raise CouldNotMeasure(
                reason="the configuration was changed by somebody else during the check; it is"
                " theirs now."
            )
        self._ours = values

    def _run(self, statement: str) -> None:
        try:
            with self._database.transaction(readonly=False) as connection:
                connection.execute(text(statement))
        except RolloutError as error:
            if not _by_constraint(error):
                raise
            self.refused = "the table refuses this configuration"


def _by_constraint(error: RolloutError) -> bool:
    """The database's own words are in the cause: a constraint of the table."""
    cause = getattr(error.__cause__ or error.__context__, "orig", None)
    return str(getattr(cause, "sqlstate", "")).startswith("23")


@contextmanager
def taken_configuration(database: Database) -> Iterator[TakenConfiguration]:
    """Take the configuration, and put it back whatever happens; a signal to stop raises SystemExit.

    Who is ended early and cannot put it back raises CouldNotMeasure, so that it is said."""
    with _stoppable() as told:
        taken = TakenConfiguration(database, told)
        try:
            yield taken
        except BaseException as ended:
            _put_back(taken)
            if taken.trouble:
                raise CouldNotMeasure(reason=taken.trouble) from ended
            raise
        _put_back(taken)
        if told:
            raise SystemExit(128 + told[0])


def _put_back(taken: TakenConfiguration) -> None:
    try:
        taken.put_back()
    except RolloutError as error:
        taken.trouble = f"The configuration was NOT put back: {error}"


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """The first signal to stop raises, so that what was taken is put back; a second one changes
    nothing, since that is under way. Only the main thread hears signals. Yields what was heard.
    """
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield told
        return
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

    def stop(number: int, _frame: Any) -> NoReturn:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        told.append(number)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
