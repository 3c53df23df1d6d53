"""Candidate against live on held-out examples: the `evaluate` phase of a job.

The saved adapter is loaded afresh, as serving will, and both models pass through the same
code: loss per answer token, and greedy answers scored against the references. Numbers come
out; `retrain.gate.verdict` judges them. Imports torch: only the job imports this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoTokenizer

from retrain.examples import Example, load_split, sample, without
from retrain.gate.scoring import exact_match, mean, token_f1
from retrain.gate.verdict import MIN_EXAMPLES, Evaluation
from retrain.recipe import Recipe
from retrain.runs.progress import Reporter, TrainProgress
from retrain.runs.spec import Comparison, JobSpec, trained_folder
from retrain.tokens import IGNORED, Encoded, encode, use_template
from retrain.training.methods import load_trained, resolve_dtype

MAX_NEW_TOKENS = 128  # a longer answer is cut and scored as it is
ROOM = 1.25  # an answer may be so much longer than its batch's longest reference
BATCH = 16  # prompts generated at once; measured on 2 cores, more gains nothing


@dataclass(frozen=True)
class Question:
    """One held-out example with its ids."""

    example: Example
    encoded: Encoded


@dataclass(frozen=True)
class Measured:
    """How one model does: in all, and the token-F1 of each question by its key."""

    evaluation: Evaluation
    scores: Mapping[str, float]


def evaluate(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> dict[str, Comparison]:
    """Return the comparison on every held-out set that has examples: `test`, `regression`.

    `regression` is the test split of what the live adapter learnt from: a dataset that
    was spoiled since then cannot vouch for itself there.
    """
    with reporter.phase("evaluate"):
        tokenizer = use_template(
            AutoTokenizer.from_pretrained(spec.base_model, padding_side="left"), recipe.template
        )
        sets = _sets(spec, recipe, tokenizer)
        total = 2 * sum(len(questions) for questions in sets.values())
        tell = _counter(reporter, total)
        dtype = resolve_dtype(recipe.dtype)
        by_model: list[dict[str, Measured]] = []
        live_folder = Path(spec.live_adapter) if spec.live_adapter else None
        for folder in (trained_folder(reporter.folder), live_folder):
            model = load_trained(spec.base_model, folder, dtype).eval()
            by_model.append({k: _measure(model, tokenizer, q, tell) for k, q in sets.items()})
            del model
    candidate, live = by_model
    return {name: _compared(candidate[name], live[name]) for name in sets}


def _compared(candidate: Measured, live: Measured) -> Comparison:
    worse = [key for key, score in candidate.scores.items() if score < live.scores[key]]
    return Comparison(candidate.evaluation, live.evaluation, tuple(sorted(worse)))


def _sets(spec: JobSpec, recipe: Recipe, tokenizer: Any) -> dict[str, list[Question]]:
    """Return the held-out sets; together they have at most `gate_examples` questions."""
    dataset = Path(spec.dataset)
    test = load_split(dataset, "test")
    regression: list[Example] = []
    if spec.seen_dataset is not None:
        # what has become training data since then is no test any more
        known = test + load_split(dataset, "train") + load_split(dataset, "validation")
        regression = without(load_split(Path(spec.seen_dataset), "test"), known)
    chosen = {"test": test}
    if len(regression) >= MIN_EXAMPLES:
        chosen["regression"] = regression
    share = math.ceil(spec.gate_examples / len(chosen))
    sets = {
        name: _questions(tokenizer, sample(examples, share), recipe.max_length)
        for name, examples in chosen.items()
    }
    return {name: questions for name, questions in sets.items() if questions}


def _questions(tokenizer: Any, examples: Sequence[Example], max_length: int) -> list[Question]:
    """Return the questions that fit, short references first: batches end together."""
    pairs = [Question(example, encode(tokenizer, example)) for example in examples]
    fitting = [pair for pair in pairs if len(pair.encoded.input_ids) <= max_length]
    return sorted(fitting, key=lambda pair: len(pair.encoded.answer_ids))


@torch.inference_mode()
def _measure(
    model: Any, tokenizer: Any, questions: Sequence[Question], tell: Callable[[int], None]
) -> Measured:
    nll, tokens = 0.0, 0
    scores: dict[str, float] = {}
    matches: list[float] = []
    for batch in _batches(questions):
        batch_nll, batch_tokens = _loss(model, tokenizer, [q.encoded for q in batch])
        nll, tokens = nll + batch_nll, tokens + batch_tokens
        answers = _answers(model, tokenizer, batch)
        for question, answer in zip(batch, answers, strict=True):
            scores[question.example.key] = token_f1(answer, question.example.answer)
            matches.append(float(exact_match(answer, question.example.answer)))
        tell(len(batch))
    score = mean([scores[question.example.key] for question in questions])
    return Measured(Evaluation(nll / tokens, score, len(questions), mean(matches)), scores)


def _batches(questions: Sequence[Question]) -> Iterator[Sequence[Question]]:
    for start in range(0, len(questions), BATCH):
        yield questions[start : start + BATCH]


def _loss(model: Any, tokenizer: Any, encoded: Sequence[Encoded]) -> tuple[float, int]:
    """Return the summed negative log-likelihood of the answers, and their number of tokens."""
    longest = max(len(item.input_ids) for item in encoded)
    padding = [longest - len(item.input_ids) for item in encoded]
    pad_id = tokenizer.pad_token_id
    rows = list(zip(encoded, padding, strict=True))
    ids_B_T = torch.tensor([item.input_ids + [pad_id] * pad for item, pad in rows])
    labels_B_T = torch.tensor([item.labels + [IGNORED] * pad for item, pad in rows])[:, 1:]
    mask_B_T = torch.tensor([[1] * len(item.input_ids) + [0] * pad for item, pad in rows])
    device = model.device
    logits_B_T_V = model(input_ids=ids_B_T.to(device), attention_mask=mask_B_T.to(device)).logits
    logits_B_T_V = logits_B_T_V[:, -ids_B_T.shape[1] : -1]  # a soft prompt's come first
    known_B_T = labels_B_T != IGNORED
    logits_N_V = logits_B_T_V[known_B_T.to(device)].float()
    nll = functional.cross_entropy(logits_N_V, labels_B_T[known_B_T].to(device), reduction="sum")
    return float(nll), int(known_B_T.sum())


def _answers(model: Any, tokenizer: Any, batch: Sequence[Question]) -> list[str]:
    """Return the greedy answers, cut a little past the batch's longest reference."""
    longest = max(len(question.encoded.answer_ids) for question in batch)
    prompts = tokenizer.pad(
        {"input_ids": [question.encoded.prompt_ids for question in batch]}, return_tensors="pt"
    ).to(model.device)
    generated = model.generate(
        **prompts,
        max_new_tokens=min(MAX_NEW_TOKENS, math.ceil(longest * ROOM)),
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    fresh = generated[:, prompts["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(fresh, skip_special_tokens=True)]


def _counter(reporter: Reporter, total: int) -> Callable[[int], None]:
    done = 0

    def tell(examples: int) -> None:
        nonlocal done
        done += examples
        reporter.tell(TrainProgress("evaluate", step=done, total_steps=total))

    return tell
