"""The OpenAPI document's chapter on people: what they say of answers, and erasing them. Pure."""

from __future__ import annotations

from feedback.submission import (
    KINDS,
    MAX_ID_CHARS,
    MAX_RECEIPT_CHARS,
    MAX_TEXT_CHARS,
    MAX_USER_CHARS,
    NAME_PATTERN,
)
from serving.openapi_parts import KEYED, Json, body, errors, json_content, members, ref

FEEDBACK_STATUSES = (400, 401, 403, 404, 409, 413, 429, 503)
SUBJECT_STATUSES = (400, 401, 403, 404, 429, 503)
INTERACTION = "01890a5d-ac96-774b-bcce-b302099a8057"


def feedback_paths() -> Json:
    """Return the paths by which people's feedback comes in, and by which people go."""
    return {
        "/v1/feedback": {"post": _feedback()},
        "/v1/feedback/batch": {"post": _batch()},
        "/v1/subjects/{subject}": {"delete": _erase()},
        "/v1/erasures/{erasure_id}": {"get": _erasure()},
    }


def feedback_schemas() -> Json:
    """Return the schemas that they use."""
    text = {"type": "string"}
    accepted = {"id": text, "interaction_id": text, "kind": {"enum": list(KINDS)}}
    result = members({"status": {"type": "integer"}})
    result["properties"] |= {"accepted": ref("Accepted"), "error": ref("ErrorBody")}
    named = {"type": ["string", "null"]}
    return {
        "Accepted": members(accepted | {"accepted": {"const": True}}),
        "ErrorBody": members({"message": text, "type": text, "param": named, "code": named}),
        "Results": members({"results": {"type": "array", "items": result}}),
        "Feedback": _submission(),
        "ErasureAccepted": members(
            {name: text for name in ("id", "application", "subject", "state", "status_url")}
        ),
        "Erasure": members({"id": text, "state": {"enum": ["requested", "done"]}}),
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
                "interaction_id": INTERACTION,
                "kind": "rating",
                "value": 4,
                "user": "customer-17",
            },
        },
        "score": {
            "summary": "Of a metric by name",
            "value": {"receipt": "r1.…", "kind": "score", "name": "helpfulness", "value": 0.8},
        },
        "preference": {
            "summary": "Better than another answer",
            "value": {"receipt": "r1.…", "kind": "preference", "value": {"over": "r2.…"}},
        },
        "retraction": {
            "summary": "Taken back",
            "value": {"receipt": "r1.…", "kind": "thumbs", "retract": True},
        },
    }
    return {
        "summary": "Say something of an answer, change it (a new `id`), or take it back",
        "operationId": "feedback",
        "security": [{}, *KEYED],
        "requestBody": body(ref("Feedback"), examples),
        "responses": {
            "201": {"description": "It is durable.", "content": json_content(ref("Accepted"))},
            **errors(FEEDBACK_STATUSES),
        },
    }


def _batch() -> Json:
    facts = [
        {"interaction_id": INTERACTION, "kind": "copied", "id": "a-1"},
        {"interaction_id": INTERACTION, "kind": "task_completed", "id": "a-2"},
    ]
    examples = {"two": {"summary": "Two facts of a server", "value": {"feedback": facts}}}
    items: Json = {"type": "array", "minItems": 1, "items": {}}
    return {
        "summary": "Say many things at once; each is judged by itself",
        "operationId": "feedback_batch",
        "security": [{}, *KEYED],
        "requestBody": body(members({"feedback": items}), examples),
        "responses": {
            "200": {
                "description": "What became of each, in order; what is accepted is durable.",
                "content": json_content(ref("Results")),
            },
            **errors((400, 413)),
        },
    }


def _erase() -> Json:
    return {
        "summary": "Erase an end user, everywhere; needs a key with scope `admin`",
        "operationId": "erase_subject",
        "security": KEYED,
        "parameters": [
            _path("subject", "The application's own name for the person, as sent in `user`."),
            {
                "name": "hashed",
                "in": "query",
                "description": "`subject` is the person's hash, as tables show it.",
                "schema": {"type": "boolean"},
            },
        ],
        "responses": {
            "202": {
                "description": "The wish is durable and will be carried out.",
                "content": json_content(ref("ErasureAccepted")),
            },
            **errors(SUBJECT_STATUSES),
        },
    }


def _erasure() -> Json:
    return {
        "summary": "How far an erasure is, and which adapters were trained on the person",
        "operationId": "erasure",
        "security": KEYED,
        "parameters": [_path("erasure_id", "As the wish was answered.")],
        "responses": {
            "200": {"description": "Its state.", "content": json_content(ref("Erasure"))},
            **errors(SUBJECT_STATUSES),
        },
    }


def _path(name: str, description: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }


def _submission() -> Json:
    def text(max_chars: int) -> Json:
        return {"type": ["string", "null"], "minLength": 1, "maxLength": max_chars}

    other = text(MAX_RECEIPT_CHARS)
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["kind"],
        "anyOf": [{"required": ["receipt"]}, {"required": ["interaction_id"]}],
        "properties": {
            "receipt": text(MAX_RECEIPT_CHARS),
            "interaction_id": text(MAX_ID_CHARS) | {"format": "uuid"},
            "user": text(MAX_USER_CHARS),
            "id": text(MAX_ID_CHARS),
            "kind": {"enum": list(KINDS)},
            "name": {"type": ["string", "null"], "pattern": f"^{NAME_PATTERN}$"},
            "retract": {"type": ["boolean", "null"]},
            "value": {
                "anyOf": [
                    {"type": ["boolean", "number", "null"]},
                    {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS},
                    {"type": "object", "properties": {"over": other, "by": other}},
                ]
            },
        },
    }
