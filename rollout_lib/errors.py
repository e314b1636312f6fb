"""One root of exceptions, grouped by what the caller does next; each class carries its exit code.

A class's docstring is its message: `raise DatabaseUnreachable(host="db", reason="refused")` fills the
braces. The exit codes are those of docs/exit-codes: 2 fix the input, 20/30/40 the verdict says so,
50 could not measure, 60 the change was refused, 70 the archive is altered, 1 a defect of ours.
"""

from __future__ import annotations

import inspect
import os
import re

_OF_LIBPQ = re.compile(r"PG[A-Z]+")


class RolloutError(Exception):
    """Something in the suite failed: {reason}"""

    exit_code = 1

    def __init__(self, message: str | None = None, **facts: object) -> None:
        self.facts = facts
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or "").format(**facts))


# 2: the command, plan or parameters are wrong; nothing ran


class UsageError(RolloutError):
    """{reason} Nothing ran and nothing was changed."""

    exit_code = 2


class PlanError(UsageError):
    """The plan {path} is not valid; nothing ran and nothing was changed.
    {problems}"""


class ParameterError(UsageError):
    """The parameters are not valid; nothing was changed.
    {problems}"""


class WrongDatabase(UsageError):
    """This is not the database of the plan: {difference}. Nothing was changed.
    Check ${variable} and `database:` in {path}."""


class DatabaseMissing(UsageError):
    """No database address: ${variable} is not set, and {environment} never falls back to an embedded server.
    Nothing was changed. Set it: export {variable}='postgresql://…'"""


class ShapeRefused(UsageError):
    """The database holds objects of another shape than the runbook's; nothing was changed.
    {differences}"""


# 50: could not measure; a person looks; never a pass


class CouldNotMeasure(RolloutError):
    """Could not measure: {reason} The routing is as it was; nothing was changed by this run."""

    exit_code = 50


class DatabaseUnreachable(CouldNotMeasure):
    """The database {where} does not answer: {reason}
    Routing goes on as last configured; this suite sees nothing until it answers again.
    To switch routing off by other means, run in the database's own console:
    SELECT set_routing_enabled(false, 'database unreachable from the suite');"""


class DatabaseClosed(DatabaseUnreachable):
    """The server answers, but {where} is not open to this suite: {reason}
    Routing goes on as last configured; this suite sees nothing until that is mended.
    To switch routing off by other means, run in the database's own console:
    SELECT set_routing_enabled(false, 'database unreachable from the suite');"""


class NotSwitchedOff(DatabaseUnreachable):
    """The database {where} answers, and routing was NOT read back as off: {reason}
    Until it is, take it for on. {then}"""


class TablesMissing(CouldNotMeasure):
    """A connection to {where} finds no {missing}: it is not there, or its search path leads elsewhere. Nothing was changed.
    In an empty database: rollout migrate --apply. In any other, rollout preflight says which it is and what mends it."""


class RunDied(CouldNotMeasure):
    """The run of {notebook} did not finish: {reason}
    What it had done before that is on the ledger: see `rollout status`, then run it again for what is missing."""


class SlotTaken(CouldNotMeasure):
    """This slot has its completed check already; a slot is judged once. Nothing was changed."""


class NoData(CouldNotMeasure):
    """{reason}"""


# the verdict of a run that judges


class Held(RolloutError):
    """{reason}"""

    exit_code = 20


class SteppedBack(RolloutError):
    """{reason}"""

    exit_code = 30


class RolledBack(RolloutError):
    """{reason}"""

    exit_code = 40


# 60: the gates said no


class ChangeRefused(RolloutError):
    """Refused; nothing was changed. The routing is {current}.
    {gates}"""

    exit_code = 60


# 70: the archive does not prove itself


class ArchiveAltered(RolloutError):
    """The archive does not prove itself: {findings}"""

    exit_code = 70


class ArchiveFailed(RolloutError):
    """The record of this run could not be archived: {reason}
    What the run decided and did stands on the ledger; the run is reported as unsealed."""

    exit_code = 50


class NameTaken(ArchiveFailed):
    """The archive already holds {path}; archived records are written once. Nothing was overwritten."""


def unreachable(where: str, words: str) -> DatabaseUnreachable:
    """Why no connection could be opened: nobody answers, or a server does and says FATAL (libpq's words);
    and what libpq has been told beside the address."""
    if found := beside_the_address():
        words += f" ({', '.join(f'${name}' for name in found)} of the environment counts, too)"
    _, fatal, said = words.partition("FATAL:")
    if not fatal:
        return DatabaseUnreachable(where=where, reason=words)
    said = said.strip()
    if re.search(r'^(database ".*" does not exist|no such database)', said):
        said = f"it has no such database. Compare the address with the plan's `database:`. ({said})"
    return DatabaseClosed(where=where, reason=said)


def beside_the_address() -> list[str]:
    """The variables of this environment that libpq follows beside an address, a password's apart."""
    kept = ("PGPASSWORD", "PGPASSFILE", "PGDATA")
    return sorted(name for name in os.environ if _OF_LIBPQ.fullmatch(name) and name not in kept)


EXIT_CODES: dict[int, type[RolloutError]] = {
    1: RolloutError,
    2: UsageError,
    20: Held,
    30: SteppedBack,
    40: RolledBack,
    50: CouldNotMeasure,
    60: ChangeRefused,
    70: ArchiveAltered,
}


def all_errors() -> dict[str, type[RolloutError]]:
    """Every exception of ours by class name: how the runner maps a notebook's `ename` to an exit code."""
    found: dict[str, type[RolloutError]] = {}
    waiting = [RolloutError]
    while waiting:
        cls = waiting.pop()
        found[cls.__name__] = cls
        waiting.extend(cls.__subclasses__())
    return found
