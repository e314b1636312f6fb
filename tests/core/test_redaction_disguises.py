"""Every kind of secret in every disguise is hidden, and every sentence that an operator needs
stays as it is.

The secrets are made up, or the examples of those who give them out.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

import nbformat
import phonenumbers as numbers
import pytest

from rollout_lib.redaction import hidden, hide, hide_first, redact

WHOLE = ""
SECRETS = {  # what is written -> the part of which nothing may be left (WHOLE: all of it)
    "sb_secret_N7UND0UgjKTVK-Uodkm0Hg_xSvEMPvz": WHOLE,
    "sb_publishable_ACJWlzQHlZjBrEguHvfOxg_3BJgxAaH": WHOLE,
    "sbp_0123456789abcdef0123456789abcdef01234567": WHOLE,
    "whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH": WHOLE,
    "whsec_test": WHOLE,
    "sk_live_51H8xYzKqLmNoPqRsTuVwXyZa": WHOLE,
    "rk_test_51H8xYzKqLmNoPqRsTuV": WHOLE,
    "AKIAIOSFODNN7EXAMPLE": WHOLE,
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY": WHOLE,
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789": WHOLE,
    "github_pat_11ABCDEFG0_abcdefghijklmnopqrstuvwxyz": WHOLE,
    "glpat-xYz12AbCdEfGhIjKlMnO": WHOLE,
    "AIzaSyA-1234567890abcdefghijklmnopqrstu": WHOLE,
    "ya29.a0AfH6SMBx7-Qw8Er9": WHOLE,
    "GOCSPX-AbCdEfGhIjKlMnOpQrStUvWxYz12": WHOLE,
    "xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx": WHOLE,
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX": "XXXXXXXXXXXX",
    "SK0123456789abcdef0123456789abcdef": WHOLE,
    "AC0123456789abcdef0123456789abcdef": WHOLE,
    "sk-proj-AbCdEf1234567890GhIjKlMnOpQrStUv": WHOLE,
    "sk-ant-api03-AbCdEf1234567890-GhIjKlMnOpQrStUvAA": WHOLE,
    "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl": WHOLE,
    "https://rita:hunter2x9@api.example.org/v1": "hunter2x9",
    "Authorization: Bearer AbC123dEf456": "AbC123dEf456",
    "Basic cml0YTpodW50ZXIy": "cml0YTpodW50ZXIy",
    "EAAGm0PX4ZCpsBAKZCtest123": WHOLE,
    "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": WHOLE,
    "npm_abcdefghijklmnopqrstuvwxyz0123456789": WHOLE,
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz": WHOLE,
    "hvs.CAESIJlWh1Q2b3d4e5f6g7h8": WHOLE,
    "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw": "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
    "+4915112345678": "5112345678",
    "49 151 1234 5678": "1234",
    "+49 (0)151 / 12345678": "12345678",
    "4915112345678": "51123",
    "0151\u201312345678": "12345678",
    "+49\u2011151\u20111234\u20115678": "1234",
    "+49\u2012151\u20121234567": "1234567",
    "49.151.123.456.78": "456",
    "\uff0b\uff14\uff19\uff11\uff15\uff11\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18": "\uff14\uff19",
    "+\u0664\u0669\u0661\u0665\u0661\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668": "\u0664\u0669\u0661\u0665",
    "(415) 555-2671": "555",
    "+1-415-555-2671": "555",
    "DE89 3704 0044 0532 0130 00": "3704",
    "GB82WEST12345698765432": "WEST1234",
    "DE89370400440532013000": "3704",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\nabcd\n-----END PRIVATE KEY-----": "MIIEvQ",
    "rita.meyer+week6@example.org": "rita.meyer",
    "wamid.HBgNNDkxNTExMjM0NTY3OBUCABIYFDNBM0Y=": "HBgN",
    "postgresql://postgres.abcdefghijklmnopqrst:S3cr3tP4ss@aws-0-eu-central-1.pooler.supabase.com:6543/postgres": "S3cr3tP4ss",
    "Server=db;User Id=rita;Password=hunter2x9;": "hunter2x9",
    "AccountKey=Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9v==": "Zm9vYmFy",
    "550e8400-e29b-41d4-a716-446655440000": "446655440000",
    "f47ac10b58cc4372a5670e02b2c3d479": WHOLE,
    '{"password":"hun\\"ter2x9"}': "ter2x9",
    "4915112345678@s.whatsapp.net": "51123",
    "x7Kp2QmZ9vLw4RtY8nBc": WHOLE,
    "4242 4242 4242 4242": "4242",
}


def _half(text: str, sign: str) -> str:
    return text[: len(text) // 2] + sign + text[len(text) // 2 :]


def _code(text: str) -> str:
    return "".join(f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else sign for sign in text)


def _wide(text: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a sentence": lambda x: f"upstream said: {x}, retry",
    "in JSON": lambda x: json.dumps({"detail": x}),
    "in JSON in JSON": lambda x: json.dumps({"a": json.dumps({"detail": x})}),
    "three times in JSON": lambda x: json.dumps([json.dumps({"a": json.dumps({"d": x})})]),
    "percent-encoded": lambda x: quote(x, safe=""),
    "percent-encoded twice": lambda x: quote(quote(x, safe=""), safe=""),
    "every byte percent-encoded": lambda x: "".join(f"%{byte:02X}" for byte in x.encode()),
    "in a form": lambda x: urlencode({"q": x}),
    "in an address": lambda x: f"https://example.org/a?b={quote(x, safe='')}&c=1",
    "after a letter": lambda x: f"x{x}",
    "between letters": lambda x: f"user{x}abc",
    "after an underscore": lambda x: f"id_{x}",
    "across a colour": lambda x: _half(x, "\x1b[31m") + "\x1b[0m",
    "across a colour that is written out": lambda x: _half(x, "\\x1b[31m"),
    "across signs without width": lambda x: "\u200b".join(x),
    "across a soft hyphen": lambda x: _half(x, "\u00ad"),
    "across a NUL": lambda x: _half(x, "\x00"),
    "in capitals": str.upper,
    "in small letters": str.lower,
    "in wide letters": _wide,
    "in markup": lambda x: f"<b>{html.escape(x)}</b>",
    "in numbered entities": lambda x: "".join(f"&#{ord(sign)};" for sign in x),
    "in escapes": _code,
    "in two lines": lambda x: f"{x}\n{x}",
    "in brackets": lambda x: f"({x})",
    "in a row of the database": lambda x: f"Failing row contains (7, jobs, {x}, null).",
    "as Python writes it": repr,
    "as Python writes its bytes": lambda x: repr(x.encode()),
    "after a sign": lambda x: f"id={x}",
    "between commas": lambda x: f"a,{x},b",
    "in a path": lambda x: f"/var/log/{x}/x.log",
    "twice in a path": lambda x: f"{x}/{x}",
}
HARMLESS = [
    "HTTP 502 from upstream after 30,012 ms",
    "connection reset by peer (10.0.0.1:5432)",
    'duplicate key value violates unique constraint "webhook_routing_logs_pkey"',
    "Key (id)=(42) already exists.",
    'relation "webhook_routing_logs" does not exist',
    'password authentication failed for user "postgres"',
    'psycopg.errors.UndefinedTable: relation "rollout.ledger" does not exist at character 15',
    "sqlalchemy.exc.OperationalError: (psycopg.OperationalError) connection failed",
    "canceling statement due to statement timeout",
    "could not connect to server: Connection refused (0x0000274D/10061)",
    "SSL SYSCALL error: EOF detected",
    "server closed the connection unexpectedly",
    "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
    "ERROR: 42P01: relation missing",
    "PGRST116: JSON object requested, multiple (or no) rows returned",
    "2025-12-03T09:15:00+01:00 monitor finished",
    "2025-12-03 14:15:07.123456 UTC checkpoint complete: wrote 1234 buffers (7.5%)",
    "20251203T091500Z_week6-unified_p10_20_monitor_s0915_1a2b3c4d.ipynb",
    "20251203140600_webhook_traffic_routing.sql",
    "errors:total: 7/115 = 6.09 %, e = 1.07, limit 0.1 %, 1,912 ms of 2,300",
    "ledger #12:ab12cd34ef56, 10 -> 25 -> 35 -> 50 %",
    "ledger #12:ab12cd34ef5678ab, 10 -> 25 -> 35 -> 50 %",
    "rollout verify --head 87:d3190f2f6b7c",
    "rollout change --to 25 --plan parameters/week6.production.yaml",
    "db.abcdefghijklmnopqrst.supabase.co:5432",
    "aws-0-eu-central-1.pooler.supabase.com",
    "PRODUCTION · db.abcdefghijklmnopqrst.supabase.co · postgres · week6-unified",
    "REHEARSAL · local socket · rehearsal_0123456789ab",
    "python 3.11.7, psycopg 3.3.9, PostgreSQL 18.1 (Debian 18.1-1.pgdg12+2)",
    "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
    "ModuleNotFoundError: No module named 'rollout_lib.operations.preflight'",
    'File "/opt/rollout/rollout_lib/database/connection.py", line 263, in connect',
    "at Object.fetchWhatsAppMedia (/app/src/handlers/mediaHandler.js:112:17)",
    "HTTPSConnectionPool(host='graph.facebook.com', port=443): Max retries exceeded with url: /v19.0/messages",
    "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
    "429 Too Many Requests, retry after 60 s",
    "p95 1,912 ms of 2,300 ms; p99 4,005 ms",
    "deadlock detected: Process 12345 waits for ShareLock on transaction 98765; blocked by process 12346.",
    "1 rows of mobility, last 2025-12-03T09:15:00+01:00 UTC",
    "connection to server at 192.168.100.200, port 5432 failed: timeout",
    'connection to server at "2a05:d014:1c06:5f00::1", port 5432 failed',
    "rates 0.05 0.25 0.125 of 0.05123456789",
    "disk 93.5 % full, 1,048,576 bytes left",
    "sha 0a1b2c3 of main",
    "the token bucket is empty",
    "token expired",
    "invalid token",
    "no such user: anonymous",
    "WhatsApp template marketplace_welcome_v2 was rejected (code 132001)",
    "Meta error 131047: Re-engagement message",
    "worker 3 of 16 restarted after 5 m 12 s",
    "CPU 87 %, memory 512 MiB of 1024 MiB",
    "frozen until 2025-12-24 00:00 CET: Christmas",
    "JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "Unhandled promise rejection at processTicksAndRejections (node:internal/process/task_queues:95:5)",
    "ECONNRESET, ETIMEDOUT, ENOTFOUND",
    "getaddrinfo ENOTFOUND wa-webhook-jobs.internal",
    'WARN: index "webhook_routing_logs_created_at" is missing',
    "slots 09:15 09:30 09:45 10:00 10:15 were missed",
    "12 of 16 checks done; 3 missed",
    "x-request-id missing, user-agent Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "set_routing_enabled(false) waits for a lock of pid 4711",
    "Kubernetes pod router-7d9f8b6c5-x2x9z was OOMKilled (exit code 137)",
    "ratio 115 : 1912 : 2300",
    "the restart at 09:15 by Rita: support says that nobody calls",
]


def read(text: str) -> str:
    """A text as somebody reads it who takes the trouble to decode it."""
    for _ in range(6):
        before, text = text, unquote(html.unescape(text))
        for written in (r"\\+u([0-9a-f]{4})", r"\\+x([0-9a-f]{2})"):
            text = re.sub(written, lambda match: chr(int(match[1], 16)), text, flags=re.I)
        text = re.sub(r"\x1b\[[0-9;]*m|[\u200b\u00ad\x00\\]", "", text)
        text = "".join(
            str(unicodedata.decimal(sign)) if unicodedata.category(sign) == "Nd" else sign
            for sign in unicodedata.normalize("NFKC", text)
        )
        if text == before:
            break
    return re.sub(r"[\s+().\-\u2010-\u2015/_]", "", text).lower()


def left(secret: str, shown: str) -> set[str]:
    """What can still be read of a secret: any eight characters in a row of what is secret in it."""
    core = read(SECRETS[secret] or secret)
    pieces = {core[at : at + 8] for at in range(max(len(core) - 7, 1))}
    if SECRETS[secret] == WHOLE:  # the beginning says whose it is, and is none
        pieces -= {piece for piece in pieces if re.search("secret|publish|github|whsec", piece)}
    return {piece for piece in pieces if piece in read(shown)}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_no_secret_survives_in_any_disguise(disguise):
    """Of each of the secrets, however it is written, nothing can be read afterwards."""
    for secret in SECRETS:
        written = DISGUISES[disguise](secret)
        for shown in (redact(written), hide(written), hide_first(written, 20_000)):
            assert not left(secret, shown), (written, shown)


@pytest.mark.parametrize("secret", SECRETS)
def test_hiding_twice_changes_nothing(secret):
    """What stands instead of a secret is not taken for one."""
    once = redact(f"upstream said: {secret}, retry")
    assert redact(once) == once
    assert json.loads(json.dumps(hidden({"a": [secret, 1, None]}))) == {
        "a": [hide(secret), 1, None]
    }


@pytest.mark.parametrize("sentence", HARMLESS)
def test_what_an_operator_needs_to_read_stays_as_it_is(sentence):
    """Errors, instants, addresses of machines, counts, names of modules and files."""
    assert redact(sentence) == sentence
    assert hide(sentence) == sentence


def test_the_notebooks_and_the_runbook_hold_nothing_that_is_taken_for_a_secret():
    """Each cell of the models comes through as it is."""
    for path in sorted(Path("notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            assert hide(cell.source) == cell.source


def test_every_countrys_numbers_are_hidden():
    """The examples of libphonenumber, mobile and fixed, of every region, in each way they are
    written.
    """
    ways, kinds = numbers.PhoneNumberFormat, numbers.PhoneNumberType
    shown = {}
    for region in sorted(numbers.SUPPORTED_REGIONS):
        for kind in (kinds.MOBILE, kinds.FIXED_LINE):
            example = numbers.example_number_for_type(region, kind)
            for way in (ways.INTERNATIONAL, ways.E164, ways.RFC3966) if example else ():
                number = numbers.format_number(example, way)
                shown |= {number: redact(f"said {number} twice")}
            if example:  # within the country only a word says that it is one
                number = numbers.format_number(example, ways.NATIONAL)
                if sum(map(str.isdigit, number)) >= 7:
                    shown |= {number: redact(f"customer {number} called")}
    assert len(shown) > 900
    assert {number: said for number, said in shown.items() if number in said} == {}


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "a@",
        "0 ",
        "x:",
        "-_",
        "a://:",
        "eyJ-",
        "-----BEGIN A",
        "-----BEGIN AAAA-----",
        "password=",
        'password="',
        "%25",
        "\\",
        "&amp;",
        "\x1b[",
        "a1",
        "de89 3704 ",
        "+49 151 ",
        "0123456789abcdef",
        "a.",
        "cookie:",
        '{"name":"',
        "<token>",
        "1.",
        "token ",
        "\\u0031",
        "@y.",
    ],
)
def test_the_work_grows_with_the_text_and_no_faster(piece):
    """No pattern grows out of hand on what it almost matches (the test would not end)."""
    hide((piece * 100_000)[:100_000])
    redact((piece * 1_000_000)[:1_000_000])


def test_a_secret_is_not_cut_in_half():
    """Where a long text is cut, what may be the half of a secret goes with the rest."""
    secret = "+4915112345678"
    for filler in ("\u200b", "word ", "password=hunter2x9 "):
        for shift in range(20):
            text = (filler * 10_000)[: 9_985 + shift] + secret + "x" * 3000
            assert "4915" not in redact(text)
            assert "4915" not in hide_first(text, 9_990)
