"""The contract of a router, as a table that is sent to one: `rollout router check`.

The table (contract.yaml) is read and checked whole before anything is sent. Each difference between
what must come and what came is a value with one line for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rollout_lib.errors import ParameterError
from rollout_lib.model import UNIFIED

TABLE = Path(__file__).with_name("contract.yaml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Button(_Strict):
    """A message that is a button's answer."""

    button: str


class Handshake(_Strict):
    """A GET as the platform's subscription asks it."""

    mode: str
    token: Literal["right", "wrong"]


class State(_Strict):
    """What the configuration is set to; second_row: an older one stands beside it."""

    percentage: Annotated[int | float, Field(ge=0, le=100)]
    enabled: bool
    domains: Annotated[list[str], Field(min_length=1)]
    second_row: bool = False


class Asked(_Strict):
    """One request and what must come of it. Exactly one of messages, body, handshake, again, many,
    status_of says what it is.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    messages: list[tuple[str, str]] | None = None
    body: str | None = None
    handshake: Handshake | None = None
    again: str | None = None
    status_of: str | None = None
    many: Annotated[int, Field(ge=1, le=1_000)] | None = None
    what: str = ""  # of many
    signature: Literal["right", "wrong", "missing"] = "right"
    answer: Annotated[int, Field(ge=200, le=599)]
    routed_to: list[Literal["unified", "legacy"]] | None = None  # of each message; [] is no row
    status_routed_to: Literal["unified", "legacy"] | None = None
    unified: tuple[int, int] | None = Field(
        default=None, strict=False
    )  # of many, at least, at most
    only_adds_to: str | None = None
    same_as: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Asked:
        kinds = (self.messages, self.body, self.handshake, self.again, self.status_of, self.many)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError(
                f"{self.name}: one of messages, body, handshake, again, status_of, many"
            )
        if self.messages is not None and (
            self.routed_to is None or len(self.routed_to) not in (0, len(self.messages))
        ):
            raise ValueError(f"{self.name}: routed_to needs an entry for each message, or none")
        if (self.many is not None) != (self.unified is not None):
            raise ValueError(f"{self.name}: many needs unified: [at least, at most]")
        return self


class Step(_Strict):
    """A configuration, and the requests that are sent under it."""

    configuration: State
    says: str
    requests: Annotated[list[Asked], Field(min_length=1)]


class Contract(_Strict):
    """The whole table; names are unique, and what a request refers to came before it."""

    texts: dict[str, str | Button]
    steps: Annotated[list[Step], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> Contract:
        seen: dict[str, Asked] = {}
        for asked in (asked for step in self.steps for asked in step.requests):
            if asked.name in seen:
                raise ValueError(f"{asked.name} stands twice")
            for other in (asked.again, asked.status_of):
                if other is not None and (other not in seen or seen[other].messages is None):
                    raise ValueError(f"{asked.name}: {other} is no earlier request with messages")
            for other in (asked.only_adds_to, asked.same_as):
                if other is not None and (other not in seen or seen[other].many is None):
                    raise ValueError(f"{asked.name}: {other} is no earlier request of many")
            keys = [key for _, key in asked.messages or ()] + ([asked.what] if asked.many else [])
            if missing := [key for key in keys if key not in self.texts]:
                raise ValueError(f"{asked.name}: texts has no {', '.join(missing)}")
            seen[asked.name] = asked
        return self


def read_contract(path: Path = TABLE) -> Contract:
    """Read and check a table. Raise ParameterError with every problem in it."""
    try:
        return Contract.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(problems=f"{path}: {type(error).__name__}") from None
    except ValidationError as error:
        problems = [
            f"{path.name}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        ]
        raise ParameterError(problems="\n".join(problems)) from None


def domain_of(key: str) -> str:
    """The domain that a key of `texts` is of."""
    return key.partition(".")[0]


class Wording:
    """Turns the table's customers and messages into a run's own ids, numbers and bytes."""

    def __init__(self, contract: Contract, run: int) -> None:
        self._texts, self._run = contract.texts, run
        self._customers: dict[str, int] = {}

    def identity(self, name: str, number: int, attempt: int) -> str:
        """A message id that no other run and no other request has."""
        return f"rollout-check-{self._run:08x}-{name}-{attempt}-{number}"

    def customer(self, who: str) -> str:
        """The same number for a customer throughout a run; none of the world's is like it."""
        place = self._customers.setdefault(who, len(self._customers))
        return f"999{self._run:010d}{place:05d}"

    def post(self, items: list[tuple[str, str, str]]) -> bytes:
        """The bytes of a POST of (id, customer, key) messages."""
        return _post("messages", [self._message(*item) for item in items])

    def status(self, identity: str, who: str) -> bytes:
        """The bytes of a POST that says that a message was delivered."""
        said = {"id": identity, "status": "delivered", "timestamp": "0"}
        return _post("statuses", [{**said, "recipient_id": self.customer(who)}])

    def _message(self, identity: str, who: str, key: str) -> dict[str, Any]:
        found: dict[str, Any] = {"id": identity, "from": self.customer(who), "timestamp": "0"}
        text = self._texts[key]
        if isinstance(text, Button):
            reply = {"id": text.button, "title": "Show"}
            interactive = {"type": "button_reply", "button_reply": reply}
            return {**found, "type": "interactive", "interactive": interactive}
        return {**found, "type": "text", "text": {"body": text}}


def _post(part: str, items: list[dict[str, Any]]) -> bytes:
    value: Mapping[str, Any] = {"messaging_product": "whatsapp", part: items}
    entry = {"id": "0", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


class Difference(BaseModel):
    """One thing that came otherwise. excusable: legacy had what unified should have; a router that
    stalled does that, so it is asked again.
    """

    model_config = ConfigDict(frozen=True)

    request: str
    what: str  # answer, row, rows, share, side, body
    expected: str
    found: str
    excusable: bool = False

    def line(self) -> str:
        return f"{self.request}: {self.what} must be {self.expected}, is {self.found}."


def differing_row(
    name: str, identity: str, expected: tuple[str, str] | None, found: list[tuple[str, str]]
) -> Difference | None:
    """Compare a message's rows, (domain, routed_to) each, with the one that must come, or none."""
    wanted = [expected] if expected else []
    if found == wanted:
        return None
    excusable = (
        expected is not None and expected[1] == UNIFIED and found == [(expected[0], "legacy")]
    )
    return Difference(
        request=name,
        what=f"the rows of message {identity.rsplit('-', 1)[-1]}",
        expected=_spelled(wanted),
        found=_spelled(found),
        excusable=excusable,
    )


def _spelled(rows: list[tuple[str, str]]) -> str:
    return " and ".join(f"{domain} to {routed_to}" for domain, routed_to in rows) or "none"
