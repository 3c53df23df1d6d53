"""An e-value beside the threshold that it must reach: what verdicts and guardrails are made of.

Pure. Knows nothing of what the evidence is for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOG10_CAP = 300.0  # the largest evidence that is written down: JSON knows no infinity


@dataclass(frozen=True, slots=True)
class Evidence:
    """An e-value as its logarithm, with the threshold 1/alpha that it must reach."""

    log_e: float
    alpha: float

    @property
    def reached(self) -> bool:
        """Whether it is strong enough to act on."""
        return self.log_e >= -math.log(self.alpha)

    def __str__(self) -> str:
        return f"E={_capped_log10(self.log_e)[1]:.3g} of {1 / self.alpha:.3g}"

    def plain(self) -> dict[str, float]:
        """Return it as JSON values, large ones capped."""
        log10, value = _capped_log10(self.log_e)
        return {"log10": log10, "value": value, "needed": 1 / self.alpha}


def _capped_log10(log_e: float) -> tuple[float, float]:
    log10 = min(log_e / math.log(10.0), LOG10_CAP)
    return log10, 10.0**log10
