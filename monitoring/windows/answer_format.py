"""DETECT: whether an answer has the format that its request asked for. Pure.

The request's `response_format` and the answer go in; true, false, or None where no format was
asked for. Of a JSON schema the type of the whole and its required names are looked at: engines
that hold a model to a schema fail there or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
}


def format_valid(parameters: Mapping[str, Any], answer: str) -> bool | None:
    """Return whether the answer is as `response_format` asks; None if it asks for text."""
    wanted = parameters.get("response_format")
    if not isinstance(wanted, Mapping):
        return None
    match wanted.get("type"):
        case "json_object":
            return isinstance(_json(answer), dict)
        case "json_schema":
            return _fits(_json(answer), _schema(wanted))
        case _:
            return None


class _NotJson:
    """What is no JSON fits no schema."""


def _json(answer: str) -> Any:
    fenced = _FENCE.match(answer)
    try:
        return json.loads(fenced.group(1) if fenced else answer)
    except (ValueError, RecursionError):
        return _NotJson()


def _schema(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema, wherever the request has it; an empty one allows all JSON."""
    named = wanted.get("json_schema")
    schema = named.get("schema") if isinstance(named, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, _NotJson):
        return False
    kind = schema.get("type")
    if isinstance(kind, str) and kind in _TYPES and not isinstance(value, _TYPES[kind]):
        return False
    required = schema.get("required")
    if isinstance(value, dict) and isinstance(required, list):
        return all(name in value for name in required)
    return True
