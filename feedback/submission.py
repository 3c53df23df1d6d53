"""What somebody sent to `POST /v1/feedback`, checked field by field.

Bytes in, a `Submission` or a RequestError that names the field out. Pure. Knows nothing of who
may send it: receipts and API keys are the route's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, get_args
from uuid import UUID

import msgspec

from core.errors import RequestError
from core.ids import new_id
from feedback.events import FeedbackKind

FIELDS = ("receipt", "interaction_id", "kind", "value", "id", "user")
KINDS: tuple[FeedbackKind, ...] = get_args(FeedbackKind)
MAX_TEXT_CHARS = 20_000  # twice the longest answer of a 2,048-token context, at 4-5 chars a token
MAX_ID_CHARS = 128
MAX_USER_CHARS = 512
MAX_RECEIPT_CHARS = 4_096  # ours have about 400
SHOWN_CHARS = 40  # of a wrong value, in the message


@dataclass(frozen=True, slots=True)
class Claim:
    """An interaction that its application names, and the end user if it wants to say."""

    interaction_id: str
    user: str | None


@dataclass(frozen=True, slots=True)
class Submission:
    """One feedback as sent, on a receipt or on a claim; `value` fits `kind`."""

    about: str | Claim
    client_id: str
    kind: FeedbackKind
    value: bool | int | str


def parse_submission(raw: bytes) -> Submission:
    """Return the submission in the JSON `raw`; without an `id` it gets a new one.

    Raises: RequestError naming the field that is missing, unknown or wrong.
    """
    body = _json_object(raw)
    for name in body:
        if name not in FIELDS:
            message = f"unknown field {_shown(name)}: send only {', '.join(FIELDS)}"
            raise _wrong(name[:SHOWN_CHARS], message)
    about = _about(body)
    kind = _kind(body)
    return Submission(
        about=about,
        client_id=_optional_text(body, "id", MAX_ID_CHARS) or new_id(),
        kind=kind,
        value=_VALUE_OF_KIND[kind](body.get("value")),
    )


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestError(f"the body is {_shown(body)}: send a JSON object")
    return cast(dict[str, Any], body)


def _about(body: dict[str, Any]) -> str | Claim:
    receipt = _optional_text(body, "receipt", MAX_RECEIPT_CHARS)
    interaction_id = _optional_text(body, "interaction_id", MAX_ID_CHARS)
    user = _optional_text(body, "user", MAX_USER_CHARS)
    if receipt is None and interaction_id is None:
        raise _wrong("receipt", "receipt is missing: send it, or interaction_id with an API key")
    if receipt is None:
        return Claim(_uuid(interaction_id), user)
    for name, other in (("interaction_id", interaction_id), ("user", user)):
        if other is not None:
            raise _wrong(name, f"{name} is set beside receipt: leave it out, the receipt says it")
    return receipt


def _uuid(text: str | None) -> str:
    try:
        return str(UUID(text))
    except ValueError as error:
        message = f"interaction_id is {_shown(text)}: send the id that came with the answer"
        raise _wrong("interaction_id", message) from error


def _kind(body: dict[str, Any]) -> FeedbackKind:
    for kind in KINDS:
        if body.get("kind") == kind:
            return kind
    raise _wrong("kind", f"kind is {_shown(body.get('kind'))}: send one of {', '.join(KINDS)}")


def _optional_text(body: dict[str, Any], name: str, max_chars: int) -> str | None:
    value = body.get(name)
    return None if value is None else _text(name, value, max_chars)


def _text(name: str, value: Any, max_chars: int) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, f"{name} is {_shown(value)}: send a string that is not empty")
    if len(value) > max_chars:
        raise _wrong(name, f"{name} has {len(value):,} characters: send at most {max_chars:,}")
    if "\x00" in value:  # no database stores it in text
        raise _wrong(name, f"{name} holds a NUL character: leave it out")
    return value


def _thumbs(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong("value", f"value is {_shown(value)}: thumbs takes true or false")
    return value


def _rating(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 5:  # True is an int to isinstance
        raise _wrong("value", f"value is {_shown(value)}: rating takes a whole number from 1 to 5")
    return value


def _words(value: Any) -> str:
    return _text("value", value, MAX_TEXT_CHARS)


_VALUE_OF_KIND: dict[FeedbackKind, Callable[[Any], bool | int | str]] = {
    "thumbs": _thumbs,
    "rating": _rating,
    "comment": _words,
    "correction": _words,
}


def _shown(value: Any) -> str:
    """Return the value as the client wrote it, cut short."""
    if value is None:
        return "missing"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _wrong(field: str, message: str) -> RequestError:
    return RequestError(message, field=field)
