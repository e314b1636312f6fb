"""Secrets and personal data out of a text before it is shown or recorded. Pure; hostile input is expected."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 500
_PATTERNS = (
    # addresses with a password, before anything in them looks like an e-mail
    (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s@]*@", re.I), r"\1[secret]@"),
    (
        re.compile(
            r"(?i)\b(password|passwd|pwd|secret|token|api[_-]?key|apikey|authorization)(\"?\s*[=:]\s*\"?)"
            r"(?:bearer\s+|basic\s+)?[^\s\"',;}]+"
        ),
        r"\1\2[secret]",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}"), r"\1 [secret]"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), "[token]"),
    (re.compile(r"\b(?:sbp|sk|pk|ghp|xox[abp]|EAA)[-_A-Za-z0-9]{16,}"), "[token]"),
    (re.compile(r"\bwamid\.[\w+/=-]+"), "[message id]"),
    (re.compile(r"\b\d{6,}(?:-\d+)?@(?:s\.whatsapp\.net|c\.us|g\.us|lid)\b"), "[WhatsApp id]"),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "[e-mail]"),
    (re.compile(r"(?<![\w.])\+?\d(?:[\s().-]?\d){8,14}(?![\w])"), "[number]"),
    (re.compile(r"\b[0-9a-fA-F]{40,}\b"), "[token]"),
)


def redact(text: str) -> str:
    """The text without passwords, tokens, phone numbers, WhatsApp ids, e-mail addresses, control characters.

    At most LONGEST characters; what was cut is said. Escaping for HTML is the caller's.
    """
    shown = text[: LONGEST * 20]  # bounds the work on a megabyte of hostile text
    shown = "".join(" " if unicodedata.category(sign) in ("Cc", "Cf", "Cs") else sign for sign in shown)
    for pattern, instead in _PATTERNS:
        shown = pattern.sub(instead, shown)
    shown = " ".join(shown.split())
    if len(shown) > LONGEST or len(text) > LONGEST * 20:
        return f"{shown[:LONGEST]}… ({len(text):,} characters in all)"
    return shown
