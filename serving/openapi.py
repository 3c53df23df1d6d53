"""SERVE: the OpenAPI 3.1 document of the gateway, at `/openapi.json`.

Requests are described from the very types that validate them, so the two cannot differ; what the
engine answers is described as far as Ratchet relies on it. Every status that a route can answer
stands here, and a test asks the gateway with thousands of bodies whether that is true.

    curl http://127.0.0.1:8000/openapi.json
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from serving.dialects.chat import CHAT, COMPLETIONS
from serving.dialects.embeddings import EMBEDDINGS
from serving.dialects.messages import MESSAGES
from serving.dialects.protocol import Dialect
from serving.dialects.responses import RESPONSES
from serving.openapi_feedback import feedback_paths, feedback_schemas
from serving.openapi_parts import KEYED, Json, body, errors, json_content, members, ref
from serving.routing import ARM_HEADER, Arm, Fallback

ARMS = list(get_args(Arm))

TURNS = [{"role": "user", "content": "Where is my parcel?"}]
INFER_STATUSES = (400, 401, 403, 404, 408, 413, 429, 502, 503)


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
            **feedback_paths(),
            "/v1/feedback/thumbs.js": {"get": _script()},
            "/v1/models": {"get": _models()},
            "/health/live": {"get": _read("Whether the process lives", ref("Health"))},
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
    stamp = ref("Stamp")
    answer = members({"ratchet": stamp, **{name: {"type": "array"} for name in spoken.answer}})
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
        "requestBody": body(request, examples),
        "responses": {
            "200": {
                "description": "The answer; it, or the last event of its stream, has `ratchet`.",
                "headers": {name: {"schema": {"type": "string"}} for name in _STAMP_HEADERS},
                "content": content,
            },
            **errors(INFER_STATUSES, error),
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
    models = {"type": "array", "items": members({"id": {"type": "string"}})}
    schema = members({"object": {"const": "list"}, "data": models})
    read = _read("The models that can be asked for", schema)
    return read | {
        "operationId": "models",
        "security": KEYED,
        "responses": read["responses"] | errors((401, 403, 429)),
    }


def _ready() -> Json:
    read = _read("Whether an answer can be had", ref("Health"))
    unready = {"description": "Not now.", "content": json_content(ref("Health"))}
    return read | {"responses": read["responses"] | {"503": unready}}


def _read(summary: str, schema: Json) -> Json:
    return {
        "summary": summary,
        "responses": {"200": {"description": summary + ".", "content": json_content(schema)}},
    }


def _schemas() -> Json:
    text, name = {"type": "string"}, {"type": ["string", "null"]}
    error = members({"message": text, "type": text, "param": name, "code": name})
    spoken = members({"type": text, "message": text})
    stamp = members({"interaction": text, "receipt": text, "adapter": text})
    stamp["properties"]["arm"] = {"enum": ARMS}
    stamp["properties"]["fallback"] = {"enum": list(get_args(Fallback))}
    return {
        "Error": members({"error": error}),
        "AnthropicError": members({"type": {"const": "error"}, "error": spoken}),
        "Stamp": stamp,
        "Health": members({"status": text}),
        **feedback_schemas(),
    }


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
