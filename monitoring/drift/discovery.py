"""Many tests at once: p-values that are corrected for how many there are.

Benjamini and Yekutieli's control of the false discovery rate, which holds however columns depend
on each other (prompt length in characters and in tokens do). Without any drift a false discovery
is any discovery, so the rate is also how often a check raises a false alarm. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return the corrected p-values, in the order given: reject those at most alpha.

    Source: Benjamini and Yekutieli 2001, theorem 1.3.
    """
    count = len(p_values)
    if not count:
        return []
    ranks = np.arange(1, count + 1)
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values, dtype=np.float64)[order] * count / ranks * (1.0 / ranks).sum()
    falling = np.minimum.accumulate(raised[::-1])[::-1]
    result = np.empty(count)
    result[order] = np.minimum(1.0, falling)
    return [float(p) for p in result]
