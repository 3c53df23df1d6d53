"""How much of a reference is in an answer: by words, by runs of words, by meaning. Pure.

Source: Rajpurkar et al. 2016 (token F1, exact match); Papineni et al. 2002 and Post 2018 (BLEU, by
sacrebleu); Lin 2004 (ROUGE, by rouge-score); Zhang et al. 2020, arXiv 1904.09675 (BERTScore).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain.gate import scoring

Embedded = NDArray[np.float32]  # one row a token


def exact_match(answer: str, reference: str) -> float:
    """Return 1 if both have the same words in the same order, else 0."""
    return float(scoring.exact_match(answer, reference))


def token_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of word precision and recall, 0-1."""
    return scoring.token_f1(answer, reference)


def bleu(answer: str, reference: str) -> float:
    """Return the sentence's BLEU, 0-1, smoothed as sacrebleu does for single sentences."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True).sentence_score(answer, [reference]).score / 100.0


def corpus_bleu(answers: Sequence[str], references: Sequence[str]) -> float:
    """Return BLEU over all answers together, 0-1: what papers report."""
    from sacrebleu.metrics.bleu import BLEU

    return BLEU().corpus_score(list(answers), [list(references)]).score / 100.0


def rouge_l(answer: str, reference: str) -> float:
    """Return the F measure of the longest common subsequence of words, 0-1."""
    return _rouge("rougeL").score(reference, answer)["rougeL"].fmeasure


def rouge_1(answer: str, reference: str) -> float:
    """Return the F measure of common words, 0-1."""
    return _rouge("rouge1").score(reference, answer)["rouge1"].fmeasure


def rouge_2(answer: str, reference: str) -> float:
    """Return the F measure of common pairs of words, 0-1."""
    return _rouge("rouge2").score(reference, answer)["rouge2"].fmeasure


def bert_score(answer_T_C: Embedded, reference_T_C: Embedded) -> float:
    """Return the F measure of greedily matched token embeddings, from -1 to 1.

    Rows are made unit vectors; without a token on either side it is 0.
    """
    if not len(answer_T_C) or not len(reference_T_C):
        return 0.0
    alike_A_R = _unit(answer_T_C) @ _unit(reference_T_C).T
    precision = float(alike_A_R.max(axis=1).mean())
    recall = float(alike_A_R.max(axis=0).mean())
    return 2.0 * precision * recall / (precision + recall) if precision + recall else 0.0


def _unit(rows_T_C: Embedded) -> Embedded:
    norms_T_1 = np.linalg.norm(rows_T_C, axis=1, keepdims=True)
    return rows_T_C / np.maximum(norms_T_1, np.finfo(np.float32).tiny)


@cache
def _rouge(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=False)
