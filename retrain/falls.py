"""Has a metric really fallen? By how much, and whether chance alone would do that.

Two tallies of good ones go in, from when all was well and from now; a `Fall` comes out. The fall
counts relative to its baseline, as the guide does; it is believed when the lower confidence bound
of the difference of both shares is above nothing. A sum of scores from 0 to 1 passes as a count:
its variance is at most that of one (Bhatia and Davis 2000), so the bound is on the safe side. Pure.

Source: fine-tuning guide, "When to Retrain" (5 %); Newcombe 1998, "Interval estimation for the
difference between independent proportions", method 10, one-sided; Wilson 1927.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from retrain.situation import Measure, Tally


@dataclass(frozen=True, slots=True)
class Fall:
    """How a metric changed: `drop` relative to its baseline, below 0 when it rose."""

    drop: float
    at_least: float  # lower bound of the absolute difference: above 0, it is no chance


def fall_of(measure: Measure, alpha: float) -> Fall | None:
    """Return how the metric fell; None where one of the two is empty, or there was nothing to lose.

    `alpha` is the chance that the bound is above 0 though nothing changed.
    """
    before, now = measure.baseline, measure.recent
    if not now.total or not before.share:
        return None
    low, _ = wilson(before, alpha)
    _, high = wilson(now, alpha)
    difference = before.share - now.share
    margin = math.hypot(before.share - low, high - now.share)
    return Fall(difference / before.share, difference - margin)


def wilson(tally: Tally, alpha: float) -> tuple[float, float]:
    """Return the bounds that the true share is under or over with probability `alpha` each."""
    z, n, p = NormalDist().inv_cdf(1.0 - alpha), tally.total, tally.share
    middle = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1.0 - p) / n + z * z / (4 * n * n))
    scale = 1.0 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
