"""The JSON Schema of specs, made from the registry, so that editors complete and check them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmnet.blocks.registry import REGISTRY
from lmnet.builder.layout import NAME, SpecLayout
from lmnet.builder.options import signature_of

EXPRESSION = r"^\$\{.*\}$"


def node_schema(block: str) -> dict[str, Any]:
    """Return the JSON Schema of a node of that block."""
    signature = signature_of(block)
    properties: dict[str, Any] = {"block": {"const": block}}
    if signature.takes_many:
        properties["from"] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    else:
        properties["from"] = {"type": "string"}
    properties |= {name: option.json_schema() for name, option in signature.options.items()}
    required = ["block", "from", *(name for name, option in signature.options.items() if option.is_required)]
    summary = (REGISTRY.get(block).__doc__ or "").strip().splitlines()[0]
    return {
        "description": summary,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _node_with_choices(blocks: Sequence[str]) -> dict[str, Any]:
    """Return the JSON Schema of a node whose block is a variable: options that some block has, and those by block."""
    by_block: dict[str, Any] = {}
    shared: set[str] = set()
    for block in blocks:
        options = signature_of(block).options
        by_block[block] = {
            "type": "object",
            "properties": {name: option.json_schema() for name, option in options.items()},
            "additionalProperties": False,
        }
        shared |= options.keys()
    return {
        "description": "A node that may be one of several blocks",
        "type": "object",
        "properties": {
            "block": {"type": "string", "pattern": EXPRESSION},
            "from": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
            "options": {"type": "object", "properties": by_block, "additionalProperties": False},
            **{name: {} for name in sorted(shared)},
        },
        "required": ["block", "from"],
        "additionalProperties": False,
    }


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of specs with all registered blocks."""
    schema = SpecLayout.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "lmnet spec"
    blocks = REGISTRY.names()
    definitions = {f"node_{block}": node_schema(block) for block in blocks}
    schema["$defs"] |= definitions | {"node_with_choices": _node_with_choices(blocks)}
    schema["properties"]["nodes"] = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{NAME.pattern}$"},
        "additionalProperties": {
            "type": "object",
            "required": ["block", "from"],
            "properties": {"block": {"anyOf": [{"enum": blocks}, {"type": "string", "pattern": EXPRESSION}]}},
            "allOf": [
                {
                    "if": {"properties": {"block": {"pattern": EXPRESSION}}, "required": ["block"]},
                    "then": {"$ref": "#/$defs/node_with_choices"},
                },
                *(
                    {
                        "if": {"properties": {"block": {"const": block}}, "required": ["block"]},
                        "then": {"$ref": f"#/$defs/node_{block}"},
                    }
                    for block in blocks
                ),
            ],
        },
    }
    return schema
