"""A suite of the gate: whose questions, by which metric, and how much worse is too much. Pure.

Values of a TOML file go in (`retrain.gate.suite_files` reads it), a frozen `Suite` comes out. What
a metric means is in `retrain.gate.scores`; what follows of the scores, in `retrain.gate.verdict`.

Source: fine-tuning guide, "Benchmark Suite Creation" and "Evaluation Framework".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Source = Literal["test", "regression", "wins", "safety", "examples"]
Against = Literal["live", "base", "none"]
# What a failure means: it stops the adapter, it asks a person, or it is only told.
Worst = Literal["fail", "needs a person", "report"]


# The role of an answer, by that of what comes before it; others: the assistant's.
ANSWERED_AS: Mapping[str, str] = {"prompt": "completion"}


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One question of a suite's own: a prompt or a conversation, and what its answer should be."""

    prompt: str = ""
    messages: tuple[dict[str, str], ...] = ()
    answer: str = ""
    schema: dict[str, Any] | None = None  # a JSON schema, for the metric fits_schema

    @property
    def conversation(self) -> tuple[dict[str, str], ...]:
        """The messages that a model is asked."""
        return self.messages or ({"role": "user", "content": self.prompt},)


class Suite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One suite. A limit that is None is that of the settings, or of no rule of this kind."""

    purpose: str  # in a line, for reports
    source: Source
    metric: str
    name: str = ""  # of its file
    against: Against = "live"
    worst: Worst = "fail"
    min_score: float | None = None  # of the candidate alone
    max_drop: float | None = None  # below the other model's mean score
    max_doubt: float | None = None  # a drop that must be ruled out, or a person decides
    min_kept: float | None = None  # share of the other model's score; goes before max_drop
    perturb: tuple[str, ...] = ()  # names of retrain.gate.perturb: each makes further questions
    limit: int = 0  # questions; 0: as the settings say
    max_tokens: int = 0  # of an answer; 0: a quarter more than its reference has
    labels: tuple[str, ...] = ()  # for accuracy
    pattern: str = ""  # for fits_pattern
    file: str = ""  # JSON Lines beside the TOML file, with what `examples` has
    examples: tuple[Item, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """One thing to ask: its messages, and what the answer is held against."""

    messages: tuple[dict[str, str], ...]
    reference: str = ""  # "" where there is none
    schema: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """Equal questions have equal keys, 64 hex characters: those of `retrain.examples` where
        there is a reference.
        """
        turns = [[message["role"], message["content"]] for message in self.messages]
        turns.append([ANSWERED_AS.get(self.messages[-1]["role"], "assistant"), self.reference])
        return hashlib.sha256(json.dumps(turns).encode()).hexdigest()

    @property
    def prompt(self) -> str:
        """What the user says last."""
        return self.messages[-1]["content"]


class Answer(msgspec.Struct, frozen=True):
    """What a model said to a question, and what that took."""

    text: str
    tokens: int
    seconds: float  # from the asking to the last token, beside the others that were asked
    cut: bool = False  # it would have gone on


class SuiteScores(msgspec.Struct, frozen=True):
    """A suite that was asked: the scores of each question, in one order.

    `other` is empty where the suite compares with nobody. `skipped` says why nothing was asked.
    `whole` has numbers over all questions together, as (candidate, other).
    """

    suite: Suite
    keys: tuple[str, ...] = ()
    candidate: tuple[float, ...] = ()
    other: tuple[float, ...] = ()
    whole: dict[str, tuple[float, float | None]] = {}
    unscored: int = 0  # questions that the metric cannot score
    skipped: str | None = None


def changed(question: Question, text: str) -> Question:
    """Return the question with another last message."""
    last = dict(question.messages[-1]) | {"content": text}
    return msgspec.structs.replace(question, messages=(*question.messages[:-1], last))


def plain(suite: Suite) -> Mapping[str, Any]:
    """Return what a suite asks for, without its questions, for reports."""
    values = msgspec.to_builtins(suite)
    return {name: value for name, value in values.items() if name != "examples" and value}
