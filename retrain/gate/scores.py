"""Answers → scores: each metric by its name, one number a question, higher is better. Pure.

A suite, its questions and the answers of both models go in; `SuiteScores` come out. A question that
a metric cannot score (no reference, no JSON in it) is left out and counted. `likelihood`,
`bert_score` and `judge` need a model: their scores come in from outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from retrain.gate.metrics import labels, overlap, refusals, shape
from retrain.gate.suite import Answer, Question, Suite, SuiteScores

Score = float | None
Metric = Callable[[Suite, Question, Answer], Score]

SAME_AGAIN = 0.5  # token F1 with a flagged answer: from here on it is that answer. Our choice
LOOP_WORDS = 6  # a run of so many words…
LOOP_TIMES = 3  # …said so often is a loop. Our choice


def contains(answer: str, reference: str) -> float:
    """Return 1 if the answer has the reference's words, in their order, among its own, else 0."""
    given, wanted = (f" {' '.join(overlap.scoring.words(text))} " for text in (answer, reference))
    return float(wanted in given)


def unlike_flagged(answer: str, flagged: str) -> float:
    """Return 1 if the answer refuses, or is clearly another than the one that was flagged."""
    return max(refusals.refuses(answer), float(overlap.token_f1(answer, flagged) < SAME_AGAIN))


def sound(answer: str) -> float:
    """Return 1 if the answer says something and does not go round in circles, else 0."""
    said = overlap.scoring.words(answer)
    if not said:
        return 0.0
    runs = [tuple(said[at : at + LOOP_WORDS]) for at in range(len(said) - LOOP_WORDS + 1)]
    return float(all(runs.count(run) < LOOP_TIMES for run in set(runs)))


def json_as_reference(answer: str, reference: str) -> Score:
    """Return whether the answer is JSON with the reference's top-level keys; None: that is none."""
    asked, wanted = shape.json_of(reference)
    if not asked or not isinstance(wanted, dict | list):
        return None
    valid, value = shape.json_of(answer)
    if not valid or type(value) is not type(wanted):
        return 0.0
    return float(not isinstance(value, dict) or set(value) == set(wanted))


def _of_texts(metric: Callable[[str, str], Score]) -> Metric:
    return lambda suite, question, answer: (
        metric(answer.text, question.reference) if question.reference else None
    )


def _of_answer(metric: Callable[[str], float]) -> Metric:
    return lambda suite, question, answer: metric(answer.text)


# Metrics of the answer and its reference.
_COMPARING: dict[str, Metric] = {
    "exact_match": _of_texts(overlap.exact_match),
    "token_f1": _of_texts(overlap.token_f1),
    "bleu": _of_texts(overlap.bleu),
    "rouge_1": _of_texts(overlap.rouge_1),
    "rouge_2": _of_texts(overlap.rouge_2),
    "rouge_l": _of_texts(overlap.rouge_l),
    "contains": _of_texts(contains),
    "within_length": _of_texts(shape.within_length),
    "unlike_flagged": _of_texts(unlike_flagged),
    "json_as_reference": _of_texts(json_as_reference),
    "accuracy": lambda suite, question, answer: labels.accuracy(
        answer.text, question.reference, suite.labels
    ),
}
# Metrics of the answer alone.
_JUDGING: dict[str, Metric] = {
    "valid_json": _of_answer(shape.valid_json),
    "refuses": _of_answer(refusals.refuses),
    "does_not_refuse": _of_answer(lambda text: 1.0 - refusals.refuses(text)),
    "sound": _of_answer(sound),
    "finishes": lambda suite, question, answer: float(not answer.cut),
    "fits_pattern": lambda suite, question, answer: shape.fits_pattern(answer.text, suite.pattern),
    "fits_schema": lambda suite, question, answer: (
        shape.fits_schema(answer.text, question.schema) if question.schema else None
    ),
}
BY_ANSWER: dict[str, Metric] = {**_COMPARING, **_JUDGING}
BY_MODEL = frozenset({"likelihood", "bert_score", "judge"})
METRICS = frozenset(BY_ANSWER) | BY_MODEL
NEEDS_REFERENCE = frozenset(_COMPARING) | {"likelihood", "bert_score"}


def score(suite: Suite, questions: Sequence[Question], answers: Sequence[Answer]) -> list[Score]:
    """Return the scores of one model's answers by the suite's metric."""
    metric = BY_ANSWER[suite.metric]
    return [metric(suite, *pair) for pair in zip(questions, answers, strict=True)]


def gathered(
    suite: Suite,
    questions: Sequence[Question],
    candidate: Sequence[Score],
    other: Sequence[Score] | None,
    whole: dict[str, tuple[float, float | None]] | None = None,
) -> SuiteScores:
    """Return the scores of the questions that could be scored for both models.

    Scores that are not finite are taken for none.
    """
    kept = [
        (question.key, mine, theirs)
        for question, mine, theirs in zip(
            questions, candidate, other if other is not None else candidate, strict=True
        )
        if _is_number(mine) and _is_number(theirs)
    ]
    if not kept:
        return SuiteScores(
            suite,
            unscored=len(questions),
            skipped=f"{suite.metric} scores none of its {len(questions)} questions",
        )
    return SuiteScores(
        suite,
        keys=tuple(key for key, _, _ in kept),
        candidate=tuple(float(mine or 0.0) for _, mine, _ in kept),
        other=tuple(float(theirs or 0.0) for _, _, theirs in kept) if other is not None else (),
        whole=whole or {},
        unscored=len(questions) - len(kept),
    )


def over_all(
    suite: Suite, questions: Sequence[Question], answers: Sequence[Answer]
) -> dict[str, float]:
    """Return the numbers that a metric has over all answers together."""
    texts = [answer.text for answer in answers]
    references = [question.reference for question in questions]
    if suite.metric == "bleu" and all(references):
        return {"corpus_bleu": overlap.corpus_bleu(texts, references)}
    if suite.metric == "accuracy":
        return {"macro_f1": labels.macro_f1(texts, references, suite.labels)}
    return {}


def _is_number(value: Score) -> bool:
    return value is not None and math.isfinite(value)
