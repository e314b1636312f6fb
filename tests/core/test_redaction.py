"""Secrets and personal data out of any text, and nothing that an operator needs out of ours."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_lib.redaction import LONGEST, redact

CANARIES = {  # what is written -> what may not be left of it
    "postgresql://rita:hunter2@db.example.org/postgres": "hunter2",
    "postgresql://rita:hun@ter2@db/postgres": "ter2@",
    "redis://:hunter2@cache:6379/0": "hunter2",
    "password=hunter2": "hunter2",
    'PGPASSWORD="hunter2 with spaces"': "hunter2",
    "'api_key': 'hunter2'": "hunter2",
    '{"access_token": "hunter2"}': "hunter2",
    "pass\u200bword=hunter2": "hunter2",
    "https://example.org/hook?token=hunter2&x=1": "hunter2",
    "Authorization: Bearer hunter2hunter2": "hunter2",
    "bearer hunter2hunter2": "hunter2",
    "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2ln": "eyJ",
    "sbp_0123456789abcdef0123456789abcdef01234567": "0123456789abcdef",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789": "abcdefghij",
    "AKIAIOSFODNN7EXAMPLE": "IOSFODNN7",
    "wamid.HBgNNDkxNTExMjM0NTY3OBUCABIYFDNBM0Y=": "HBgN",
    "4915112345678@s.whatsapp.net": "49151",
    "rita.meyer+week6@example.org": "rita",
    "+49 151 1234 5678": "1234",
    "+4915112345678": "12345",
    "+49 (0)151 / 12345678": "12345",
    "(0151) 123 456 78": "456",
    "0151/12345678": "12345",
    "4915112345678": "12345",
    "from_number_4915112345678": "12345",
    "49.151.123.456.78": "456",
    "\uff0b\uff14\uff19\uff11\uff15\uff11\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18": (
        "\uff14\uff19"
    ),
    "Failing row contains (7, jobs, wamid.abc, +4915112345678).": "12345",
    "0123456789abcdef0123456789abcdef01234567": "89abcdef",
}
OURS = [
    "errors:total: 7/115 = 6.09 %, e = 1.07, limit 0.1 %, 1,912 ms of 2,300",
    "the pass was revoked by HOLD at 2025-12-03 14:15 UTC; evaluate again",
    "frozen until 2025-12-24 00:00 CET: Christmas",
    "1 rows of mobility, last 2025-12-03T09:15:00+01:00 UTC",
    "connection to server at 192.168.100.200, port 5432 failed: timeout",
    "rates 0.05 0.25 0.125 of 0.05123456789",
    "ledger #12:ab12cd34ef56, 10 -> 25 -> 35 -> 50 %",
    "rollout change --to 25 --plan parameters/week6.production.yaml",
]


@pytest.mark.parametrize("written", CANARIES)
def test_a_canary_does_not_survive(written):
    """Alone, in a sentence, in JSON, twice in a row: nothing of it is left."""
    for text in (
        written,
        f"upstream said: {written}, retry",
        f'{{"detail": "{written}"}}',
        f"{written}\n{written}",
    ):
        assert CANARIES[written] not in redact(text)


@pytest.mark.parametrize("sentence", OURS)
def test_what_an_operator_needs_to_read_stays(sentence):
    """Instants, rates, addresses of servers, short hashes and commands are not taken for numbers to
    dial.
    """
    assert redact(sentence) == sentence


@given(st.text(max_size=40), st.sampled_from(sorted(CANARIES)), st.text(max_size=40))
def test_no_text_around_it_brings_a_secret_back(before, written, after):
    """Whatever stands before and after, with a space between."""
    assert CANARIES[written] not in redact(f"{before} {written} {after}").replace(
        before, ""
    ).replace(after, "")


WRAPPED = (  # as somebody writes it down, or a program logs it
    "pw={}",
    "pw: {}",
    "wifi psk={}",
    "Passwort: {}",
    "Kennwort={} (neu)",
    "sshpass -p {} ssh host",
    "mysql -u root -p{} shop",
    "redis-cli -h cache -a {} ping",
    'sent {{"password": {{"value": "{}"}}}}',
    'sent {{"secret": ["{}"]}}',
    "<password><value>{}</value></password>",
    '<token kind="x">\n  {}</token>',
    "host=db password={} dbname=shop",
    "{{token: {}, user: rita}}",
)


@pytest.mark.parametrize("secret", ["hunter2xyz", "kQ7,vR;2&x}Zt9", "Tr0ub4dor;drop,it"])
@pytest.mark.parametrize("written", WRAPPED)
def test_a_secret_is_hidden_whole_however_it_is_wrapped(written, secret):
    """No six signs of it in a row are left, with a comma or a semicolon in it too; what stands
    around it is still read.
    """
    shown = redact(written.format(secret))
    left = [secret[at : at + 6] for at in range(len(secret) - 5) if secret[at : at + 6] in shown]
    assert not left, shown
    if "dbname" in written:
        assert "dbname=shop" in shown


@pytest.mark.parametrize(
    "text",
    [
        "password=[secret]&next=/home",
        "a report of password, user and host",
        "tokens, of 5 requests",
        "the ledger #81:abcdef123456",
        "rehearsal_20261127_080250_79d3",
        "pw is short for password",
    ],
)
def test_what_stands_beside_a_name_of_secrets_is_read(text):
    """Prose and names of ours are not taken for values."""
    assert redact(text) == text


@given(st.text(max_size=3 * LONGEST))
def test_any_text_comes_back_short_printable_and_stable(text):
    """No control or invisible character, one line, bounded; redacting twice changes nothing that
    matters.
    """
    shown = redact(text)
    assert len(shown) <= LONGEST + 40
    assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Cs") for sign in shown)
    assert shown == " ".join(shown.split())


@pytest.mark.parametrize("sign", ["\u202e", "\x1b[31m", "\x00", "\u2066", "\ufeff"])
def test_signs_that_steer_a_terminal_or_turn_a_line_around_are_gone(sign):
    """Bidirectional overrides, escape sequences and NUL do not reach a page or a terminal."""
    assert sign[0] not in redact(f"harmless{sign}txt.exe")


def test_a_megabyte_is_cut_and_says_so():
    """Work and result are bounded, and what was cut is said."""
    shown = redact("x" * 1_000_000)
    assert shown.endswith("… (1,000,000 characters in all)")


def test_a_secret_after_the_cut_is_not_half_shown():
    """What straddles the end of what is looked at is cut with it."""
    assert "hunter2" not in redact("word " * (2 * LONGEST) + "password=hunter2")


@pytest.mark.parametrize(
    "hostile",
    [
        "1" * 50_000,
        "a@" * 20_000,
        "0 " * 20_000,
        "x:" * 20_000,
        "-_" * 20_000,
        "((((" * 9000,
        "a://:" * 9000,
        "eyJ-" * 9000,
    ],
)
def test_a_hostile_text_is_bounded_work(hostile):
    """No pattern grows out of hand on what it almost matches (the test would not end)."""
    redact(hostile)
