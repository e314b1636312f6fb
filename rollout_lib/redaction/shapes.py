"""The shapes that secrets and personal data are known by. Pure.

Each pattern is read on a decoded text (see layers), ignores case, and looks only a bounded way
ahead, so that no text makes it slow; none is tried where the words are not there that it needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int, str]  # begin, end, what is shown instead


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.I | re.DOTALL)


_NAMES = (  # what is called so has a value that nobody should see
    r"pass(?:w(?:or)?d|wort|code|phrase|wd)|pwd|\bpw\b|\bpsk|kennwort|secret|token|api[_ -]?key|access[_-]?key"
    r"|private[_-]?key|account[_-]?key|service[_-]?(?:role[_-]?)?key|signing[_-]?key|anon[_-]?key"
    r"|encryption[_-]?key|auth[_-]?key|authorization|credential|signature|hmac|session[_-]?id"
    r"|csrf|\botp|\bpin|webhook[_-]?url|connection[_-]?string|\bdsn|\blogin"
)
_NAMED = _compiled(rf"(?P<option>--[\w-]{{0,30}})?(?P<name>{_NAMES})s?[\w-]{{0,30}}")
_IN_NAMES = [
    "pass",
    "pw",
    "psk",
    "kennwort",
    "secret",
    "token",
    "key",
    "authorization",
    "credential",
    "signature",
    "hmac",
    "session",
    "csrf",
    "otp",
    "pin",
    "webhook",
    "connection",
    "dsn",
    "login",
]
_VALUE = (
    r"(?P<hide>\[(?:secret|token|number|e-mail|message id|key|account|id)\]"
    r"|\"(?:\\.|[^\"\\\n])*+\"?|'(?:\\.|[^'\\\n])*+'?"
    # what separates in it, or the next: a name and a sign come after it, a space or the end
    r"|(?:(?:bearer|basic|digest|token|apikey)\s{1,3})?"
    r"(?:[^\s\"',;}&<>]|[,;}&](?![\w.\"'-]{1,40}\s?[=:]|[\s\"'}\])]|\Z))+)"
)
_QUOTED = r"(?P<hide>[\"'][^\"'\n]*+[\"']?)"
_AFTER_A_NAME = tuple(
    map(
        _compiled,
        (
            rf"[\"'\]]{{0,2}}\s{{0,5}}(?:=>|:=|[=:])\s{{0,5}}{_VALUE}",
            rf"[\"']\s{{0,3}},\s{{0,3}}(?:[\"']value[\"']\s?[:=]\s?)?{_QUOTED}",
            r"\s{1,3}(?P<hide>[\"'][^\"'\n]{3,200}[\"'])(?!\s+(?:user|does|is not))",
            rf"[\"']\s{{0,3}}[:=]\s{{0,3}}[{{\[]\s{{0,3}}(?:[\"']\w{{1,30}}[\"']\s{{0,3}}:\s{{0,3}})?{_QUOTED}",
            r"(?:\s[^<>]{0,100})?>\s{0,5}(?:<[\w:]{1,40}>\s{0,5}){0,3}(?P<hide>[^<]{1,300})",
            # told in prose: a word alone may be one of the sentence's own
            r"\s{1,3}(?:(?:is|was|to|now|of|being|changed to)\s{1,3})?"
            r"(?P<hide>(?=[^\s\"']{0,100}?(?:[\d#%&*@^~]|[!?$](?=\w)))(?![({\[$])[^\s\"'\0]{4,200})",
        ),
    )
)
_AFTER_AN_OPTION = _compiled(r"[= ]\s{0,3}(?P<hide>[^\s\"']+)")
_GIVEN_OUT = (
    # what it begins with, glued to whatever stands before, and how much follows at the least
    r"sb_(?:secret|publishable)_[\w-]{6,}|sbp_\w{10,}|whsec_[\w+/=-]{4,}"
    r"|[rsp]k[_-](?:live|test)[_-]\w{6,}"
    r"|A(?:3T|KIA|SIA|BIA|CCA|GPA|ROA|IDA)(?=[A-Z]{0,16}\d)[A-Z0-9]{12,}"
    r"|AIza[\w-]{20,}|GOCSPX-[\w-]{10,}|gh[pousr]_\w{12,}|github_pat_\w{12,}|glpat-[\w-]{12,}"
)
_SHORTER = (  # the same, where the beginning is short enough to end a word
    r"sk-(?:ant-|proj-|or-)?[\w-]{16,}|gsk_\w{16,}|xai-\w{16,}|ya29\.[\w-]{10,}|1//[\w-]{20,}"
    r"|xox[a-z](?:\.xox[a-z])?-[\w-]{8,}|xapp-[\w-]{8,}|SG\.[\w-]{8,}\.[\w-]{8,}"
    r"|(?:SK|AC|PN|MG)[0-9a-f]{32}|EAA[A-Za-z0-9]{12,}|npm_\w{20,}|pypi-[\w-]{16,}|hf_\w{16,}"
    r"|hv[sbr]\.[\w-]{12,}|dop_v1_\w{12,}|shp(?:at|ca|pa|ss)_\w{12,}|sq0[a-z]{3}-[\w-]{12,}"
    r"|dckr_pat_[\w-]{12,}|AGE-SECRET-KEY-\w{12,}|tskey-[\w-]{12,}|lin_api_\w{12,}|dapi[0-9a-f]{32}"
    r"|glsa_\w{12,}|rnd_\w{12,}|key-[0-9a-f]{32}|re_[A-Z0-9]\w{3,}_\w{8,}|pat-\w{2,4}\d-[\w-]{16,}"
)
# Words of which one must be there (none: always tried); the pattern; what is shown instead.
_SHAPES = tuple(
    (needed.split(), _compiled(pattern), instead)
    for needed, pattern, instead in (
        (
            "begin",
            r"-{2,5} ?BEGIN [A-Z0-9 ]{3,40}-{2,5}.*?(?:-{2,5} ?END [A-Z0-9 ]{3,40}-{2,5}|\Z)",
            "[key]",
        ),
        # an address with a name and a password, or with a token as its name
        ("://", r"(?<=://)[^\s\"<>@/?#]{0,200}:[^\s\"<>]{0,300}@", "[secret]@"),
        ("://", r"(?<=://)[^\s\"<>@/?#]{16,200}@", "[secret]@"),
        ("hooks.slack", r"hooks\.slack\.com/\w{1,20}/(?P<hide>[\w/-]{6,})", "[secret]"),
        ("/webhooks/", r"/api/webhooks/(?P<hide>[\w/-]{6,})", "[secret]"),
        (":aa", r"\d{6,12}:AA[\w-]{20,}", "[token]"),
        ("/bot", r"/bot(?P<hide>\d{5,12}:[\w-]{8,})", "[token]"),
        ("cookie", r"cookie[\"']?\s{0,3}[:=]\s{0,3}(?P<hide>[^\n\"']{1,300})", "[secret]"),
        (" -u --user", r"\s(?:-u|--user)[= ](?P<hide>[^\s:]{1,80}:\S{1,200})", "[secret]"),
        (
            "sshpass mysql redis-cli",
            r"(?:sshpass\s{1,3}-p|mysql\w{0,10}\b[^\n]{0,80}?\s-p|redis-cli\b[^\n]{0,80}?\s-a)\s?(?P<hide>\S+)",
            "[secret]",
        ),
        (
            "bearer basic digest",
            r"\b(?:bearer|basic|digest)\s{1,3}(?P<hide>(?![a-z]+\b)[a-z0-9._~+/=-]{8,}|[a-z]{12,})",
            "[secret]",
        ),
        ("eyj", r"eyJ[\w-]{12,}+(?:\.[\w-]*+){0,2}", "[token]"),
        ("_ - aiza aki asi abi acc agp aro aid a3t", _GIVEN_OUT, "[token]"),
        ("_ - . // sk ac pn mg eaa dapi", rf"(?<![a-z0-9])(?:{_SHORTER})", "[token]"),
        ("wamid", r"wamid[.:][\w+/=-]+", "[message id]"),
        (
            "@",
            r"(?<!\d)\d{6,40}(?:[-:.]\d{1,20}){0,3}@(?:s\.whatsapp\.net|c\.us|g\.us|lid|broadcast)\b",
            "[WhatsApp id]",
        ),
        ("@", r"[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}", "[e-mail]"),
        ("@", r"[\w.+%'-]{1,64}@(?=[^\W\d])[\w-]{2,63}\b(?!\.?\w)", "[e-mail]"),
        (
            "-",
            r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}",
            "[id]",
        ),
        (
            "",
            r"(?<![a-z0-9])[a-z]{2}\d\d(?=(?:[ -]?[a-z0-9]){11,30}(?![a-z0-9]))"
            r"(?=(?:[^\d]{0,12}\d){8})(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,3})?(?![a-z0-9])",
            "[account]",
        ),
    )
)
_POD = "[bcdfghjklmnpqrstvwxz2456789]"
# Names of ours and of the platform that look random: heads of the ledger, digests of plans,
# addresses in memory, pods.
_OURS = re.compile(
    r"(?:#|head[ =])\d{1,9}:[0-9a-f]{12,64}(?![0-9a-z])|\b0x[0-9a-fA-F]{1,12}\b"
    r"|\bplan [0-9a-f]{8}(?![0-9a-z])"
    rf"|(?<=[a-z])-{_POD}{{8,10}}-{_POD}{{5}}(?![\w-])"
)


def without_ours(text: str) -> str:
    """The text, as long as it was, without the names that are known to be harmless."""
    return _OURS.sub(lambda match: "\0" * len(match[0]), text)


def shaped(text: str) -> Iterator[Span]:
    """Where a known shape stands."""
    low = text.lower()
    for needed, pattern, instead in _SHAPES:
        if not needed or any(word in low for word in needed):
            for match in pattern.finditer(text):
                yield *_place(match), instead
    if any(word in low for word in _IN_NAMES):
        yield from _named(text)


def _named(text: str) -> Iterator[Span]:
    """The values of what is called a password, a token, a key: assigned, quoted, told."""
    place = 0
    for name in _NAMED.finditer(text):
        after = _AFTER_A_NAME + ((_AFTER_AN_OPTION,) if name["option"] else ())
        for pattern in after if name.end() >= place else ():
            match = pattern.match(text, name.end())
            if match:
                begin, end = _place(match)
                place = max(place, end)
                yield begin, end, "[secret]"


def _place(match: re.Match[str]) -> tuple[int, int]:
    return match.span("hide" if "hide" in match.re.groupindex else 0)
