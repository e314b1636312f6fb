"""The emergency's line to the database: opened in seconds, cut when the time is up; no password in
its words.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg

from rollout_lib.emergency.address import Address, NoAddress, read_address
from rollout_lib.errors import DatabaseUnreachable, beside_the_address, unreachable
from rollout_lib.redaction import redact

APPLICATION = "rollout"  # application_name of every connection of this suite
# What a role or the environment may have set otherwise: the encoding of every word that is sent.
_OURS = {
    "connect_timeout": "5",
    "client_encoding": "utf8",
    "application_name": APPLICATION,
    "keepalives_idle": "3",
    "tcp_user_timeout": "10000",
}


def read(address: str) -> Address:
    """The address in libpq's keywords; "" is what libpq finds in the environment. Raises
    DatabaseUnreachable.
    """
    if not address.strip():
        return Address(parts={})
    try:
        return read_address(address)
    except NoAddress as error:
        reason = "nothing was asked: its address is not one of PostgreSQL."
        raise DatabaseUnreachable(where=str(error), reason=reason) from None


def open_connection(address: str) -> psycopg.Connection[Any]:
    """Connect, each statement its own transaction unless it says otherwise; raises
    DatabaseUnreachable.
    """
    given = read(address).parts
    parts = given | _OURS
    if "," in parts.get("host", "") + parts.get("hostaddr", ""):  # of several, the one that writes
        parts.setdefault("target_session_attrs", "read-write")
    where = f"{parts.get('host', 'local')}/{parts.get('dbname', '?')}"
    # What the environment adds is not ours; it counts where the server is found by it.
    for leaving_out in (False, True):
        named: dict[str, Any] = parts
        try:
            with _without_libpqs(parts) if leaving_out else contextlib.nullcontext():
                return psycopg.connect("", autocommit=True, prepare_threshold=None, **named)
        except psycopg.OperationalError as error:
            words = (str(error).strip().splitlines() or ["no answer"])[0]
            failed = unreachable(where, redact(words))
        except (psycopg.Error, UnicodeError, ValueError):  # libpq's words would quote from it
            failed = DatabaseUnreachable(
                where=where, reason="its address is not one of PostgreSQL."
            )
        if not (given and beside_the_address()):  # without an address the environment is it
            break
    raise failed from None


@contextlib.contextmanager
def _without_libpqs(parts: Mapping[str, str]) -> Iterator[None]:
    """Nothing counts but the address, and what keeps the line secret: where the environment names a
    service, an option or a time zone that no server takes, off is off all the same.
    """
    only_ways = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
    left_out = {
        name: os.environ[name]
        for name in beside_the_address()
        if not name.startswith("PGSSL") or name == "PGSSLNEGOTIATION"
        if name not in only_ways or only_ways[name] in parts
    }
    for name in left_out:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(left_out)


def not_known(reason: str, words: str) -> str:
    """What is true when the line broke half-way, and the statement for the
    database's own console.
    """
    quoted = reason.replace("'", "''")
    return (
        f"Routing was asked to be off, and this was NOT verified: {redact(words)}.\n"
        "Whether routing is off is NOT known. Run this again, or in the database's own console:\n"
        f"SELECT set_routing_enabled(false, '{quoted}');"
    )


def cut(connection: Callable[[], psycopg.Connection[Any] | None]) -> None:
    """The time is up: end the conversation, so that whoever waits for an answer hears that there is
    none.
    """
    with contextlib.suppress(OSError, psycopg.Error, AttributeError):
        line = socket.socket(fileno=os.dup(connection().pgconn.socket))  # type: ignore[union-attr]  # open since open_line
        line.shutdown(socket.SHUT_RDWR)
        line.close()
