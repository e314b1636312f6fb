"""Secrets and personal data out of a text before it is shown or recorded. Pure; hostile input is
expected.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 1000
_KEY = r"[\w-]{0,30}(?:passw(?:or)?d|pwd|secret|token|api[_-]?key|access[_-]?key|authorization|signature)[\w-]{0,30}"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
# What begins like a number to dial and is none: an instant, an IP address, a decimal.
_NO_NUMBER = rf"\d{{4}}-\d\d-\d\d(?![-.]?\d)|(?:{_OCTET}\.){{3}}{_OCTET}(?![\d.])|(?:0\.\d+|\d{{1,3}}\.\d{{1,4}})(?![\d.])"
_PATTERNS = (
    # addresses with a password, before anything in them looks like an e-mail
    (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s:@/]{0,200}:\S{0,300}@", re.I), r"\1[secret]@"),
    (
        re.compile(
            rf"\b({_KEY}[\"']?\s*[=:]\s*)(?:(?:bearer|basic)\s+)?(?:\"[^\"]*\"?|'[^']*'?|[^\s\"',;}}&]+)",
            re.I,
        ),
        r"\1[secret]",
    ),
    (re.compile(r"\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}", re.I), r"\1 [secret]"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), "[token]"),
    (
        re.compile(r"\b(?:sbp|sk|pk|gh[a-z]|github_pat|xox[a-z]|EAA|AKIA)[-_A-Za-z0-9]{16,}"),
        "[token]",
    ),
    (re.compile(r"\bwamid\.[\w+/=-]+", re.I), "[message id]"),
    (
        re.compile(r"\b\d{6,}(?:[-:.]\d+)*@(?:s\.whatsapp\.net|c\.us|g\.us|lid|broadcast)\b", re.I),
        "[WhatsApp id]",
    ),
    (re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[e-mail]"),
    # a number as it is dialled, however it is grouped; then any long run of digits that is no
    # instant or address
    (
        re.compile(
            r"(?<![A-Za-z\d.])(?:\+|\(\+|\(?0(?=[\d(]))(?:[\s()./-]{0,3}\d){7,80}(?![A-Za-z\d])"
        ),
        "[number]",
    ),
    (
        re.compile(
            rf"(?<![A-Za-z\d.])(?!{_NO_NUMBER})\d(?:[\s().-]{{0,2}}\d){{8,80}}(?![A-Za-z\d])"
        ),
        "[number]",
    ),
    (re.compile(r"\b[0-9a-fA-F]{40,}\b"), "[token]"),
)


def redact(text: str) -> str:
    """The text without passwords, tokens, phone numbers, WhatsApp ids, e-mail addresses, control
    characters.

    At most LONGEST characters; what was cut is said. Escaping for HTML is the caller's.
    """
    shown = text[: LONGEST * 10]  # bounds the work on a megabyte of hostile text
    shown = " ".join(hide("".join(_plain(sign) for sign in shown)).split())
    if len(shown) > LONGEST or len(text) > LONGEST * 10:
        return f"{shown[:LONGEST]}… ({len(text):,} characters in all)"
    return shown


def holds_a_password(host: str, database: str) -> bool:
    """Was an address read wrongly, so that a part of its password stands where host or database
    should?

    An @ or / in a password that is not written as %40 or %2F ends it early.
    """
    by_name = not host.startswith(("/", "@"))  # the others are sockets
    return bool((by_name and {"@", "/"} & set(host)) or {"@", "/"} & set(database))


def hide(text: str) -> str:
    """The text without the same secrets and personal data, and otherwise as it was: its lines, its
    length.
    """
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def _plain(sign: str) -> str:
    """Control characters become spaces; what has no width goes, or it would split
    a secret in two.
    """
    category = unicodedata.category(sign)
    if category in ("Cf", "Cs"):
        return ""
    return " " if category == "Cc" else sign
