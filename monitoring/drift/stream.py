"""Slow losses of quality: ratings or errors of several windows, one after the other.

A loss of five points is not sure within one window, yet it adds up. This is ADWIN's idea, adaptive
windows: the newest windows, of every number, are compared with everything before them, the
reference included. The surest of these comparisons is the statistic, and its law under no change is
drawn: the ones spread over reference and windows at random. So the p-value is exact however much
the comparisons overlap, and however unsure the reference's own share is. Pure.

Source: Bifet and Gavalda 2007, "Learning from time-changing data with adaptive windowing"; the
scan over the time of a change with a permutation law as in Antoch and Hušková 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.columns import Worse
from monitoring.drift.sample import Floats, present
from monitoring.drift.twosample import permutation_p

Counts = tuple[int, int]  # ones, values
Parts = NDArray[np.int64]


@dataclass(frozen=True)
class StreamFinding:
    """The newest windows that differ the most surely, and all that came before them."""

    p: float  # of the surest of all comparisons
    before: Counts
    after: Counts


def newest_change(
    reference: Floats,
    windows: Sequence[Floats],
    worse: Worse,
    generator: np.random.Generator,
    *,
    min_values: int,
    permutations: int,
) -> StreamFinding | None:
    """Return the surest change among the newest windows; None: too few values on a side.

    `windows` are in order of time, the newest last.
    """
    old, parts = present(reference), [present(window) for window in reversed(windows)]
    sizes = np.array([*(len(part) for part in parts), len(old)], dtype=np.int64)
    ones = np.array([*(part.sum() for part in parts), old.sum()]).astype(np.int64)
    after = np.cumsum(sizes)[:-1]
    looked_at = np.flatnonzero(after >= min_values)
    if len(old) < min_values or not len(looked_at):
        return None
    differences = _differences(ones, sizes, worse)[looked_at]
    surest, total = int(looked_at[differences.argmax()]), int(ones.sum())

    def draw(count: int) -> Floats:
        drawn = generator.multivariate_hypergeometric(sizes, total, size=count, method="marginals")
        return _differences(drawn, sizes, worse)[:, looked_at].max(axis=1)

    observed = float(differences.max())
    p = permutation_p(observed, draw, permutations) if observed > 0.0 else 1.0
    newest = (int(ones[: surest + 1].sum()), int(after[surest]))
    return StreamFinding(p, (total - newest[0], int(sizes.sum()) - newest[1]), newest)


def _differences(ones: Parts, sizes: Parts, worse: Worse) -> Floats:
    """Return how much worse the newest 1, 2, ... parts are, in standard deviations.

    Over the last axis, the newest part first; the last part is the reference.
    """
    rows, values = int(sizes.sum()), np.cumsum(sizes)[:-1]
    share = ones.sum(axis=-1, keepdims=True) / rows
    rise = np.cumsum(ones, axis=-1)[..., :-1] - values * share
    variance = values * (rows - values) / max(1, rows - 1) * share * (1.0 - share)
    size = np.divide(rise, np.sqrt(variance), out=np.zeros_like(rise), where=variance > 0.0)
    return {"up": size, "down": -size, "either": np.abs(size)}[worse]
