"""CURATE: exact numbers of a binomial count: an interval of its share, and a test against one half.

Counts come in, numbers go out: pure.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, fsum, lgamma, log

HALVINGS = 40  # of the interval [0, 1]: to 1e-12


def interval(hits: int, tries: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of the share of hits; (0, 1) without a try.

    Source: Clopper and Pearson, 1934.
    """
    tail = (1 - confidence) / 2
    low = high = 0.0
    if hits > 0:
        low = _root(lambda share: tail - _at_least(hits, tries, share))
    if hits < tries:
        high = _root(lambda share: _at_most(hits, tries, share) - tail)
    return low, 1.0 if hits == tries else high


def two_sided_p(hits: int, tries: int) -> float:
    """Return the exact two-sided p value of the hypothesis that a hit is as likely as not."""
    less = min(hits, tries - hits)
    return min(1.0, 2 * _at_most(less, tries, 0.5)) if tries else 1.0


def _at_most(hits: int, tries: int, share: float) -> float:
    if share in (0.0, 1.0):
        return float(share == 0.0 or hits >= tries)
    return fsum(_chance(count, tries, share) for count in range(hits + 1))


def _at_least(hits: int, tries: int, share: float) -> float:
    return _at_most(tries - hits, tries, 1 - share)


def _chance(hits: int, tries: int, share: float) -> float:
    ways = lgamma(tries + 1) - lgamma(hits + 1) - lgamma(tries - hits + 1)
    return exp(ways + hits * log(share) + (tries - hits) * log(1 - share))


def _root(falling: Callable[[float], float]) -> float:
    """Return where a function that falls from above to below 0 on [0, 1] crosses it."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2
