"""How large a difference is, apart from how sure: pure numbers that do not grow with the data.

Arrays or shares of a reference and a window come in, one number goes out, 0 for no difference.
Knows no test and no threshold.
"""

from __future__ import annotations

from math import asin, sqrt

import numpy as np
from scipy import stats

from core.proportions import newcombe
from monitoring.drift.sample import Floats

CONFIDENCE = 0.95  # of the largest fall that is not ruled out


def cliffs_delta(reference: Floats, window: Floats) -> float:
    """Return P(window > reference) - P(window < reference), from -1 to 1.

    Source: Cliff 1993.
    """
    ordered = np.sort(reference)
    below = np.searchsorted(ordered, window, side="left").sum()
    not_above = np.searchsorted(ordered, window, side="right").sum()
    pairs = len(reference) * len(window)
    return float((below - (pairs - not_above)) / pairs)


def wasserstein(reference: Floats, window: Floats) -> float:
    """Return the earth mover's distance in standard deviations of the reference.

    Values more than 1.5 quartile ranges beyond the quartiles would make the deviation theirs, so
    the deviation is at most that of a normal distribution of the same quartile range. A constant
    reference has none: then any distance is one deviation.
    """
    distance = float(stats.wasserstein_distance(reference, window))
    deviation = _deviation(reference)
    if deviation > 0.0:
        return distance / deviation
    return 1.0 if distance > 0.0 else 0.0


def _deviation(values: Floats) -> float:
    deviation = float(values.std())
    low, high = np.quantile(values, (0.25, 0.75))
    robust = float(high - low) / 1.349  # of a normal distribution
    return min(deviation, robust) if robust > 0.0 else deviation


def cramers_v(reference: Floats, window: Floats) -> float:
    """Return Cramér's V of two rows of counts, as if both had equally many, from 0 to 1.

    Equal weights make it comparable: with plain counts it shrinks as the reference outgrows
    the window. Source: Cramér 1946.
    """
    p, q = reference / reference.sum(), window / window.sum()
    both = p + q
    differences = np.divide((p - q) ** 2, both, out=np.zeros_like(both), where=both > 0.0)
    return sqrt(float(differences.sum()) / 2.0)


def jensen_shannon(reference: Floats, window: Floats) -> float:
    """Return the Jensen-Shannon distance of two rows of counts in bits, from 0 to 1.

    Source: Endres and Schindelin 2003.
    """
    p, q = reference / reference.sum(), window / window.sum()
    middle = (p + q) / 2.0
    divergence = (_entropy(p, middle) + _entropy(q, middle)) / 2.0
    return sqrt(max(0.0, divergence))


def _entropy(p: Floats, of: Floats) -> float:
    some = p > 0.0
    return float((p[some] * np.log2(p[some] / of[some])).sum())


def cohens_h(before: float, after: float) -> float:
    """Return the difference of two shares on the scale where its noise is the same everywhere.

    Source: Cohen 1988, chapter 6.
    """
    return 2.0 * (asin(sqrt(after)) - asin(sqrt(before)))


def largest_fall(
    before: tuple[int, int], after: tuple[int, int], confidence: float = CONFIDENCE
) -> float:
    """Return the upper limit of how much the share fell, from (ones, values) of both."""
    old, new = ((ones / values, values) for ones, values in (before, after))
    return newcombe(old, new, 1.0 - confidence)[1]
