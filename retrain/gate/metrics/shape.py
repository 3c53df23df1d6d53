"""Whether an answer has the shape that was asked for: JSON, a schema, a pattern, a length. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from retrain.gate.scoring import words

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


def json_of(answer: str) -> tuple[bool, Any]:
    """Return whether the answer is JSON and nothing else, and its value; a code fence may be round
    it.
    """
    fenced = _FENCE.match(answer)
    try:
        return True, json.loads(fenced.group(1) if fenced else answer)
    except ValueError:
        return False, None


def valid_json(answer: str) -> float:
    """Return 1 if the answer is JSON, else 0."""
    return float(json_of(answer)[0])


def fits_schema(answer: str, schema: Mapping[str, Any]) -> float:
    """Return 1 if the answer is JSON that the JSON schema allows, else 0.

    Raises: jsonschema.SchemaError for what is no schema.
    """
    from jsonschema.validators import validator_for

    kind = validator_for(schema)
    kind.check_schema(dict(schema))
    valid, value = json_of(answer)
    return float(valid and kind(schema).is_valid(value))


def fits_pattern(answer: str, pattern: str) -> float:
    """Return 1 if the whole answer, without space around it, matches the pattern, else 0."""
    return float(re.fullmatch(pattern, answer.strip(), re.DOTALL) is not None)


def length_ratio(answer: str, reference: str) -> float:
    """Return how many words the answer has for each one of the reference."""
    return len(words(answer)) / max(1, len(words(reference)))


def within_length(answer: str, reference: str, low: float = 0.5, high: float = 2.0) -> float:
    """Return 1 if the answer is neither too short nor too long beside the reference, else 0.

    The bounds are our choice: half and twice as long.
    """
    return float(low <= length_ratio(answer, reference) <= high)
