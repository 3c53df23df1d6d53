"""The columns that drift watches, what they tell of, and what counts as worse.

DETECT's list. A column belongs to what comes in, what goes out, how people like it, or how the
machinery runs; the last is no reason to train. Knows no values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.drift_settings import Group

Kind = Literal["number", "flag", "label", "embedding", "stream"]
Worse = Literal["up", "down", "either"]
Reference = Literal["healthy_week", "training"]


@dataclass(frozen=True)
class Column:
    """One watched column; `worse` says on which side a change is tested."""

    name: str
    kind: Kind
    group: Group
    title: str  # for people
    worse: Worse = "either"


COLUMNS = (
    Column("embedding", "embedding", "input", "meaning of prompts"),
    Column("topic", "label", "input", "topic"),
    Column("language", "label", "input", "language"),
    Column("novelty", "number", "input", "distance to the training data"),
    Column("prompt_chars", "number", "input", "prompt length, characters"),
    Column("prompt_tokens", "number", "input", "prompt length, tokens"),
    Column("answer_chars", "number", "output", "answer length, characters"),
    Column("answer_tokens", "number", "output", "answer length, tokens"),
    Column("refusal", "flag", "output", "refusals", "up"),
    Column("format_valid", "flag", "output", "answers of the right format", "down"),
    Column("rating", "flag", "quality", "good ratings", "down"),
    Column("rated", "flag", "operation", "answers that were rated"),
    Column("error", "flag", "operation", "errors", "up"),
    Column("latency_s", "number", "operation", "seconds to the whole answer"),
    Column("ttft_s", "number", "operation", "seconds to the first token"),
    Column("cost", "number", "operation", "cost of an answer"),
)
STREAMS = (
    Column("rating_stream", "stream", "quality", "good ratings over several windows", "down"),
    Column("error_stream", "stream", "operation", "errors over several windows", "up"),
)
BY_NAME = {column.name: column for column in (*COLUMNS, *STREAMS)}
STREAM_SOURCE = {"rating_stream": "rating", "error_stream": "error"}

# Training examples are chosen (rated well, corrected, filtered), so that their answers, ratings
# and errors differ from traffic by design; the distance of a training example to itself is 0.
COMPARABLE_WITH_TRAINING = frozenset(
    {"embedding", "topic", "language", "prompt_chars", "prompt_tokens"}
)


def watched(reference: Reference) -> tuple[Column, ...]:
    """Return the columns that can be compared with a reference of that kind."""
    if reference == "training":
        return tuple(column for column in COLUMNS if column.name in COMPARABLE_WITH_TRAINING)
    return COLUMNS
