"""Many tests at once: p-values that are corrected for how many there are, and how much each counts.

Holm's step-down control with weights: the chance that any column is named falsely is at most alpha,
however columns depend on each other (prompt length in characters and in tokens do), and also where
other columns have drifted. Without any drift this is how often a check raises a false alarm. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjusted(p_values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the corrected p-values, in the order given: reject those at most alpha.

    A test that has half of all weights may use half of alpha. Source: Holm 1979, section 4.
    """
    if not p_values:
        return []
    p, weight = np.asarray(p_values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(p / weight, kind="stable")
    left = np.cumsum(weight[order][::-1])[::-1]  # of this test and of those less sure
    rising = np.maximum.accumulate((p / weight)[order] * left)
    result = np.empty(len(p))
    result[order] = np.minimum(1.0, np.maximum(rising, p[order]))
    return [float(one) for one in result]
