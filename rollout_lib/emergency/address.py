"""Read an address as people and tools write it: what libpq does not know is dropped and named, so
that one foreign word does not lose the whole of it.

The same function serves the emergency and every other session. No value is ever named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import psycopg

from rollout_lib.redaction import holds_a_password

_SCHEME = re.compile(r"^(?P<scheme>[a-z][a-z0-9+.:-]*)://", re.IGNORECASE)
_POSTGRES = re.compile(
    r"^(?:jdbc:|prisma\+)?(?:postgres|postgresql|postgis|pgsql|psql)(?:\+[\w-]+)?$", re.IGNORECASE
)
_PAIR = re.compile(r"\s*([^\s=]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:\\.|[^\s\\])*)")
_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]{0,40}$")
_MODES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": (
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ),
    "load_balance_hosts": ("disable", "random"),
}
_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
TORN = "(an address that cannot be read: write @ and / in its password as %40 and %2F)"
UNREADABLE = "(an address that cannot be read)"


class NoAddress(ValueError):
    """What was given is no address of PostgreSQL; the words quote nothing of it."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address as libpq's keywords; it holds the password, and `dropped` holds no value."""

    parts: dict[str, str]
    dropped: tuple[str, ...] = ()

    @property
    def conninfo(self) -> str:
        """The address for libpq, with the password."""
        return psycopg.conninfo.make_conninfo("", **self.parts)

    @property
    def note(self) -> str:
        """What of the address was not used, "" where all of it was."""
        return (
            f"of the address this was not used: {', '.join(self.dropped)}" if self.dropped else ""
        )


def read_address(text: str) -> Address:
    """An address from an environment variable: a URL or `key=value` words, however it is wrapped.

    Raises NoAddress for what libpq could make nothing of, its text unquoted."""
    dropped: list[str] = []
    plain = _unwrapped(text, dropped)
    scheme = _SCHEME.match(plain)
    if scheme:
        plain = _url(plain[scheme.end() :], scheme["scheme"], dropped)
    else:
        plain = " ".join(_words(plain, dropped))
    try:
        found = psycopg.conninfo.conninfo_to_dict(plain)
    except (psycopg.Error, UnicodeError):
        raise NoAddress(UNREADABLE) from None
    parts = {key: _mode(key, str(value)) for key, value in found.items() if value is not None}
    if holds_a_password(parts.get("host", ""), parts.get("dbname", "")):
        raise NoAddress(TORN)
    for key in [key for key in parts if not _is_possible(key, parts[key])]:
        dropped.append(f"{key} (its value is none that PostgreSQL knows)")
        del parts[key]
    return Address(parts=parts, dropped=tuple(dict.fromkeys(dropped)))


def project_of(host: str, user: str) -> str:
    """The Supabase project that an address leads to, "" where it does not say.

    It is in the host (db.<project>.supabase.co) or, through the pooler, which has one host for all
    projects, in the user (postgres.<project>)."""
    own = re.match(r"^db\.([a-z0-9]+)\.supabase\.", host or "", re.IGNORECASE)
    if own:
        return own[1].lower()
    if re.search(r"\.pooler\.supabase\.", host or "", re.IGNORECASE):
        return (user or "").rpartition(".")[2].lower() if "." in (user or "") else ""
    return (user or "").partition(".")[2].lower()


def _unwrapped(text: str, dropped: list[str]) -> str:
    """Without what a docker env file, a shell line or an editor leaves around it."""
    plain = text.strip().strip("\ufeff").strip()
    assigned = re.match(r"^(?:export\s+)?[A-Z][A-Z0-9_]*=(?=['\"]?[a-z0-9+:]+://)", plain)
    if assigned:
        dropped.append("the variable's name in front of it")
        plain = plain[assigned.end() :]
    if re.match(r"^psql\s+['\"]?[a-z+]+://", plain):
        dropped.append("psql in front of it")
        plain = plain[4:].strip()
    quotes = "'\"`“”‘’"
    if plain[:1] in quotes and plain[:1]:
        dropped.append("quotes around it")
        plain = plain.strip(quotes).strip()
    elif plain[-1:] in ("'", '"') and _SCHEME.match(plain) and plain.count(plain[-1]) == 1:
        dropped.append("a quote at its end")
        plain = plain[:-1]
    if _SCHEME.match(plain) and re.search(r"\s", plain):
        dropped.append("white space inside it")
        plain = re.sub(r"\s+", "", plain)
    return plain


def _url(rest: str, scheme: str, dropped: list[str]) -> str:
    """The URL as libpq reads it: its scheme, and only the parameters that libpq knows."""
    if not _POSTGRES.match(scheme):
        raise NoAddress(UNREADABLE)
    if scheme.lower() not in ("postgres", "postgresql"):
        dropped.append(f"{scheme} (read as postgresql)")
    ends = rest.find("@", 0, rest.find("/") if "/" in rest else len(rest))
    asked = rest.find("?", max(ends, 0))
    place, query = (rest, "") if asked < 0 else (rest[:asked], rest[asked + 1 :])
    if re.search(r"%(?![0-9A-Fa-f]{2})", place):
        dropped.append("a % that was not written as %25 (taken as it stands)")
        place = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", place)
    kept = [pair for pair in _pairs(query) if _is_kept(pair, dropped)]
    return f"postgresql://{place}" + (f"?{'&'.join(kept)}" if kept else "")


def _pairs(query: str) -> Iterator[str]:
    """The parameters of a URL; a second ? where an & was meant begins one too."""
    for pair in query.split("&"):
        yield from (part for part in re.split(r"\?(?=[a-z_]+=)", pair) if part)


def _is_kept(pair: str, dropped: list[str]) -> bool:
    key, sign, value = pair.partition("=")
    known = key in _known() or (key, value) == ("ssl", "true")
    if sign and known and not re.search(r"%(?![0-9A-Fa-f]{2})", value):
        return True
    dropped.append(key if _NAME.match(key) else "a word that is none")
    return False


def _words(text: str, dropped: list[str]) -> Iterator[str]:
    """The `key=value` words that libpq knows, as they stand."""
    if "=" not in text:
        raise NoAddress(UNREADABLE)
    if _PAIR.sub("", text).strip():
        raise NoAddress(UNREADABLE)  # not all of it is words: libpq would quote what is left
    for match in _PAIR.finditer(text):
        if match[1] in _known():
            yield match[0]
        else:
            dropped.append(match[1] if _NAME.match(match[1]) else "a word that is none")


def _mode(key: str, value: str) -> str:
    """As libpq spells it: REQUIRE that were dropped would leave `prefer`, which also does without."""
    plain = value.strip().lower()
    return plain if plain in _MODES.get(key, ()) else value


def _is_possible(key: str, value: str) -> bool:
    if key in _MODES:
        return value in _MODES[key]
    return key not in _NUMBERS or bool(re.fullmatch(r"\s*-?\d+\s*", value))


@cache
def _known() -> frozenset[str]:
    """The keywords of this machine's libpq."""
    return frozenset(item.keyword.decode() for item in psycopg.pq.Conninfo.get_defaults())
