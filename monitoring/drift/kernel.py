"""Embeddings compared: the maximum mean discrepancy with random Fourier features.

Vectors of a reference and a window come in; a permutation p-value and an effect size go out. The
effect says how well one can tell which side a vector is from: Cliff's delta of the witness
function, learnt on half of the rows and measured on the others. Knows no model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitoring.drift.effects import cliffs_delta
from monitoring.drift.sample import Floats, Vectors, thinned
from monitoring.drift.twosample import permutation_p

MEDIAN_ROWS = 500  # whose distances set the kernel's width: it only has to be about right


@dataclass(frozen=True)
class KernelFinding:
    """How sure (`p`) and how large (`delta`, 0-1) the difference of two sets of vectors is."""

    p: float
    delta: float
    mmd2: float  # squared discrepancy, biased


def compare_vectors(
    reference: Vectors,
    window: Vectors,
    generator: np.random.Generator,
    *,
    features: int,
    rows: int,
    permutations: int,
) -> KernelFinding:
    """Return the comparison of at most `rows` vectors of each side.

    The width is the median distance of the pooled rows, so a permutation does not change it.
    Source: Gretton et al. 2012; Rahimi and Recht 2007.
    """
    before, after = thinned(reference, rows, generator), thinned(window, rows, generator)
    pooled = np.concatenate([before, after]).astype(np.float32)
    mapped = _fourier(pooled, median_distance(pooled, generator), features, generator)
    mapped -= mapped.mean(axis=0)
    count = len(after)
    observed = float(_discrepancies(mapped[None, len(before) :].sum(axis=1), len(mapped), count)[0])

    def draw(times: int) -> Floats:
        places = generator.random((times, len(mapped)), dtype=np.float32)
        chosen = np.zeros(places.shape, dtype=np.float32)
        picks = np.argpartition(places, count - 1, axis=1)[:, :count]
        np.put_along_axis(chosen, picks, 1.0, axis=1)
        return _discrepancies(chosen @ mapped, len(mapped), count)

    p = permutation_p(observed, draw, permutations)
    return KernelFinding(p, _witness_delta(mapped, len(before), generator), observed)


def median_distance(vectors: Vectors, generator: np.random.Generator) -> float:
    """Return the median distance of two different rows; 1 where all are the same."""
    some = thinned(vectors, MEDIAN_ROWS, generator).astype(np.float64)
    squares = (some**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * some @ some.T
    upper = distances[np.triu_indices(len(some), 1)]
    median = float(np.sqrt(max(0.0, float(np.median(upper))))) if len(upper) else 0.0
    return median if median > 1e-6 else 1.0


def _fourier(
    vectors: Vectors, width: float, features: int, generator: np.random.Generator
) -> Vectors:
    """Return cosines and sines whose products are about the Gaussian kernel of that width."""
    half = max(1, features // 2)
    directions = generator.standard_normal((vectors.shape[1], half), dtype=np.float32) / width
    angles = vectors @ directions.astype(np.float32)
    mapped = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return (mapped / np.sqrt(half)).astype(np.float32)


def _discrepancies(sums: Vectors, rows: int, count: int) -> Floats:
    """Return the squared distance of the two means; the pooled mean is 0, so one sum tells both."""
    scale = 1.0 / count + 1.0 / (rows - count)
    return ((sums.astype(np.float64) * scale) ** 2).sum(axis=1)


def _witness_delta(mapped: Vectors, before: int, generator: np.random.Generator) -> float:
    """Return how well a half of the rows tells the other half's sides apart."""
    old = mapped[:before][generator.permutation(before)]
    new = mapped[before:][generator.permutation(len(mapped) - before)]
    if min(len(old), len(new)) < 2:
        return 0.0
    direction = new[::2].mean(axis=0) - old[::2].mean(axis=0)
    scores_old = (old[1::2] @ direction).astype(np.float64)
    scores_new = (new[1::2] @ direction).astype(np.float64)
    return max(0.0, cliffs_delta(scores_old, scores_new))
