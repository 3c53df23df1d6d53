"""Histograms that can be added up: from latencies and lengths to percentiles of any sum of hours.

Pure. A positive value falls into bucket `floor(log(value) / log(1.1))`, so a percentile is at most
5 % off wherever it lies; values of 0 have a bucket of their own. A histogram is a mapping of bucket
to count, as JSON keeps it.

Source: DDSketch (Masson, Rim, Lee 2019), without its collapsing: 30 s down to 1 ms are 109 buckets.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate

RATIO = 1.1
ZERO = "zero"
_LOG_RATIO = math.log(RATIO)

Histogram = Mapping[str, int]


def bucket(value: float) -> str:
    """Return the bucket of a value of 0 or more."""
    return ZERO if value <= 0 else str(math.floor(math.log(value) / _LOG_RATIO))


def merged(histograms: Iterable[Histogram]) -> dict[str, int]:
    """Return the sum of histograms."""
    total: dict[str, int] = {}
    for histogram in histograms:  # plainly: Counter.update takes three times as long
        for name, count in histogram.items():
            total[name] = total.get(name, 0) + count
    return total


def quantile(histogram: Histogram, share: float) -> float | None:
    """Return the value below which `share` (0 to 1) of all lie, or None of an empty histogram."""
    total = sum(histogram.values())
    if total == 0:
        return None
    ordered = _ordered(histogram)
    up_to = accumulate(count for _, count in ordered)
    reached = (
        value for (value, _), below in zip(ordered, up_to, strict=True) if below >= share * total
    )
    return next(reached, ordered[-1][0])


def doublings(histogram: Histogram) -> list[tuple[int, int, int]]:
    """Return (from, below, count) of each power of 2 between the smallest and largest value."""
    counts: Counter[int] = Counter()
    for value, count in _ordered(histogram):
        counts[int(math.log2(value)) if value >= 1 else 0] += count
    if not counts:
        return []
    places = range(min(counts), max(counts) + 1)
    return [(1 << place if place else 0, 2 << place, counts[place]) for place in places]


def _ordered(histogram: Histogram) -> list[tuple[float, int]]:
    """Return the middle of each bucket with its count, the smallest first."""
    middles = ((_middle(name), count) for name, count in histogram.items())
    return sorted(middles)


def _middle(name: str) -> float:
    return 0.0 if name == ZERO else RATIO ** (int(name) + 0.5)
