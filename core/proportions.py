"""How sure a share is, and the difference of two: limits that hold for few values, too. Pure.

Shares and how many values they are of go in, limits come out. A mean of scores from 0 to 1 passes
as a share: its variance is at most that of one (Bhatia and Davis 2000), so that its limits are on
the safe side. Knows nothing of what is counted.
"""

from __future__ import annotations

import math
from statistics import NormalDist

Limits = tuple[float, float]


def wilson(share: float, total: float, alpha: float) -> Limits:
    """Return the limits that the true share is under or over with probability `alpha` each.

    Source: Wilson 1927.
    """
    z = NormalDist().inv_cdf(1.0 - alpha)
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1.0 - share) / total + z * z / (4 * total * total))
    scale = 1.0 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def newcombe(before: tuple[float, float], after: tuple[float, float], alpha: float) -> Limits:
    """Return the limits of how much a share fell, from (share, values) of both; `alpha` each.

    Source: Newcombe 1998, "Interval estimation for the difference between independent
    proportions", method 10.
    """
    old, new = before[0], after[0]
    (old_low, old_high), (new_low, new_high) = wilson(*before, alpha), wilson(*after, alpha)
    least = old - new - math.hypot(old - old_low, new_high - new)
    return least, old - new + math.hypot(old_high - old, new - new_low)
