"""Which words of a message are read, and how they may be spelled."""

from __future__ import annotations

import asyncio
import json

import pytest

from rollout_lib.rehearsal.live.configuration import Configuration
from rollout_lib.rehearsal.live.dispatch import Settings
from rollout_lib.rehearsal.live.recognise import domain_of
from tests.live.in_process import PROTECTED, Bench, message, post

UNIFIED = "wa-webhook-unified"

SPELLINGS = {
    "plural": "taxis",
    "plural of y": "policies",
    "plural in capitals": "DRIVERS",
    "accented": "táxi",
    "accented by a mark of its own": "ta\u0301xi",
    "with a stroke": "pr\u00f8file",
    "dotless": "tax\u0131",
    "zero width": "ta\u200bxi",
    "soft hyphen": "mobi\u00adlity",
    "joined": "ta\u2060xi",
    "a variation selector": "ta\ufe0fxi",
    "a control character": "ta\x01xi",
    "turned around": "ta\u202exi",
    "full width": "ｔａｘｉ",
    "mathematical": "𝐭𝐚𝐱𝐢",
    "circled": "ⓣⓐⓧⓘ",
    "negative squared": "🆃🅰🆇🅸",
    "regional": "🇹🇦🇽🇮",
    "small capitals": "ᴛᴀxɪ",
    "Cyrillic letters": "mоbility",
    "all Cyrillic": "тахі",
    "Greek letters": "pοlicy",
    "digits": "m0bi1ity",
    "beside an underscore": "my_taxi_ride",
    "possessive": "driver's",
}


@pytest.mark.parametrize("what", SPELLINGS)
def test_a_protected_word_is_read_however_it_is_spelled(what):
    """Beside a word of jobs, and it never reaches unified."""
    bench = Bench()
    asyncio.run(bench.send(post({"messages": [message("a", f"a job, {SPELLINGS[what]}!")]})))
    [(name, _, _)] = bench.destinations.handed
    assert name.removeprefix("wa-webhook-") in PROTECTED


WORD = "a taxi, please"
PLACES = {
    "a file's name": {"document": {"id": "1", "filename": "taxi_receipt.pdf"}},
    "a caption": {"image": {"id": "1", "caption": WORD}},
    "a button's text": {"button": {"payload": "jobs_1", "text": WORD}},
    "a button's payload": {"button": {"payload": "jobs_taxi_1", "text": "Show"}},
    "a reply's title": {"interactive": {"button_reply": {"id": "jobs_1", "title": WORD}}},
    "a choice's title": {"interactive": {"list_reply": {"id": "jobs_1", "title": WORD}}},
    "a choice's description": {
        "interactive": {"list_reply": {"id": "jobs_1", "title": "Show", "description": WORD}}
    },
    "a form": {"interactive": {"nfm_reply": {"name": "jobs", "response_json": '{"a": "taxi"}'}}},
    "a form with escapes": {
        "interactive": {"nfm_reply": {"name": "jobs", "response_json": '{"a": "\\u0074axi"}'}}
    },
    "a place's name": {"location": {"latitude": 1, "longitude": 2, "name": "Taxi stand"}},
    "a place's address": {"location": {"latitude": 1, "longitude": 2, "address": "Taxi road 1"}},
    "a contact's name": {"contacts": [{"name": {"formatted_name": "Ann (driver)"}}]},
    "a contact's company": {"contacts": [{"org": {"company": "Kigali Taxis"}}]},
    "an order": {"order": {"text": "a job", "product_items": [{"product_retailer_id": "taxi-1"}]}},
    "an advertisement": {"referral": {"headline": "Your taxi", "body": "now"}},
    "something new": {"anything": [{"at": {"all": ["", WORD]}}]},
}


@pytest.mark.parametrize("what", PLACES)
def test_a_protected_word_is_read_wherever_it_stands(what):
    """All of a message's text is read, beside a text that names jobs."""
    bench = Bench()
    one = {**message("a", "a job"), **PLACES[what]}
    asyncio.run(bench.send(post({"messages": [one]})))
    assert [name for name, _, _ in bench.destinations.handed] == ["wa-webhook-mobility"]


@pytest.mark.parametrize("words", ["такси", "تاكسي", "出租车", "job\u3164"])
def test_what_cannot_be_read_keeps_a_message_on_legacy(words):
    """Letters that the recogniser does not know: at the function of what it does know."""
    bench = Bench()
    asyncio.run(bench.send(post({"messages": [message("a", f"a job {words}")]})))
    assert [name for name, _, _ in bench.destinations.handed] == ["wa-webhook-jobs"]


@pytest.mark.parametrize(
    "words", ["a job", "un emploi à Genève", "a job for 500 €", "akazi 👍🏽", "Is the JOB open?"]
)
def test_what_can_be_read_goes_as_it_did(words):
    """Accents, figures and signs are no reason to stay."""
    bench = Bench()
    asyncio.run(bench.send(post({"messages": [message("a", words)]})))
    assert [name for name, _, _ in bench.destinations.handed] == [UNIFIED]


def test_ids_and_numbers_are_no_words():
    """A message id or a sender that reads like a protected word protects nothing."""
    assert domain_of({**message("taxi", "a job", "taxi"), "timestamp": "taxi"}, PROTECTED) == "jobs"


def test_a_protected_domains_own_name_is_a_word():
    """Also where the recogniser has no words for it."""
    assert domain_of(message("a", "a job in health"), frozenset({"health"})) == "health"


@pytest.mark.parametrize(
    "name",
    [
        "Mobility",
        " mobility ",
        "mobility\u00a0",
        "mobi\u200blity",
        "ｍｏｂｉｌｉｔｙ",
        "\ufeffmobility\n",
    ],
)
def test_a_domains_name_is_read_however_it_is_spelled(name):
    """Protected as it is given, and as the configuration lists it."""
    settings = Settings(protected=frozenset({name}), app_secret=None)
    assert settings.protected == {"mobility"}

    async def run(protected: str, domain: str) -> Configuration:
        async def read() -> list:
            return [(50, True, ["jobs", domain], "a salt")]

        configuration = Configuration(read, protected=[protected])
        await configuration.renew()
        return configuration

    for protected, domain in ((name, "mobility"), ("mobility", name)):
        assert "protected" in asyncio.run(run(protected, domain)).problem
    found = asyncio.run(run("insurance", name)).current()
    assert found is not None
    assert found.domains == {"jobs", "mobility"}


def test_a_name_of_nothing_is_refused():
    """Of a protected domain: ValueError; in the configuration: everything is legacy's."""
    with pytest.raises(ValueError, match="empty"):
        Settings(protected=frozenset({"\u200b "}), app_secret=None)
    bench = Bench()
    bench.domains = ["jobs", "\u200b"]
    asyncio.run(bench.send(post({"messages": [message("a", "a job")]})))
    assert [name for name, _, _ in bench.destinations.handed] == ["wa-webhook-jobs"]
    assert json.dumps("empty") in json.dumps(bench._configuration.problem.split())
