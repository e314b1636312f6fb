"""A Checkpoint as JSON and back, by pydantic from the dataclasses themselves;
also its JSON Schema.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from rollout_lib.model import Checkpoint

SCHEMA_VERSION = Checkpoint.schema_version


@cache
def _adapter() -> TypeAdapter[Checkpoint]:
    return TypeAdapter(Checkpoint)


def to_json(checkpoint: Checkpoint) -> str:
    """The text that stands on the ledger: instants as ISO with offset,
    percentages as exact text.
    """
    return _adapter().dump_json(checkpoint).decode()


def from_json(text: str) -> Checkpoint:
    """The Checkpoint of a stored text; raises pydantic's ValidationError where it is none."""
    return _adapter().validate_json(text)


def schema() -> dict[str, Any]:
    """The JSON Schema of a checkpoint record, as published in archive/checkpoint.schema.json."""
    made = _adapter().json_schema(mode="serialization")
    made["properties"]["schema_version"] = {"const": SCHEMA_VERSION, "title": "Schema Version"}
    made["required"] = ["schema_version", *made["required"]]
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {
        "$schema": dialect,
        "$comment": f"version {SCHEMA_VERSION}",
        "$id": "checkpoint.schema.json",
        **made,
        "additionalProperties": False,
    }
