"""What the platform sends: single messages, batches, statuses, and how it behaves. Pure but for the
given draw.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# The runbook's requests an hour, with protected traffic and some that nothing recognises.
MIX: Mapping[str, float] = {
    "jobs": 550,
    "marketplace": 350,
    "property": 250,
    "mobility": 60,
    "profile": 60,
    "insurance": 60,
    "unknown": 4,
}
_SAYS: Mapping[str, str] = {
    "jobs": "is the job still open?",
    "marketplace": "I want to sell a bicycle",
    "property": "a house to rent, please",
    "mobility": "I need a driver",
    "profile": "change my account",
    "insurance": "about my policy",
    "unknown": "good morning",
}


@dataclass(frozen=True, kw_only=True)
class Habits:
    """Shares of all POSTs. A plain client has none of them: one new message a POST."""

    batch: float = 0.0  # two to four messages at once
    status: float = 0.0  # about a message that was sent before
    redelivered: float = 0.0  # sent again, some while the first is on its way
    handshake: float = 0.0  # GET, every other one with a wrong token
    rotated: float = 0.0  # signed with a secret of before
    known_sender: float = 0.0  # a message of a customer who wrote before


PLAIN = Habits()
PLATFORM = Habits(
    batch=0.03, status=0.05, redelivered=0.04, handshake=0.01, rotated=0.02, known_sender=0.2
)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message as it is sent, and what its tally needs."""

    identity: str
    domain: str
    content: Mapping[str, Any]


def message(domain: str, number: int, draw: random.Random, sender: str = "") -> Message:
    """A message of a domain: a button, a list's choice or a text; of a new customer where no sender
    is given.
    """
    found: dict[str, Any] = {
        "from": sender or f"4915{draw.randrange(10**8):08d}",
        "id": f"wamid.{draw.getrandbits(96):024x}",
    }
    kind = draw.choice(("button_reply", "list_reply", "text")) if domain != "unknown" else "text"
    if kind == "text":
        found |= {"type": "text", "text": {"body": _SAYS[domain]}}
    else:
        choice = {"id": f"{domain}_show_{number}", "title": "Show"}
        found |= {"type": "interactive", "interactive": {"type": kind, kind: choice}}
    return Message(identity=found["id"], domain=domain, content=found)


def status(of: Message, said: str) -> Mapping[str, Any]:
    """A status of a message: sent, delivered or read."""
    return {"id": of.identity, "status": said, "recipient_id": of.content["from"], "timestamp": "0"}


def post(part: str, *items: Mapping[str, Any]) -> bytes:
    """The bytes of a POST; part is messages or statuses."""
    value = {"messaging_product": "whatsapp", part: list(items)}
    entry = {"id": "0", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def webhook(domain: str, number: int, draw: random.Random) -> bytes:
    """A POST of one new message."""
    return post("messages", message(domain, number, draw).content)
