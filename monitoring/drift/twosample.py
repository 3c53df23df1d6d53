"""How sure a difference is: p-values of two samples, exact or by permutation where counts are few.

Arrays and counts of a reference and a window come in, a p-value goes out: under no drift it is
below x with probability at most x. Knows no threshold and no other column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from monitoring.drift.columns import Worse
from monitoring.drift.sample import Floats

COCHRAN_EXPECTED = 5.0  # in every cell, for chi-square to hold. Source: Cochran 1954
ENOUGH_ABOVE = 20  # permuted statistics above the observed one: then p is known well enough
BATCH = 500

Draw = Callable[[int], Floats]  # so many statistics under no drift


def numbers_p(reference: Floats, window: Floats) -> float:
    """Return the p-value of the two-sample Kolmogorov-Smirnov test; ties make it larger.

    Source: Hodges 1958.
    """
    result: Any = stats.ks_2samp(reference, window, method="asymp")  # its type is not told
    return float(result.pvalue)


def labels_p(
    reference: Floats, window: Floats, generator: np.random.Generator, permutations: int
) -> float:
    """Return the p-value of equal shares of categories, from counts.

    Pearson's chi-square; where a cell expects under five, the same statistic by permutation.
    """
    used = (reference + window) > 0.0
    before, after = reference[used], window[used]
    if len(before) < 2:
        return 1.0
    total = before + after
    share = after.sum() / total.sum()
    observed = float(_chi_square(after, total, share))
    if total.min() * min(share, 1.0 - share) >= COCHRAN_EXPECTED:
        return float(stats.chi2.sf(observed, len(total) - 1))

    def draw(count: int) -> Floats:
        drawn = generator.multivariate_hypergeometric(
            total.astype(np.int64), int(after.sum()), size=count, method="marginals"
        )
        return _chi_square(drawn.astype(np.float64), total, share)

    return permutation_p(observed, draw, permutations)


def _chi_square(after: Floats, total: Floats, share: float) -> Floats:
    """Return the statistic over the last axis; `after` is one row of the two-row table."""
    return ((after - share * total) ** 2 / (share * (1.0 - share) * total)).sum(axis=-1)


def flags_p(before: tuple[int, int], after: tuple[int, int], worse: Worse) -> float:
    """Return the p-value of Fisher's exact test of two (ones, rows), on the side that is worse.

    Source: Fisher 1935; both sides are twice the smaller one.
    """
    ones, rows = before[0] + after[0], before[1] + after[1]
    law = stats.hypergeom(rows, ones, after[1])
    up, down = float(law.sf(after[0] - 1)), float(law.cdf(after[0]))
    sides = {"up": up, "down": down, "either": 2.0 * min(up, down)}
    return min(1.0, sides[worse])


def permutation_p(observed: float, draw: Draw, permutations: int) -> float:
    """Return the p-value of a statistic by draws under no drift, as few as are needed.

    It stops once `ENOUGH_ABOVE` draws reached the observed one: a valid p-value that costs little
    where there is no drift. Source: Besag and Clifford 1991.
    """
    above, done = 0, 0
    batch = 4 * ENOUGH_ABOVE  # most p-values are not small
    while done < permutations:
        drawn = draw(min(batch, permutations - done))
        reached = np.cumsum(drawn >= observed * (1.0 - 1e-12))
        if above + reached[-1] >= ENOUGH_ABOVE:
            stopped = int(np.searchsorted(reached, ENOUGH_ABOVE - above)) + 1
            return ENOUGH_ABOVE / (done + stopped)
        above, done, batch = above + int(reached[-1]), done + len(drawn), BATCH
    return (above + 1) / (permutations + 1)
