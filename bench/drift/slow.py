"""How soon a fall of ratings can be found at all, and how soon ours finds it: ratings alone.

Ratings of a healthy reference, of one healthy window and of windows after the fall are drawn. An
oracle knows when the fall began: it holds all ratings before against all since, one-sided. No test
that keeps its error rate whatever the healthy share has more power there, and to know the fall's
size would not help it (uniformly most powerful among unbiased tests: Lehmann and Romano 2005,
section 4.5). Ours is the test of `monitoring.drift.stream` as a check uses it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.drift.checks import FAMILY, RULES, Volume
from bench.drift.traffic import HEALTHY, Traffic, draw_streams
from monitoring.drift.effects import largest_fall
from monitoring.drift.stream import newest_change

ORACLE_STORIES = 20_000
WANTED = 0.95  # of stories: the goal

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def slow_fall(traffic: Traffic, windows: int, volume: Volume, stories: int) -> dict[str, Any]:
    """Return the share of stories in which the fall is found by each window, and the oracle's."""
    own = RULES.alpha * RULES.slow_fall_alpha
    oracle = _oracle(traffic, windows, volume, own)
    return {
        "alpha": own,
        "oracle": oracle,
        "oracle_with_all_of_alpha": _oracle(traffic, windows, volume, RULES.alpha),
        "oracle_needs": next((n for n, one in enumerate(oracle, 1) if one >= WANTED), None),
        "stories": stories,
        "ours": _ours(traffic, windows, volume, stories),
    }


def _oracle(traffic: Traffic, windows: int, volume: Volume, alpha: float) -> list[float]:
    generator = np.random.default_rng((FAMILY, 1))
    rated, good = _ratings(generator, HEALTHY, volume.reference + volume.window, 1)
    rated_since, good_since = _ratings(generator, traffic, volume.window, windows)
    after, good_after = np.cumsum(rated_since, axis=1), np.cumsum(good_since, axis=1)
    total, ones = rated + after, good + good_after
    fall = after * ones / total - good_after
    deviation = np.sqrt(after * rated / (total - 1) * ones / total * (1.0 - ones / total))
    found = np.logical_or.accumulate(fall >= float(stats.norm.isf(alpha)) * deviation, axis=1)
    return [float(share) for share in found.mean(axis=0)]


def _ratings(
    generator: np.random.Generator, traffic: Traffic, rows: int, windows: int
) -> tuple[Ints, Ints]:
    """Return how many ratings there were in each story's windows, and how many were good."""
    rated = generator.binomial(rows, traffic.rated, (ORACLE_STORIES, windows))
    return rated, generator.binomial(rated, traffic.rating)


def _ours(traffic: Traffic, windows: int, volume: Volume, stories: int) -> list[float]:
    delays = np.array([_delay(traffic, windows, volume, story) for story in range(stories)])
    return [float(np.mean(delays <= window)) for window in range(1, windows + 1)]


def _delay(traffic: Traffic, windows: int, volume: Volume, story: int) -> float:
    """Return the first window after the fall in which it is found; infinite: in none."""
    generator = np.random.default_rng((FAMILY, 2, story))
    reference = draw_streams(HEALTHY, volume.reference, generator).flags["rating"]
    seen = [draw_streams(HEALTHY, volume.window, generator).flags["rating"]]
    for window in range(1, windows + 1):
        seen.append(draw_streams(traffic, volume.window, generator).flags["rating"])
        if _is_found(reference, seen[-RULES.horizon_windows :], generator):
            return window
    return np.inf


def _is_found(reference: Floats, seen: list[Floats], generator: np.random.Generator) -> bool:
    change = newest_change(
        reference,
        seen,
        "down",
        generator,
        min_values=RULES.min_values,
        permutations=RULES.permutations,
    )
    if change is None or change.p > RULES.alpha * RULES.slow_fall_alpha:
        return False
    before = change.before[0] / change.before[1]
    return largest_fall(change.before, change.after) >= RULES.rating_drop.small * before
