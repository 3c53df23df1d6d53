"""Pieces of the OpenAPI document that its chapters share: schemas, bodies, errors. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

KEYED: list[Json] = [{"bearer": []}, {"api_key": []}]

STATUSES = {
    400: "The request is wrong; `param` (or the message) names the field.",
    401: "No API key or receipt, or one that is not valid.",
    403: "The key may not do this.",
    404: "No such model, or the engine does not offer this path.",
    408: "The body did not come within `gateway.request_timeout_s`.",
    409: "The same `id` came with another feedback before.",
    413: "The body is larger than `gateway.max_body_bytes`.",
    429: "Too many requests; `Retry-After` says when to come back.",
    502: "The engine failed.",
    503: "The engine or the event log is not available; `Retry-After` says when to come back.",
}


def errors(statuses: Sequence[int], schema: str = "Error") -> Json:
    """Return the responses of these statuses, each with our error's schema."""
    return {
        str(status): {"description": STATUSES[status], "content": json_content(ref(schema))}
        for status in statuses
    }


def members(members: Json) -> Json:
    """Return an object's schema, every member required."""
    return {"type": "object", "required": list(members), "properties": members}


def body(schema: Json, examples: Json) -> Json:
    """Return a JSON body that must be there."""
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def json_content(schema: Json) -> Json:
    """Return JSON content of a schema."""
    return {"application/json": {"schema": schema}}


def ref(name: str) -> Json:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}
