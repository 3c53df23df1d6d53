"""Questions → answers of each model, asked once, kept in the run's folder while the gate works.

    answers/candidate.jsonl  live.jsonl  base.jsonl   one answer a line, by the ask's key
    answers/judge.jsonl                               both answers, for a judge to compare

A gate that was killed goes on with what was answered. The folder holds users' words, so it goes
when the verdict is there. Who answers is an `Answerer`: vLLM, or `generate` of transformers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from retrain.gate.suite import Answer, Question
from retrain.gate.verdict import Answering, quantile

FOLDER = "answers"
JUDGE_FILE = "judge.jsonl"

Label = Literal["candidate", "live", "base"]
Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Model:
    """One of the models that are asked: an adapter's (or a full model's) folder, or the base."""

    label: Label
    folder: Path | None  # None: the base model


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt as token ids, the same that training would see, and how long the answer may be."""

    prompt_ids: tuple[int, ...]
    max_tokens: int

    @property
    def key(self) -> str:
        """Equal asks have equal keys."""
        return hashlib.sha256(json.dumps([self.max_tokens, *self.prompt_ids]).encode()).hexdigest()


Heard = Callable[[Ask, Answer], None]


class Answerer(Protocol):
    """Who answers greedily."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    def answer(self, model: Model, asks: Sequence[Ask], heard: Heard) -> None:
        """Answer every ask; `heard` gets each with its answer at once, in any order.

        Raises: GateError when it cannot.
        """
        ...


class ToJudge(msgspec.Struct):
    """Both answers to a question, for a judge to compare."""

    suite: str
    question: Question
    candidate: str
    live: str


class _Line(msgspec.Struct):
    key: str
    answer: Answer


def answer_all(
    folder: Path, by: Answerer, model: Model, asks: Sequence[Ask], tell: Tell
) -> dict[str, Answer]:
    """Return the answer to each ask by its key; what an earlier attempt heard is not asked again.

    `tell` hears of each answer.

    Raises: GateError.
    """
    path = folder / FOLDER / f"{model.label}.jsonl"
    path.parent.mkdir(exist_ok=True)
    wanted = {ask.key: ask for ask in asks}
    known = {key: answer for key, answer in _read(path).items() if key in wanted}
    tell(len(known))
    missing = [ask for key, ask in wanted.items() if key not in known]
    if not missing:
        return known
    with path.open("ab") as file:

        def heard(ask: Ask, answer: Answer) -> None:
            known[ask.key] = answer
            file.write(msgspec.json.encode(_Line(ask.key, answer)) + b"\n")
            file.flush()
            tell(1)

        by.answer(model, missing, heard)
    return known


def forget_answers(folder: Path) -> None:
    """Take away what was said in a run's folder: users' words, which the verdict does not need."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def summary(answers: Sequence[Answer], seconds: float, usd_per_hour: float | None) -> Answering:
    """Return what answering took; `seconds` from the first question to the last answer."""
    times = [answer.seconds for answer in answers]
    return Answering(
        answers=len(answers),
        tokens=sum(answer.tokens for answer in answers),
        seconds=seconds,
        median_s=quantile(times, 0.5),
        p95_s=quantile(times, 0.95),
        usd=usd_per_hour * seconds / 3600.0 if usd_per_hour is not None else None,
    )


def _read(path: Path) -> dict[str, Answer]:
    """Return what was answered before; a line that was cut off by a kill is asked again."""
    found: dict[str, Answer] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            read = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError:
            continue
        found[read.key] = read.answer
    return found
