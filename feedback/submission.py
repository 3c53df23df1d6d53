"""What somebody sent to `POST /v1/feedback`, checked field by field.

A JSON object in, a `Submission` or a RequestError that names the field out. Pure. Knows nothing of
who may send it: receipts and API keys are the route's business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args
from uuid import UUID

import msgspec

from core.errors import RequestError
from core.ids import new_id
from feedback.events import ExplicitKind, FeedbackKind, ImplicitKind

FIELDS = ("receipt", "interaction_id", "kind", "value", "name", "retract", "id", "user")
KINDS: tuple[FeedbackKind, ...] = (*get_args(ExplicitKind), *get_args(ImplicitKind))
NAMED: frozenset[FeedbackKind] = frozenset({"score", "flag"})
MAX_TEXT_CHARS = 20_000  # twice the longest answer of a 2,048-token context, at 4-5 chars a token
MAX_ID_CHARS = 128
MAX_USER_CHARS = 512
MAX_RECEIPT_CHARS = 4_096  # ours have about 400
NAME_PATTERN = r"[a-z0-9][a-z0-9_.-]{0,63}"  # of metrics and categories: they become labels
SHOWN_CHARS = 40  # of a wrong value, in the message

_NAME = re.compile(NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class Claim:
    """An interaction that its application names, and the end user if it wants to say."""

    interaction_id: str
    user: str | None


@dataclass(frozen=True, slots=True)
class Fact:
    """What is stated; which values are set goes by the kind, as in FeedbackGiven.

    `other` is still a receipt, or an interaction's id.
    """

    thumbs: bool | None = None
    rating: int | None = None
    number: float | None = None
    text: str | None = None
    other: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """One feedback as sent, on a receipt or on a claim; `fact` fits `kind`."""

    about: str | Claim
    client_id: str
    kind: FeedbackKind
    fact: Fact
    name: str | None = None
    retracted: bool = False


def parse_submission(raw: bytes) -> Submission:
    """Return the submission in the JSON `raw`; without an `id` it gets a new one.

    Raises: RequestError naming the field that is missing, unknown or wrong.
    """
    return read_submission(_json_object(raw))


def parse_batch(raw: bytes, max_items: int) -> list[Any]:
    """Return the items of a batch as they were sent, to be read one by one.

    Raises: RequestError when it is no batch, or one of too many.
    """
    body = _json_object(raw)
    items = body.get("feedback")
    if not isinstance(items, list) or body.keys() != {"feedback"}:
        message = "send an object with `feedback` only, a list of what `/v1/feedback` takes"
        raise _wrong("feedback", message)
    if not 0 < len(cast(list[Any], items)) <= max_items:
        count = len(cast(list[Any], items))
        raise _wrong("feedback", f"feedback has {count} items: send 1 to {max_items}")
    return cast(list[Any], items)


def read_submission(body: Any) -> Submission:
    """Return the submission in a JSON value; without an `id` it gets a new one.

    Raises: RequestError naming the field that is missing, unknown or wrong.
    """
    if not isinstance(body, dict):
        raise RequestError(f"this is {_shown(body)}: send a JSON object")
    fields = cast(dict[str, Any], body)
    for name in fields:
        if name not in FIELDS:
            message = f"unknown field {_shown(name)}: send only {', '.join(FIELDS)}"
            raise _wrong(name[:SHOWN_CHARS], message)
    about, kind = _about(fields), _kind(fields)
    retracted = _retracted(fields)
    return Submission(
        about=about,
        client_id=_optional_text(fields, "id", MAX_ID_CHARS) or new_id(),
        kind=kind,
        fact=Fact() if retracted else _FACT_OF_KIND.get(kind, _happened)(fields.get("value")),
        name=_name(fields, kind, needed=kind == "score" and not retracted),
        retracted=retracted,
    )


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestError(f"the body is {_shown(body)}: send a JSON object")
    return cast(dict[str, Any], body)


def _about(body: Mapping[str, Any]) -> str | Claim:
    receipt = _optional_text(body, "receipt", MAX_RECEIPT_CHARS)
    interaction_id = _optional_text(body, "interaction_id", MAX_ID_CHARS)
    user = _optional_text(body, "user", MAX_USER_CHARS)
    if receipt is None and interaction_id is None:
        raise _wrong("receipt", "receipt is missing: send it, or interaction_id with an API key")
    if receipt is None:
        return Claim(uuid_text("interaction_id", interaction_id), user)
    for name, other in (("interaction_id", interaction_id), ("user", user)):
        if other is not None:
            raise _wrong(name, f"{name} is set beside receipt: leave it out, the receipt says it")
    return receipt


def uuid_text(field: str, text: str | None) -> str:
    """Return an interaction's id as it is written. Raises: RequestError naming the field."""
    try:
        return str(UUID(text))
    except ValueError as error:
        message = f"{field} is {_shown(text)}: send the id that came with the answer"
        raise _wrong(field, message) from error


def _kind(body: Mapping[str, Any]) -> FeedbackKind:
    for kind in KINDS:
        if body.get("kind") == kind:
            return kind
    raise _wrong("kind", f"kind is {_shown(body.get('kind'))}: send one of {', '.join(KINDS)}")


def _retracted(body: Mapping[str, Any]) -> bool:
    retract = body.get("retract")
    if retract is None or retract is False:
        return False
    if retract is not True:
        raise _wrong("retract", f"retract is {_shown(retract)}: send true, or leave it out")
    if body.get("value") is not None:
        message = "value is set beside retract: leave it out, everything of this kind is taken back"
        raise _wrong("value", message)
    return True


def _name(body: Mapping[str, Any], kind: FeedbackKind, *, needed: bool) -> str | None:
    name = body.get("name")
    if name is None and not needed:
        return None
    if kind not in NAMED:
        raise _wrong("name", f"name is set for a {kind}: only {', '.join(sorted(NAMED))} have one")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(
            "name",
            f"name is {_shown(name)}: send up to 64 of a-z, 0-9, '_', '.', '-'",
        )
    return name


def _optional_text(body: Mapping[str, Any], name: str, max_chars: int) -> str | None:
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


def _thumbs(value: Any) -> Fact:
    if not isinstance(value, bool):
        raise _wrong("value", f"value is {_shown(value)}: thumbs takes true or false")
    return Fact(thumbs=value)


def _rating(value: Any) -> Fact:
    if type(value) is not int or not 1 <= value <= 5:  # True is an int to isinstance
        raise _wrong("value", f"value is {_shown(value)}: rating takes a whole number from 1 to 5")
    return Fact(rating=value)


def _score(value: Any) -> Fact:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise _wrong("value", f"value is {_shown(value)}: score takes a finite number")
    return Fact(number=float(value))


def _words(value: Any) -> Fact:
    return Fact(text=_text("value", value, MAX_TEXT_CHARS))


def _preference(value: Any) -> Fact:
    return Fact(other=_other(value, "over", "the receipt or id of the answer it is better than"))


def _regenerated(value: Any) -> Fact:
    if value is None or value is True:
        return Fact()
    return Fact(other=_other(value, "by", "the receipt or id of the new answer"))


def _happened(value: Any) -> Fact:
    if value is not None and value is not True:
        message = f"value is {_shown(value)}: this kind takes none, or true"
        raise _wrong("value", message)
    return Fact()


def _other(value: Any, key: str, what: str) -> str:
    message = f'value is {_shown(value)}: send {{"{key}": {what}}}'
    if not isinstance(value, dict):
        raise _wrong("value", message)
    fields = cast(dict[str, Any], value)
    if fields.keys() != {key}:
        raise _wrong("value", message)
    return _text(f"value.{key}", fields[key], MAX_RECEIPT_CHARS)


_FACT_OF_KIND: dict[FeedbackKind, Callable[[Any], Fact]] = {
    "thumbs": _thumbs,
    "rating": _rating,
    "score": _score,
    "comment": _words,
    "correction": _words,
    "preference": _preference,
    "regenerated": _regenerated,
}


def _shown(value: Any) -> str:
    """Return the value as the client wrote it, cut short."""
    if value is None:
        return "missing"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _wrong(field: str, message: str) -> RequestError:
    return RequestError(message, field=field)
