"""The arithmetic of the benchmark: how much is simulated, limits of shares, sample sizes, goals.

Pure: numbers in, numbers out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from bench.canary.scenarios import SCENARIOS, Arm, Scenario
from bench.canary.streams import STEP_ANSWERS
from bench.report import Goal
from core.canary_settings import CanarySettings

CONFIDENCE = 0.95  # of the upper limits
CLEAR = ("better", "better, no ramp", "worse", "worse, no ramp")  # effects of 30 points
# The most power that a goal's fixed sample is given: what 2,000 right decisions of 2,000 show. More
# rollouts would show more, so that the fixed sample would grow and flatter us
MOST_POWER = 0.9985
POWERS = (0.8, 0.9, 0.95, 0.99)  # at which both are compared beside the goals
OURS = "verdict"


@dataclass(frozen=True)
class Extent:
    """How much to simulate."""

    rollouts: int = 2_000  # of each scenario
    answers: int = 16_000  # of each rollout until its deadline
    every: int = 8  # answers between two looks
    at_once: int = 100  # rollouts in memory
    processes: int = 2
    # of all random numbers. The rules were chosen with other seeds, so that these streams are new
    # to them: whoever changes a rule after seeing them takes the next number
    seed: int = 2_038


QUICK = Extent(rollouts=200, answers=8_000, every=16)


def upper_limit(count: int, of: int) -> float:
    """Return the upper confidence limit of a share. Source: Clopper and Pearson 1934."""
    if count >= of:
        return 1.0
    low, high = count / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(count, of, middle) > 1.0 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def lower_limit(count: int, of: int) -> float:
    """Return the lower confidence limit of a share."""
    return 1.0 - upper_limit(of - count, of)


def _at_most(count: int, of: int, share: float) -> float:
    """Return P(X <= count) of a binomial X."""
    if share >= 1.0:
        return 0.0
    logs = (
        [
            _log_choose(of, k) + k * math.log(share) + (of - k) * math.log1p(-share)
            for k in range(count + 1)
        ]
        if share > 0.0
        else [0.0]
    )
    return math.fsum(math.exp(log) for log in logs)


def _log_choose(of: int, count: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)


def fixed_sample(baseline: Arm, canary: Arm, rules: CanarySettings, *, power: float) -> int:
    """Return the ratings at which a z-test of that power looks once, on the same ramp of shares.

    One-sided at the alpha of the decision that is right; the effect is known to its planner.
    """
    gain = canary.good - baseline.good
    alpha = rules.alpha_promote if gain > 0.0 else rules.alpha_roll_back
    z_alpha, z_power = NormalDist().inv_cdf(1.0 - alpha), NormalDist().inv_cdf(power)
    answers = 0
    while True:
        answers += 10
        n_b, n_c = ratings_of_ramp(answers, baseline, canary, rules)
        pooled = (baseline.good * n_b + canary.good * n_c) / (n_b + n_c)
        at_null = math.sqrt(pooled * (1.0 - pooled) * (1.0 / n_b + 1.0 / n_c))
        at_effect = math.sqrt(
            baseline.good * (1.0 - baseline.good) / n_b + canary.good * (1.0 - canary.good) / n_c
        )
        if abs(gain) >= z_alpha * at_null + z_power * at_effect:
            return math.ceil(n_b + n_c)


def ratings_of_ramp(
    answers: int, baseline: Arm, canary: Arm, rules: CanarySettings
) -> tuple[float, float]:
    """Return the ratings of both arms that so many answers bring, by the shares of the steps.

    Every rating counts here, also of those who will come to the canary later.
    """
    ends = [*STEP_ANSWERS[: len(rules.shares) - 1], math.inf]
    left, n_b, n_c = float(answers), 0.0, 0.0
    for share, most in zip(rules.shares, ends, strict=True):
        here = min(left, most)
        left -= here
        n_c += here * share * _rating_rate(canary)
        n_b += here * (1.0 - share) * _rating_rate(baseline)
    return n_b, n_c


def _rating_rate(arm: Arm) -> float:
    return arm.good * arm.rate_good + (1.0 - arm.good) * arm.rate_bad


def allowed_roll_backs(rules: CanarySettings) -> float:
    """Return the stated error rate of rolling back: alpha_R and that of each guardrail."""
    return rules.alpha_roll_back + len(rules.guardrails) * rules.alpha_guardrail


def goals(result: Mapping[str, Any]) -> list[Goal]:
    """Return the goals, from the numbers of this run."""
    rules = SCENARIOS[0].rules
    seen: Mapping[str, Any] = result["scenarios"]
    wrong = {
        end: [seen[s.name]["rules"][OURS][end]["upper"] for s in SCENARIOS if _is_wrong(s, end)]
        for end in ("promoted", "rolled_back")
    }
    limits = [
        Goal(f"{name}, upper limit", stated, max(wrong[end]), "share", max(wrong[end]) <= stated)
        for name, end, stated in (
            ("false promotions", "promoted", rules.alpha_promote),
            ("false roll-backs", "rolled_back", allowed_roll_backs(rules)),
        )
    ]
    ratios = [
        Goal(
            f"{name}: ratings to fixed sample's",
            1.0,
            share,
            "ratio",
            share is not None and share < 1.0,
        )
        for name in CLEAR
        for share in [seen[name]["to_fixed_sample"]["ratio"]]
    ]
    return [*limits, *ratios]


def _is_wrong(scenario: Scenario, end: str) -> bool:
    return (scenario.promotion if end == "promoted" else scenario.roll_back) == "wrong"
