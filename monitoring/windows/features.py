"""DETECT: one interaction, or one training example, as features. Pure.

Rows go in as the store or a dataset version has them; out come plain values, None where there is
nothing to tell: without text (`metadata_only`) nothing of text, without an answer nothing of it.
What needs more than the row itself (topic, novelty, embedding) is added by others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.refusals import refuses
from monitoring.windows.answer_format import format_valid

GOOD_RATING = 4  # of 5: satisfied, as in a top-two-box score and in the canary's counts

Turn = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """An interaction as it is stored; of a training example most is None."""

    interaction_id: str
    messages: Sequence[Turn]
    answer: str
    started_at: datetime | None = None
    status: str | None = None
    refused: bool | None = None  # as the gateway marked it, where no text is kept
    parameters: Mapping[str, Any] | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Vote:
    """One effective feedback: its kind, and its value if it is a thumb or a rating."""

    kind: str
    thumbs: bool | None = None
    rating: int | None = None

    @property
    def good(self) -> int | None:
        """1 for a good vote, 0 for a bad one, None for what is no vote."""
        if self.thumbs is not None:
            return int(self.thumbs)
        return None if self.rating is None else int(self.rating >= GOOD_RATING)


@dataclass(frozen=True, slots=True)
class Features:
    """The columns of a window that a row tells by itself."""

    interaction_id: str
    started_at: datetime | None
    prompt_chars: int | None
    answer_chars: int | None
    prompt_tokens: int | None
    answer_tokens: int | None
    language: str | None
    refusal: bool | None
    format_valid: bool | None
    latency_s: float | None
    ttft_s: float | None
    cost: float | None
    error: bool | None
    rating: int | None


def features_of(asked: Asked, votes: Sequence[Vote], tell: Callable[[str], str]) -> Features:
    """Return the features; `tell` returns the language of a text."""
    text = prompt_of(asked.messages)
    has_answer = bool(text) and asked.status != "error"
    return Features(
        interaction_id=asked.interaction_id,
        started_at=asked.started_at,
        prompt_chars=prompt_chars(asked.messages) if text else None,
        answer_chars=len(asked.answer) if has_answer else None,
        prompt_tokens=asked.prompt_tokens,
        answer_tokens=asked.answer_tokens,
        language=tell(text) if text else None,
        refusal=refuses(asked.answer) if has_answer else asked.refused,
        format_valid=format_valid(asked.parameters or {}, asked.answer) if has_answer else None,
        latency_s=asked.latency_s,
        ttft_s=asked.ttft_s,
        cost=asked.cost,
        error=None if asked.status is None else asked.status == "error",
        rating=_rating(votes),
    )


def prompt_of(messages: Sequence[Turn]) -> str:
    """Return the last thing that the user said; of a text to complete, the text."""
    turns = [turn for turn in messages if turn.get("role") not in ("assistant", "system")]
    mine = [turn for turn in turns if turn.get("role") == "user"] or turns
    return _content(mine[-1]) if mine else ""


def prompt_chars(messages: Sequence[Turn]) -> int:
    """Return how long everything is that the model was given."""
    return sum(len(_content(turn)) for turn in messages)


def _content(turn: Turn) -> str:
    content = turn.get("content")
    return content if isinstance(content, str) else ""


def _rating(votes: Sequence[Vote]) -> int | None:
    """Return the last vote, 1 if it is good."""
    values = [vote.good for vote in votes if vote.good is not None]
    return values[-1] if values else None
