"""A Checkpoint as JSON and back, by pydantic from the dataclasses themselves; also its JSON Schema."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from rollout_lib.model import Checkpoint


@cache
def _adapter() -> TypeAdapter[Checkpoint]:
    return TypeAdapter(Checkpoint)


def to_json(checkpoint: Checkpoint) -> str:
    """The text that stands on the ledger: instants as ISO with offset, percentages as exact text."""
    return _adapter().dump_json(checkpoint).decode()


def from_json(text: str) -> Checkpoint:
    """The Checkpoint of a stored text; raises pydantic's ValidationError where it is none."""
    return _adapter().validate_json(text)


def schema() -> dict[str, Any]:
    """The published JSON Schema of a checkpoint record."""
    return {"$id": "checkpoint.schema.json", **_adapter().json_schema(mode="serialization")}
