"""CURATE: the words of review, and what several reviewers together say of one item.

Decisions come in, a verdict goes out: pure. A verdict needs a majority; where approvals and
rejections are equal in number one more reviewer is asked. Who corrects an answer says that its
prompt is worth learning, so a correction counts as an approval and its text wins. Knows no store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal, get_args

from core.errors import RequestError

ItemKind = Literal["demonstration", "pair", "comparison", "calibration"]
ShownKind = Literal["demonstration", "pair", "comparison"]  # a calibration item looks like these
Because = Literal["random", "uncertain", "disputed", "novel", "failed_gate", "augmented"]
Choice = Literal["approve", "reject", "correct", "skip", "prefer"]
Seen = Literal["first", "second", "tie"]  # of two answers, by their place on the reviewer's screen
Preferred = Literal["a", "b", "tie"]  # the same, by adapter
Position = Literal["ab", "ba"]  # whose answer was shown first
Says = Literal["approved", "rejected", "corrected"]

RUBRIC = ("accuracy", "relevance", "completeness", "style", "safety")  # guide: "Human review"
BEST_MARK = 5
MAX_REASON_CHARS = 2_000
MAX_TEXT_CHARS = 200_000  # as curation.quality.max_message_chars: a larger one is no answer
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one reviewer says of one item.

    Of a comparison: `prefer` with `preferred`, or `skip`. Of all else: `approve`, `reject`,
    `correct` with the whole corrected answer in `text`, or `skip`. Marks are 1 (worst) to 5.
    """

    choice: Choice
    preferred: Seen | None = None
    rubric: Mapping[str, int] = field(default_factory=dict[str, int])  # of RUBRIC; any may lack
    reason: str = ""
    text: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewVerdict:
    """What the reviewers of a candidate say together; `text` is the answer to learn instead."""

    says: Says
    text: str | None = None


def check(decision: Decision, kind: ShownKind) -> None:
    """Return if the decision is one that an item of this kind can have.

    Raises: RequestError that names the field.
    """
    allowed = ("prefer", "skip") if kind == "comparison" else CHOICES[:4]
    if decision.choice not in allowed:
        raise RequestError(
            f"decision {decision.choice!r} does not fit a {kind}: say one of {', '.join(allowed)}",
            field="decision",
        )
    if (decision.preferred is not None) != (decision.choice == "prefer"):
        raise RequestError(
            "preferred (first, second or tie) goes with the decision prefer, and with no other",
            field="preferred",
        )
    _check_rubric(decision.rubric)
    _check_text(decision.reason, MAX_REASON_CHARS, "reason")
    _check_correction(decision)


def _check_rubric(rubric: Mapping[str, int]) -> None:
    for name, mark in rubric.items():
        if name not in RUBRIC:
            raise RequestError(
                f"rubric {name!r} is unknown: there are {', '.join(RUBRIC)}", field="rubric"
            )
        if isinstance(mark, bool) or mark not in range(1, BEST_MARK + 1):
            raise RequestError(
                f"rubric {name} is {mark!r}: give 1 (worst) to {BEST_MARK}", field="rubric"
            )


def _check_correction(decision: Decision) -> None:
    if (decision.text is not None) != (decision.choice == "correct"):
        raise RequestError(
            "text, the whole corrected answer, goes with the decision correct, and with no other",
            field="text",
        )
    if decision.text is not None:
        _check_text(decision.text, MAX_TEXT_CHARS, "text")
        if not decision.text.strip():
            raise RequestError("text is empty: write the answer, or say reject", field="text")


def _check_text(text: str, max_chars: int, field: str) -> None:
    if len(text) > max_chars:
        raise RequestError(
            f"{field} has {len(text):,} characters: shorten it to {max_chars:,}", field=field
        )
    if "\0" in text or not _is_unicode(text):
        raise RequestError(
            f"{field} holds a NUL or half a surrogate pair, which no database keeps: remove it",
            field=field,
        )


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def verdict(choices: Sequence[tuple[Choice, str | None]], needed: int) -> ReviewVerdict | None:
    """Return what the reviewers say, in the order they said it; None while it is open.

    `needed` reviewers must have decided, skips not counted; a draw is no verdict.
    """
    given = [(choice, text) for choice, text in choices if choice != "skip"]
    rejections = sum(choice == "reject" for choice, _ in given)
    if len(given) < needed or 2 * rejections == len(given):
        return None
    if 2 * rejections > len(given):
        return ReviewVerdict("rejected")
    corrections = Counter(text for choice, text in given if choice == "correct")
    if not corrections:
        return ReviewVerdict("approved")
    [(text, _)] = corrections.most_common(1)  # of equal ones the first that was given
    return ReviewVerdict("corrected", text)


def position(item_id: str, reviewer: str) -> Position:
    """Return whose answer this reviewer sees first: by hash, so that a reload does not swap."""
    return "ab" if sha256(f"{item_id}\0{reviewer}".encode()).digest()[0] % 2 else "ba"


def preferred(seen: Seen, shown: Position) -> Preferred:
    """Return which adapter was preferred by who saw them in that order."""
    if seen == "tie":
        return "tie"
    return "a" if shown[0 if seen == "first" else 1] == "a" else "b"
