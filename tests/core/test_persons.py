"""Who is a person, and what is a reason."""

from __future__ import annotations

import pytest

from rollout_lib.judgement.persons import is_person, is_reason


@pytest.mark.parametrize(
    "name",
    ["on call", "the ops team", "oncall@firm.example", "n/a", "postgres", "", "  ", "x", "7"],
)
def test_an_account_or_a_role_is_nobody(name):
    """What stands where a name is asked for, and names none who could answer for it."""
    assert not is_person(name)


@pytest.mark.parametrize(
    "name", ["Rita", "Ana Lima", "rita@firm.example", "李娜", "Jo from support"]
)
def test_a_name_is_a_person(name):
    """One word of two letters that is no role is enough, in any script."""
    assert is_person(name)


@pytest.mark.parametrize(
    ("text", "says"), [("", False), (" …", False), ("-", False), ("5xx", True)]
)
def test_a_reason_says_something(text, says):
    """Spaces and punctuation alone are no reason."""
    assert is_reason(text) is says
