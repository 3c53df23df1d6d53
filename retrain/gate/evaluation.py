"""Candidate against live on every suite's questions: the `evaluate` phase of a job.

The saved adapter is loaded afresh, as serving will, and all models are asked the same token ids.
Scores come out; `retrain.gate.verdict` judges them, and a judge is asked where the result is
registered. Imports torch: only the job imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
from transformers import AutoTokenizer

from core.files import write_atomic
from retrain.gate import answering, scores
from retrain.gate.answering import Label
from retrain.gate.embeddings import Embedder, bert_scores
from retrain.gate.hearing import Heard, Loaded, answerer_for, hear
from retrain.gate.metrics.overlap import exact_match, token_f1
from retrain.gate.preparing import Prepared, Ready, prepare
from retrain.gate.scoring import mean
from retrain.gate.suite import Answer, Question, Suite, SuiteScores
from retrain.gate.suite_files import ALWAYS
from retrain.gate.verdict import Evaluation
from retrain.recipe import Recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import Comparison, Examined, JobSpec
from retrain.tokens import use_template

TO_JUDGE = "its judge is asked when the run is registered"


def evaluate(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> Examined:
    """Return how the candidate and the models that it is compared with do on every suite.

    `regression` is the test split of what the live adapter learnt from: a dataset that
    was spoiled since then cannot vouch for itself there.

    Raises: DataError; GateError when the engine that must answer does not.
    """
    with reporter.phase("evaluate"):
        tokenizer = use_template(
            AutoTokenizer.from_pretrained(spec.base_model, padding_side="left"), recipe.template
        )
        asked = prepare(spec, recipe, tokenizer)
        loaded = Loaded(spec, recipe)
        by, told = answerer_for(spec, recipe, loaded, tokenizer)
        heard = hear(spec, asked, by, loaded, reporter)
        suites = {ready.suite.name: _scored(spec, ready, heard) for ready in asked}
        _keep_for_judge(reporter.folder, asked, heard)
    evaluations = {
        ready.suite.name: _compared(ready.prepared, heard["candidate"], heard["live"])
        for ready in asked
        if ready.suite.name in ALWAYS and ready.prepared
    }
    return Examined(evaluations, suites, {k: v.answering for k, v in heard.items()}, told)


def _scored(spec: JobSpec, ready: Ready, heard: Mapping[Label, Heard]) -> SuiteScores:
    suite, prepared, skipped = ready.suite, ready.prepared, ready.skipped
    if skipped is None and suite.metric == "judge":
        skipped = TO_JUDGE
    if skipped is not None or not prepared:
        return SuiteScores(suite, skipped=skipped or "it asks nothing")
    questions = [one.question for one in prepared]
    candidate = _said(prepared, heard["candidate"])
    other = _other(suite.against, heard)
    theirs = _said(prepared, other) if other else None
    score: Callable[[Heard, Sequence[Answer]], list[float | None]]
    if suite.metric == "likelihood":
        score = partial(_likelihoods, prepared)
    elif suite.metric == "bert_score":
        score = partial(_meanings, Embedder(spec.gate.encoder or spec.base_model), questions)
    else:
        score = partial(_by_answer, suite, questions)
    mine = scores.over_all(suite, questions, candidate)
    others = scores.over_all(suite, questions, theirs) if theirs else {}
    return scores.gathered(
        suite,
        questions,
        score(heard["candidate"], candidate),
        score(other, theirs) if other and theirs else None,
        {name: (value, others.get(name)) for name, value in mine.items()},
    )


def _by_answer(
    suite: Suite, questions: Sequence[Question], heard: Heard, answers: Sequence[Answer]
) -> list[float | None]:
    return scores.score(suite, questions, answers)


def _likelihoods(
    prepared: Sequence[Prepared], heard: Heard, answers: Sequence[Answer]
) -> list[float | None]:
    found = (heard.likelihoods.get(one.question.key) for one in prepared)
    return [one.mean if one else None for one in found]


def _meanings(
    embedder: Embedder, questions: Sequence[Question], heard: Heard, answers: Sequence[Answer]
) -> list[float | None]:
    references = [question.reference for question in questions]
    return list(bert_scores(embedder, [answer.text for answer in answers], references))


def _other(against: str, heard: Mapping[Label, Heard]) -> Heard | None:
    if against == "none":
        return None
    return heard.get("base", heard["live"]) if against == "base" else heard["live"]


def _said(prepared: Sequence[Prepared], heard: Heard) -> list[Answer]:
    return [heard.answers[one.ask.key] for one in prepared]


def _compared(prepared: Sequence[Prepared], candidate: Heard, live: Heard) -> Comparison:
    mine, theirs = _f1(prepared, candidate), _f1(prepared, live)
    worse = [one.question.key for one, a, b in zip(prepared, mine, theirs, strict=True) if a < b]
    return Comparison(
        _evaluation(prepared, candidate, mine),
        _evaluation(prepared, live, theirs),
        tuple(sorted(worse)),
    )


def _evaluation(prepared: Sequence[Prepared], heard: Heard, f1: Sequence[float]) -> Evaluation:
    likely = [heard.likelihoods[one.question.key] for one in prepared]
    loss = sum(one.nll for one in likely) / sum(one.tokens for one in likely)
    exact = [
        exact_match(answer.text, one.question.reference)
        for one, answer in zip(prepared, _said(prepared, heard), strict=True)
    ]
    return Evaluation(loss, mean(f1), len(prepared), mean(exact))


def _f1(prepared: Sequence[Prepared], heard: Heard) -> list[float]:
    return [
        token_f1(answer.text, one.question.reference)
        for one, answer in zip(prepared, _said(prepared, heard), strict=True)
    ]


def _keep_for_judge(folder: Path, asked: Sequence[Ready], heard: Mapping[Label, Heard]) -> None:
    """Write both answers for the suites that a judge compares, until the run is registered."""
    lines: list[bytes] = []
    for ready in asked:
        if ready.suite.metric != "judge":
            continue
        answers = (_said(ready.prepared, heard["candidate"]), _said(ready.prepared, heard["live"]))
        for one, mine, theirs in zip(ready.prepared, *answers, strict=True):
            pair = answering.ToJudge(ready.suite.name, one.question, mine.text, theirs.text)
            lines.append(msgspec.json.encode(pair) + b"\n")
    if lines:
        write_atomic(folder / answering.FOLDER / answering.JUDGE_FILE, b"".join(lines))
