"""How sure is it that one model scores higher than another on the same questions? Pure.

Two scores of each question go in, an interval of the mean difference comes out: questions are drawn
again and again with replacement, both scores of one together, so that what makes a question easy
for both cancels out. Says nothing of questions that are not like these.

Source: Efron 1979 (the bootstrap); Efron 1987 (BCa: bias-corrected and accelerated); Koehn 2004,
"Statistical Significance Tests for Machine Translation Evaluation" (paired, by question).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError

DRAWS = 10_000  # the ends of a 95 % interval then vary by some hundredths of its width
SAME = 1e-12  # differences that differ by less are rounding
CHUNK = 4_000_000  # numbers drawn at once: 32 MB

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of candidate - live, and where it lies with probability `level`."""

    mean: float
    low: float
    high: float
    level: float
    questions: int


def paired_bootstrap(
    candidate: Sequence[float],
    live: Sequence[float],
    *,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """Return the difference of the means with its BCa interval; equal seeds give equal ones.

    Raises: DataError for no questions, other numbers of them, or scores that are not finite.
    """
    differences_N = np.asarray(candidate, np.float64) - np.asarray(live, np.float64)
    if len(candidate) != len(live) or not len(candidate):
        raise DataError(
            f"{len(candidate)} and {len(live)} scores: there must be one of each model for each "
            "question, and at least one question"
        )
    if not np.isfinite(differences_N).all():
        raise DataError("a score is not finite: leave the question out, and say so")
    mean = float(differences_N.mean())
    if np.ptp(differences_N) < SAME:  # drawn again it is the same again
        return Difference(mean, mean, mean, level, len(candidate))
    means_D = _drawn_means(differences_N, draws, seed)
    low, high = np.quantile(means_D, _bca_levels(differences_N, means_D, level))
    return Difference(mean, float(low), float(high), level, len(candidate))


def _drawn_means(values_N: Numbers, draws: int, seed: int) -> Numbers:
    """Return the mean of each draw."""
    random = np.random.default_rng(seed)
    count = len(values_N)
    rows = max(1, CHUNK // count)
    parts: list[Numbers] = []
    for start in range(0, draws, rows):
        size = (min(rows, draws - start), count)
        parts.append(values_N[random.integers(0, count, size)].mean(axis=1))
    return np.concatenate(parts)


def _bca_levels(values_N: Numbers, means_D: Numbers, level: float) -> tuple[float, float]:
    """Return the quantiles of the draws that are the interval's ends.

    Corrected for how far the draws' middle is from the mean (bias), and for how the spread changes
    with the mean (acceleration, by leaving out one question at a time).
    """
    normal = NormalDist()
    below = float(np.mean(means_D < values_N.mean()) + np.mean(means_D == values_N.mean()) / 2)
    bias = normal.inv_cdf(min(max(below, 1 / len(means_D)), 1.0 - 1 / len(means_D)))
    centred_N = values_N - values_N.mean()
    cubes, squares = float((centred_N**3).sum()), float((centred_N**2).sum())
    acceleration = cubes / (6.0 * squares**1.5)
    tail = (1.0 - level) / 2

    def corrected(share: float) -> float:
        moved = bias + normal.inv_cdf(share)
        return normal.cdf(bias + moved / (1.0 - acceleration * moved))

    return corrected(tail), corrected(1.0 - tail)
