"""Whether the arms got the subjects that they should: a sample-ratio test that may be repeated.

DETECT → CANARY. The subjects whom each step and arm saw first come in, and the steps' shares; out
goes the evidence against "each is in the canary with the step's share". Where it is strong,
subjects or their events are lost in one arm, and no comparison of the arms can be trusted.

A subject counts once, in the step that saw it first: arms are sticky, so its later exposures tell
nothing new. For step k with share q, c subjects of the canary and b of the baseline, the evidence

    E = prod_k  B(1/2 + c_k, 1/2 + b_k) / B(1/2, 1/2)  /  (q_k^c_k (1 - q_k)^b_k)

is a nonnegative martingale while the arms are as they should be, so P(E ever >= 1/alpha) <= alpha.
Source: Lindon and Malek 2022 (Anytime-valid inference for multinomial count data, NeurIPS);
Fabijan et al. 2019 (Diagnosing sample ratio mismatch in online controlled experiments, KDD).
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from core.canary_settings import CanarySettings
from monitoring.arms import StepCounts
from monitoring.eprocess import Tally, log_mixture
from monitoring.evidence import Evidence


def share_of_step(step: int, rules: CanarySettings) -> float:
    """Return the canary's share of subjects in a step, the watch's included."""
    return rules.shares[step] if step < len(rules.shares) else 1.0 - rules.holdback


def mismatch(steps: Sequence[StepCounts], rules: CanarySettings) -> Evidence | None:
    """Return the evidence against the arms' shares; None where the rules do not look at it."""
    if rules.alpha_mismatch == 0.0:
        return None
    by_step: dict[int, Tally] = {}
    for counts in steps:
        so_far = by_step.get(counts.step, Tally(0, 0))
        by_step[counts.step] = Tally(
            so_far.hits + counts.canary.subjects, so_far.misses + counts.baseline.subjects
        )
    log_e = sum(_log_e(tally, share_of_step(step, rules)) for step, tally in by_step.items())
    return Evidence(log_e, rules.alpha_mismatch)


def _log_e(subjects: Tally, share: float) -> float:
    """Return log E of one step; infinite where an arm without a share has subjects."""
    expected = 0.0
    for count, chance in ((subjects.hits, share), (subjects.misses, 1.0 - share)):
        if count:
            expected += count * math.log(chance) if chance > 0.0 else -math.inf
    return log_mixture(subjects) - expected
