"""Questions → token ids: what each suite asks of a model, as training would see it.

A job, its recipe and the tokenizer go in; suites with their questions as ids come out. What does
not fit into the recipe's length is left out. Knows no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from retrain.examples import Example
from retrain.gate.answering import Ask
from retrain.gate.questions import Asked, gather
from retrain.gate.suite import ANSWERED_AS, Question, Suite
from retrain.recipe import Recipe
from retrain.runs.spec import JobSpec
from retrain.tokens import Encoded, encode

ROOM, MORE = 1.25, 8  # an answer may be so much longer than its reference, and so many tokens more


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question as ids: what to ask, and the reference's likelihood to measure."""

    question: Question
    ask: Ask
    encoded: Encoded | None  # None without a reference


@dataclass(frozen=True, slots=True)
class Ready:
    """A suite with its questions as ids; `skipped` says why there are none."""

    suite: Suite
    prepared: tuple[Prepared, ...]
    skipped: str | None = None


def prepare(spec: JobSpec, recipe: Recipe, tokenizer: Any) -> list[Ready]:
    """Return the job's suites with the questions that fit into the recipe's length.

    Raises: DataError for a dataset version that cannot be read.
    """
    return [_ready(asked, spec, recipe, tokenizer) for asked in gather(spec)]


def _ready(asked: Asked, spec: JobSpec, recipe: Recipe, tokenizer: Any) -> Ready:
    prepared = [_prepared(asked, question, spec, tokenizer) for question in asked.questions]
    fitting = tuple(one for one in prepared if _length(one) <= recipe.max_length)
    skipped = asked.skipped
    if prepared and not fitting:
        skipped = f"none of its {len(prepared)} questions fits max_length = {recipe.max_length}"
    return Ready(asked.suite, fitting, skipped)


def _length(prepared: Prepared) -> int:
    encoded = prepared.encoded
    return len(encoded.input_ids) if encoded else len(prepared.ask.prompt_ids)


def _prepared(asked: Asked, question: Question, spec: JobSpec, tokenizer: Any) -> Prepared:
    role = ANSWERED_AS.get(question.messages[-1]["role"], "assistant")
    # a template may need an answer to render: one word stands in for none
    last = {"role": role, "content": question.reference or "."}
    encoded = encode(tokenizer, Example((*question.messages, last)))
    room = math.ceil(len(encoded.answer_ids) * ROOM) + MORE
    most = spec.gate.max_tokens
    tokens = asked.suite.max_tokens or (min(most, room) if question.reference else most)
    ask = Ask(tuple(encoded.prompt_ids), tokens)
    return Prepared(question, ask, encoded if question.reference else None)
