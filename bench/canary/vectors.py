"""The e-process of `monitoring.eprocess` over arrays: thousands of rollouts at all their looks.

Arrays of counts in, arrays of log E out. The tests hold it to the scalar code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int32]
Floats = NDArray[np.float64]
LGAMMA: dict[str, Floats] = {}


@dataclass(frozen=True)
class Cells:
    """Hits and misses of both arms, arrays of one shape."""

    baseline_hits: Counts
    baseline_misses: Counts
    canary_hits: Counts
    canary_misses: Counts

    def exchanged(self) -> Cells:
        """Return the cells with the arms exchanged."""
        return Cells(self.canary_hits, self.canary_misses, self.baseline_hits, self.baseline_misses)

    def where(self, mask: NDArray[np.bool_]) -> Cells:
        """Return the cells under the mask, flat."""
        return Cells(*(values[mask] for values in self.arrays()))

    def arrays(self) -> tuple[Counts, Counts, Counts, Counts]:
        """Return the four arrays."""
        return (
            *(self.baseline_hits, self.baseline_misses),
            *(self.canary_hits, self.canary_misses),
        )


def log_sup_at_least(cells: Cells, difference: float) -> Floats:
    """Return the largest log-likelihood under p_canary - p_baseline >= difference."""
    return log_sup_at_most(cells.exchanged(), -difference)


def log_sup_at_most(cells: Cells, difference: float) -> Floats:
    """Return the largest log-likelihood under p_canary - p_baseline <= difference."""
    bs, bf, cs, cf = cells.arrays()
    baseline, canary = _best(bs, bf, if_empty=1.0), _best(cs, cf, if_empty=0.0)
    outside = canary - baseline > difference
    if outside.any():
        share = _edge(cells.where(outside), difference)
        baseline[outside] = share
        canary[outside] = np.clip(share + difference, 0.0, 1.0)
    return _log_likelihood(bs, bf, baseline) + _log_likelihood(cs, cf, canary)


def log_mixtures(cells: Cells) -> Floats:
    """Return the mixture of both arms."""
    bs, bf, cs, cf = cells.arrays()
    return log_mixture(bs, bf) + log_mixture(cs, cf)


def log_mixture(hits: Counts, misses: Counts) -> Floats:
    """Return log B(1/2 + s, 1/2 + f) / B(1/2, 1/2), from tables."""
    most = int((hits + misses).max(initial=0)) + 1
    if len(LGAMMA.get("half", ())) < most:
        LGAMMA["half"] = np.array([math.lgamma(n + 0.5) for n in range(most)])
        LGAMMA["whole"] = np.array([math.lgamma(n + 1.0) for n in range(most)])
    half, whole = LGAMMA["half"], LGAMMA["whole"]
    return half[hits] + half[misses] - whole[hits + misses] - math.log(math.pi)


def log_without(log_e: Floats, weight: float) -> Floats:
    """Return log of (E - weight) / (1 - weight); minus infinity where nothing is left."""
    with np.errstate(divide="ignore"):
        left = np.log(np.maximum(0.0, -np.expm1(math.log(weight) - log_e)))
    return log_e + left - math.log1p(-weight)


def _best(hits: Counts, misses: Counts, *, if_empty: float) -> Floats:
    outcomes = hits + misses
    return np.where(outcomes == 0, if_empty, hits / np.maximum(outcomes, 1))


def _edge(cells: Cells, difference: float) -> Floats:
    """Return the baseline's best shares with the canary's `difference` above them.

    The slope is zero at the middle root of a cubic. Source: Miettinen and Nurminen 1985, appendix.
    """
    bs, bf, cs, cf = (values.astype(np.float64) for values in cells.arrays())
    low, high = max(0.0, -difference), min(1.0, 1.0 - difference)
    baseline, hits, rows = bs + bf, bs + cs, bs + bf + cs + cf
    b = ((rows + baseline) * difference - rows - hits) / rows / 3.0
    c = ((baseline * difference - rows - 2.0 * bs) * difference + hits) / rows
    q = b**3 - b * c / 2.0 + bs * difference * (1.0 - difference) / rows / 2.0
    radius = np.where(q < 0.0, -1.0, 1.0) * np.sqrt(np.maximum(b**2 - c / 3.0, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.where(radius == 0.0, 0.0, q / radius**3)
    angle = (math.pi + np.arccos(np.clip(cosine, -1.0, 1.0))) / 3.0
    return np.clip(2.0 * radius * np.cos(angle) - b, low, high)


def _log_likelihood(hits: Counts, misses: Counts, share: Floats) -> Floats:
    return _log_power(hits, share) + _log_power(misses, 1.0 - share)


def _log_power(count: Counts, share: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count == 0, 0.0, count * np.log(share))
