"""The e-process of `monitoring.eprocess` over arrays: thousands of rollouts at all their looks.

Arrays of counts in, arrays of log E out. The tests hold it to the scalar code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HALVINGS = 30  # of an interval of length <= 1: the likelihood is flat at its best point

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


def _best(hits: Counts, misses: Counts, *, if_empty: float) -> Floats:
    outcomes = hits + misses
    return np.where(outcomes == 0, if_empty, hits / np.maximum(outcomes, 1))


def _edge(cells: Cells, difference: float) -> Floats:
    """Return the baseline's best shares with the canary's `difference` above them."""
    bs, bf, cs, cf = (values.astype(np.float64) for values in cells.arrays())
    if difference == 0.0:
        return (bs + cs) / (bs + bf + cs + cf)
    low = np.full(bs.shape, max(0.0, -difference))
    high = np.full(bs.shape, min(1.0, 1.0 - difference))
    bottom, top = low[:1].sum(), high[:1].sum()
    floor = _slope((bs, bf, cs, cf), low, difference) <= 0.0
    ceiling = _slope((bs, bf, cs, cf), high, difference) >= 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rising = _slope((bs, bf, cs, cf), middle, difference) > 0.0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    share = np.where(ceiling, top, (low + high) / 2)
    return np.where(floor, bottom, share)


def _slope(counts: tuple[Any, Any, Any, Any], share: Floats, difference: float) -> Floats:
    bs, bf, cs, cf = counts
    other = np.clip(share + difference, 0.0, 1.0)
    rise = _ratio(bs, share) + _ratio(cs, other)
    return rise - _ratio(bf, 1.0 - share) - _ratio(cf, 1.0 - other)


def _ratio(count: Floats, share: Floats) -> Floats:
    """Return count / share; 0 / 0 is 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(count == 0.0, 0.0, count / share)


def _log_likelihood(hits: Counts, misses: Counts, share: Floats) -> Floats:
    return _log_power(hits, share) + _log_power(misses, 1.0 - share)


def _log_power(count: Counts, share: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count == 0, 0.0, count * np.log(share))
