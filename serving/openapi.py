"""SERVE: the OpenAPI 3.1 document of the gateway, at `/openapi.json`.

Requests are described from the very types that validate them, so the two cannot differ; what the
engine answers is described as far as Ratchet relies on it. Every status that a route can answer
stands here, and a test asks the gateway with thousands of bodies whether that is true.

    curl http://127.0.0.1:8000/openapi.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from feedback.submission import (
    KINDS,
    MAX_ID_CHARS,
    MAX_RECEIPT_CHARS,
    MAX_TEXT_CHARS,
    MAX_USER_CHARS,
)
from serving.dialects.chat import CHAT, COMPLETIONS
from serving.dialects.embeddings import EMBEDDINGS
from serving.dialects.messages import MESSAGES
from serving.dialects.protocol import Dialect
from serving.dialects.responses import RESPONSES
from serving.routing import ARM_HEADER, Arm, Fallback

Json = dict[str, Any]

ARMS = list(get_args(Arm))

TURNS = [{"role": "user", "content": "Where is my parcel?"}]
KEYED: list[Json] = [{"bearer": []}, {"api_key": []}]

STATUSES = {
    400: "The request is wrong; `param` (or the message) names the field.",
    401: "No API key or receipt, or one that is not valid.",
    403: "The key may not do this.",
    404: "No such model, or the engine does not offer this path.",
    408: "The body did not come within `gateway.request_timeout_s`.",
    413: "The body is larger than `gateway.max_body_bytes`.",
    429: "Too many requests; `Retry-After` says when to come back.",
    502: "The engine failed.",
    503: "The engine or the event log is not available; `Retry-After` says when to come back.",
}
INFER_STATUSES = (400, 401, 403, 404, 408, 413, 429, 502, 503)
FEEDBACK_STATUSES = (400, 401, 403, 404, 413, 429, 503)


@dataclass(frozen=True, slots=True)
class _Spoken:
    """What the document says of a dialect: `answer` are the members that an answer always has."""

    dialect: Dialect
    summary: str
    answer: tuple[str, ...]
    example: Json = field(default_factory=dict[str, Any])


_SPOKEN = (
    _Spoken(CHAT, "Answer a chat", ("choices",), {"messages": TURNS, "user": "customer-17"}),
    _Spoken(COMPLETIONS, "Continue a text", ("choices",), {"prompt": "Once upon a time"}),
    _Spoken(RESPONSES, "Answer as a response", ("output",), {"input": "Where is my parcel?"}),
    _Spoken(
        MESSAGES,
        "Answer as Anthropic's clients ask",
        ("content",),
        {"max_tokens": 256, "messages": TURNS, "metadata": {"user_id": "customer-17"}},
    ),
    _Spoken(EMBEDDINGS, "Embed texts", ("data",), {"input": ["Where is my parcel?"]}),
)


def openapi_route() -> HTTPRouteHandler:
    """Return the route that answers with the document."""
    document = msgspec.json.encode(openapi_document())

    @get("/openapi.json")
    async def describe() -> Response[bytes]:
        return Response(document, media_type="application/json")

    return describe


def openapi_document() -> Json:
    """Return the document."""
    requests, schemas = msgspec.json.schema_components(
        [spoken.dialect.request for spoken in _SPOKEN], ref_template="#/components/schemas/{name}"
    )
    inference = zip(_SPOKEN, requests, strict=True)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Ratchet gateway", "version": "1", "license": {"name": "Apache-2.0"}},
        "paths": {
            **{spoken.dialect.path: {"post": _inference(spoken, ref)} for spoken, ref in inference},
            "/v1/feedback": {"post": _feedback()},
            "/v1/feedback/thumbs.js": {"get": _script()},
            "/v1/models": {"get": _models()},
            "/health/live": {"get": _read("Whether the process lives", _ref("Health"))},
            "/health/ready": {"get": _ready()},
            "/openapi.json": {"get": _read("This document", {"type": "object"})},
        },
        "components": {
            "schemas": {**schemas, **_schemas()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _inference(spoken: _Spoken, request: Json) -> Json:
    path = spoken.dialect.path
    example = {"model": "my-application", **spoken.example}
    examples = {"whole": {"summary": "In one piece", "value": example}}
    stamp = _ref("Stamp")
    answer = _object({"ratchet": stamp, **{name: {"type": "array"} for name in spoken.answer}})
    content: Json = {"application/json": {"schema": answer}}
    if spoken.dialect.open_stream is not None:
        examples["stream"] = {"summary": "As a stream", "value": example | {"stream": True}}
        content["text/event-stream"] = {"schema": {"type": "string"}}
    error = "AnthropicError" if spoken.dialect is MESSAGES else "Error"
    return {
        "summary": spoken.summary,
        "operationId": path.removeprefix("/v1/").replace("/", "_"),
        "security": KEYED,
        "parameters": [_ARM],
        "requestBody": _body(request, examples),
        "responses": {
            "200": {
                "description": "The answer; it, or the last event of its stream, has `ratchet`.",
                "headers": {name: {"schema": {"type": "string"}} for name in _STAMP_HEADERS},
                "content": content,
            },
            **_errors(INFER_STATUSES, error),
        },
    }


def _feedback() -> Json:
    examples = {
        "thumbs": {
            "summary": "Of whoever holds the receipt",
            "value": {"receipt": "r1.…", "kind": "thumbs", "value": True},
        },
        "rating": {
            "summary": "Of an application's server, with its key",
            "value": {
                "interaction_id": "01890a5d-ac96-774b-bcce-b302099a8057",
                "kind": "rating",
                "value": 4,
                "user": "customer-17",
            },
        },
    }
    return {
        "summary": "Rate, comment on or correct an answer",
        "operationId": "feedback",
        "security": [{}, *KEYED],
        "requestBody": _body(_ref("Feedback"), examples),
        "responses": {
            "201": {"description": "It is durable.", "content": _json(_ref("Accepted"))},
            **_errors(FEEDBACK_STATUSES),
        },
    }


def _script() -> Json:
    return {
        "summary": "The component by which end users rate an answer",
        "responses": {
            "200": {
                "description": "A script that defines `<ratchet-thumbs>`.",
                "content": {"text/javascript": {"schema": {"type": "string"}}},
            },
            "304": {"description": "The client has it."},
        },
    }


def _models() -> Json:
    models = {"type": "array", "items": _object({"id": {"type": "string"}})}
    schema = _object({"object": {"const": "list"}, "data": models})
    read = _read("The models that can be asked for", schema)
    return read | {
        "operationId": "models",
        "security": KEYED,
        "responses": read["responses"] | _errors((401, 403, 429)),
    }


def _ready() -> Json:
    read = _read("Whether an answer can be had", _ref("Health"))
    unready = {"description": "Not now.", "content": _json(_ref("Health"))}
    return read | {"responses": read["responses"] | {"503": unready}}


def _read(summary: str, schema: Json) -> Json:
    return {
        "summary": summary,
        "responses": {"200": {"description": summary + ".", "content": _json(schema)}},
    }


def _errors(statuses: Sequence[int], schema: str = "Error") -> Json:
    return {
        str(status): {"description": STATUSES[status], "content": _json(_ref(schema))}
        for status in statuses
    }


def _schemas() -> Json:
    text, name = {"type": "string"}, {"type": ["string", "null"]}
    error = _object({"message": text, "type": text, "param": name, "code": name})
    spoken = _object({"type": text, "message": text})
    stamp = _object({"interaction": text, "receipt": text, "adapter": text})
    stamp["properties"]["arm"] = {"enum": ARMS}
    stamp["properties"]["fallback"] = {"enum": list(get_args(Fallback))}
    accepted = {"id": text, "interaction_id": text, "kind": {"enum": list(KINDS)}}
    return {
        "Error": _object({"error": error}),
        "AnthropicError": _object({"type": {"const": "error"}, "error": spoken}),
        "Stamp": stamp,
        "Health": _object({"status": text}),
        "Accepted": _object(accepted | {"accepted": {"const": True}}),
        "Feedback": _submission(),
    }


def _submission() -> Json:
    def text(max_chars: int) -> Json:
        return {"type": ["string", "null"], "minLength": 1, "maxLength": max_chars}

    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind", "value"],
        "anyOf": [{"required": ["receipt"]}, {"required": ["interaction_id"]}],
        "properties": {
            "receipt": text(MAX_RECEIPT_CHARS),
            "interaction_id": text(MAX_ID_CHARS) | {"format": "uuid"},
            "user": text(MAX_USER_CHARS),
            "id": text(MAX_ID_CHARS),
            "kind": {"enum": list(KINDS)},
            "value": {
                "anyOf": [
                    {"type": "boolean"},
                    {"type": "integer", "minimum": 1, "maximum": 5},
                    {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS},
                ]
            },
        },
    }


def _object(members: Json) -> Json:
    return {"type": "object", "required": list(members), "properties": members}


def _body(schema: Json, examples: Json) -> Json:
    return {
        "required": True,
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


_STAMP_HEADERS = (
    "x-ratchet-interaction",
    "x-ratchet-receipt",
    "x-ratchet-adapter",
    "x-ratchet-fallback",
)
_ARM: Json = {
    "name": ARM_HEADER,
    "in": "header",
    "description": "The arm that shall answer, for keys with scope `ops`; it is no exposure.",
    "schema": {"enum": ARMS},
}
