"""The emergency's line to the database: opened in seconds, cut when the time is up; no password in
its words.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable

import psycopg

from rollout_lib.errors import DatabaseUnreachable, unreachable
from rollout_lib.redaction import holds_a_password, redact

APPLICATION = "rollout"  # application_name of every connection of this suite


_TORN = "(an address that cannot be read: write @ and / in its password as %40 and %2F)"


def open_connection(address: str) -> psycopg.Connection:
    """Connect, each statement its own transaction unless it says otherwise; raises
    DatabaseUnreachable.
    """
    if _where(address) == _TORN:  # libpq's words would quote the password
        raise DatabaseUnreachable(where=_TORN, reason="nothing was asked.")
    try:
        connection = psycopg.connect(
            address.strip().replace(
                "postgresql+psycopg://", "postgresql://", 1
            ),  # SQLAlchemy's spelling of it
            connect_timeout=5,
            autocommit=True,
            prepare_threshold=None,
            application_name=APPLICATION,
            keepalives_idle=3,
            tcp_user_timeout=10_000,
        )
    except psycopg.OperationalError as error:
        words = (str(error).strip().splitlines() or ["no answer"])[0]
        raise unreachable(_where(address), redact(words)) from None
    except (
        psycopg.Error,
        UnicodeError,
    ):  # an address that cannot be read: libpq's words would quote from it
        raise DatabaseUnreachable(
            where=_where(address), reason="its address is not one of PostgreSQL."
        ) from None
    return connection


def _where(address: str) -> str:
    """Host and database of an address, never its password."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(address)
    except (psycopg.Error, UnicodeError):
        return "(an address that cannot be read)"
    host, database = str(parts.get("host", "local")), str(parts.get("dbname", "?"))
    return _TORN if holds_a_password(host, database) else f"{host}/{database}"


def not_known(reason: str, words: str) -> str:
    """What is true when the line broke half-way, and the statement for the
    database's own console.
    """
    quoted = reason.replace("'", "''")
    return (
        f"The database was lost while routing was being switched off ({redact(words)}).\n"
        "Whether routing is off is NOT known. Run this again, or in the database's own console:\n"
        f"SELECT set_routing_enabled(false, '{quoted}');"
    )


def cut(connection: Callable[[], psycopg.Connection | None]) -> None:
    """The time is up: end the conversation, so that whoever waits for an answer hears that there is
    none.
    """
    with contextlib.suppress(OSError, psycopg.Error, AttributeError):
        line = socket.socket(fileno=os.dup(connection().pgconn.socket))
        line.shutdown(socket.SHUT_RDWR)
        line.close()
