"""Slow losses of quality: ratings or errors of several windows as one stream of 0 and 1.

A loss of five points is not sure within one window, yet it adds up. This is ADWIN's idea, adaptive
windows: the newest part, of every length that doubles, is compared with everything before it, the
reference included. ADWIN's bound is replaced by Fisher's exact test, so the p-value is exact and
keeps its place among the columns'. Pure.

Source: Bifet and Gavalda 2007, "Learning from time-changing data with adaptive windowing".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitoring.drift.columns import Worse
from monitoring.drift.sample import Floats, present
from monitoring.drift.twosample import flags_p


@dataclass(frozen=True)
class StreamFinding:
    """The newest part that differs the most surely: its size, and both shares."""

    p: float  # corrected for all the parts that were looked at
    before: float  # share, 0-1
    after: float
    newest: int  # values in that part


def newest_change(
    reference: Floats, recent: Floats, worse: Worse, *, min_values: int
) -> StreamFinding | None:
    """Return the surest change among the newest parts; None: too few values on a side.

    `recent` is in order of time, newest last.
    """
    old, new = present(reference), present(recent)
    if len(old) < min_values or len(new) < min_values:
        return None
    sizes = [len(new) >> halving for halving in range(len(new).bit_length())]
    parts = [_compared(old, new, size, worse) for size in sizes if size >= min_values]
    surest = min(parts, key=lambda part: part.p)
    return StreamFinding(
        min(1.0, surest.p * len(parts)), surest.before, surest.after, surest.newest
    )


def _compared(old: Floats, new: Floats, size: int, worse: Worse) -> StreamFinding:
    earlier, newest = new[: len(new) - size], new[len(new) - size :]
    before = (int(old.sum() + earlier.sum()), len(old) + len(earlier))
    after = (int(newest.sum()), size)
    p = flags_p(before, after, worse)
    return StreamFinding(p, before[0] / before[1], float(np.mean(newest)), size)
