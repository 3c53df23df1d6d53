"""Has a metric really fallen? By how much, and whether chance alone would do that.

Two tallies of good ones go in, from when all was well and from now; a `Fall` comes out. The fall
counts relative to its baseline, as the guide does; it is believed when the lower confidence bound
of the difference of both shares is above nothing. A sum of scores from 0 to 1 passes as a count.
Pure. Source: fine-tuning guide, "When to Retrain" (5 %); `core.proportions` for the bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.proportions import newcombe
from retrain.situation import Measure


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
    least, _ = newcombe((before.share, before.total), (now.share, now.total), alpha)
    return Fall((before.share - now.share) / before.share, least)
