"""CURATE: review items and what people said of them, on their way to and from other tools.

`label_studio` and `argilla` write and read these. Values only, and how a wrong record is told: by
its id and the field in it. Comparisons stay here: which answer a person sees first is decided by
who they are. Knows no store, no file and no tool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn, cast

from core.errors import DataError, RequestError
from curation.review.words import BEST_MARK, CHOICES, RUBRIC, Choice, Decision, check
from feedback.events import Message

ASKED = dict(  # what each mark of the rubric asks
    zip(
        RUBRIC,
        (
            "Is what it says true?",
            "Does it answer what was asked?",
            "Is nothing missing?",
            "Is it clear, and in a fitting tone?",
            "Is it harmless to everybody?",
        ),
        strict=True,
    )
)
OFFERED: tuple[Choice, ...] = CHOICES[:4]  # of items that are no comparisons


@dataclass(frozen=True, slots=True)
class Told:
    """What one person said of one item."""

    candidate_id: str
    reviewer: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Item:
    """An item for people elsewhere, with what was said of it so far."""

    candidate_id: str
    messages: tuple[Message, ...]  # the last is the answer to judge
    rejected: str | None = None  # of a pair: the answer that lost
    told: tuple[Told, ...] = ()

    @property
    def answer(self) -> str:
        """The answer to judge."""
        return self.messages[-1].content


def refused(record: str, name: str, problem: str) -> NoReturn:
    """Raise what tells which field of which record is wrong. Raises: DataError."""
    raise DataError(f"record {record}, {name}: {problem}", field=name)


def table_of(value: Any, record: str, name: str) -> dict[str, Any]:
    """Return a JSON object. Raises: DataError."""
    if not isinstance(value, dict):
        refused(record, name, f"is {_kind(value)}, not an object")
    return cast("dict[str, Any]", value)


def list_of(value: Any, record: str, name: str) -> list[Any]:
    """Return a JSON array. Raises: DataError."""
    if not isinstance(value, list):
        refused(record, name, f"is {_kind(value)}, not an array")
    return cast("list[Any]", value)


def text_of(value: Any, record: str, name: str) -> str:
    """Return a string. Raises: DataError."""
    if not isinstance(value, str):
        refused(record, name, f"is {_kind(value)}, not a string")
    return value


def choice_of(value: Any, record: str, name: str) -> Choice:
    """Return one of `OFFERED`. Raises: DataError."""
    if value not in OFFERED:
        refused(record, name, f"{value!r} is none of {', '.join(OFFERED)}")
    return value


def mark_of(value: Any, record: str, name: str) -> int:
    """Return a mark from 1 to `BEST_MARK`. Raises: DataError."""
    if type(value) is not int or not 1 <= value <= BEST_MARK:
        refused(record, name, f"{value!r} is no whole number from 1 to {BEST_MARK}")
    return value


def checked(told: Told, where: str) -> Told:
    """Return what was told if the desk could take it. Raises: DataError."""
    try:
        check(told.decision, "demonstration")  # a pair is decided in the same way
    except RequestError as error:
        refused(told.candidate_id, f"{where}.{error.field}", error.message)
    return told


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
