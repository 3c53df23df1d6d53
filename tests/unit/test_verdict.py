"""The verdict's order of decision, its reasons, and numbers that survive JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from core.canary_settings import CanarySettings
from monitoring.arms import (
    ArmCounts,
    RolloutCounts,
    StepCounts,
    counts_from_dict,
    counts_to_dict,
)
from monitoring.verdict import judge, judge_watch

RULES = CanarySettings(
    shares=(0.1, 0.5),
    min_s=60.0,
    min_ratings=20,
    guardrails=("error", "latency"),
    alpha_guardrail=0.025,
)
LONG_S = 3_600.0
BAD = ArmCounts(exposures=600, ratings=60, good=6)
GOOD = ArmCounts(exposures=600, ratings=60, good=40)


def one_step(
    baseline: ArmCounts, canary: ArmCounts, *, step: int = 1, in_a_row: int = 0
) -> RolloutCounts:
    return RolloutCounts((StepCounts(step, baseline, canary),), in_a_row)


def test_clear_gain_with_safe_guardrails_is_promoted() -> None:
    """Better ratings, both guardrails shown, time and ratings enough: promote."""
    verdict = judge(one_step(BAD, GOOD), RULES, elapsed_s=LONG_S)
    assert verdict.decision == "promote"
    assert "better than the baseline" in verdict.reason
    assert "from 120 ratings" in verdict.reason


def test_promotion_names_the_margin() -> None:
    """With a margin the reason says what was beaten."""
    rules = RULES.model_copy(update={"margin": 0.1})
    verdict = judge(one_step(BAD, GOOD), rules, elapsed_s=LONG_S)
    assert verdict.decision == "promote"
    assert "the baseline - 0.1" in verdict.reason


def test_margin_promotes_an_equal_canary_in_the_end() -> None:
    """A canary that equals the baseline passes with a margin and never without."""
    equal = ArmCounts(exposures=900, ratings=900, good=450)
    rules = RULES.model_copy(update={"margin": 0.15})
    assert judge(one_step(equal, equal), rules, elapsed_s=LONG_S).decision == "promote"
    assert judge(one_step(equal, equal), RULES, elapsed_s=LONG_S).decision == "hold"


def test_new_rollout_holds_and_says_what_is_missing() -> None:
    """Without counts every part of a promotion is named as missing."""
    verdict = judge(RolloutCounts(), RULES, elapsed_s=1.0)
    assert verdict.decision == "hold"
    assert verdict.reason == (
        "promotion E=1 of 20; error guardrail not shown yet: E=1 of 20; "
        "latency guardrail not shown yet: E=1 of 20; 0 of 20 ratings; 1 of 60 s"
    )


@pytest.mark.parametrize(
    ("counts", "rules", "elapsed_s", "missing"),
    [
        (one_step(BAD, GOOD), RULES, 59.0, "59 of 60 s"),
        (
            one_step(BAD, GOOD),
            RULES.model_copy(update={"min_ratings": 121}),
            LONG_S,
            "120 of 121 ratings",
        ),
        (
            one_step(BAD, ArmCounts(exposures=600, ratings=60, good=40, errors=9)),
            RULES,
            LONG_S,
            "error guardrail not shown yet",
        ),
        (
            one_step(BAD, ArmCounts(exposures=600, ratings=60, good=40, slow=20)),
            RULES,
            LONG_S,
            "latency guardrail not shown yet",
        ),
    ],
)
def test_one_missing_part_alone_holds(
    counts: RolloutCounts, rules: CanarySettings, elapsed_s: float, missing: str
) -> None:
    """Each condition of a promotion is needed, and the reason names only the missing one."""
    verdict = judge(counts, rules, elapsed_s=elapsed_s)
    assert verdict.decision == "hold"
    assert missing in verdict.reason
    assert ";" not in verdict.reason


@pytest.mark.parametrize(
    ("counts", "refused", "reason"),
    [
        (one_step(BAD, GOOD), "rank 64 is above 16", "engine refuses the adapter: rank 64"),
        (one_step(BAD, GOOD, in_a_row=5), None, "5 canary errors in a row"),
        (one_step(GOOD, BAD), None, "rated worse than the baseline: E="),
        (
            one_step(BAD, ArmCounts(exposures=600, ratings=60, good=40, errors=90)),
            None,
            "error guardrail: share above baseline + 0.02",
        ),
        (
            one_step(BAD, ArmCounts(exposures=600, ratings=60, good=40, slow=150)),
            None,
            "latency guardrail: share above baseline + 0.05",
        ),
    ],
)
def test_harm_comes_before_proof(counts: RolloutCounts, refused: str | None, reason: str) -> None:
    """Any harm rolls back, in the canary and in the watch, however good the ratings are."""
    verdict = judge(counts, RULES, elapsed_s=LONG_S, refused=refused)
    assert verdict.decision == "roll_back"
    assert reason in verdict.reason
    watched = RolloutCounts(
        tuple(StepCounts(len(RULES.shares), s.baseline, s.canary) for s in counts.steps),
        counts.trailing_canary_errors,
    )
    assert judge_watch(watched, RULES, refused=refused).decision == "roll_back"


def test_one_error_less_than_the_breaker_holds_it() -> None:
    """The breaker trips at its number and not before."""
    counts = one_step(ArmCounts(exposures=4), ArmCounts(exposures=4, errors=4), in_a_row=4)
    assert judge(counts, RULES, elapsed_s=LONG_S).decision == "hold"


def test_watch_never_promotes() -> None:
    """In the watch even the best canary only stays."""
    verdict = judge_watch(one_step(BAD, GOOD, step=2), RULES)
    assert verdict.decision == "hold"
    assert verdict.reason.startswith("no harm shown")


def test_watch_is_not_blinded_by_the_canary() -> None:
    """A canary that was loved before the promotion and fails after it is taken back."""
    before = StepCounts(1, BAD, GOOD)
    after = StepCounts(2, ArmCounts(40, 40, 24), ArmCounts(200, 200, 40))
    assert judge_watch(RolloutCounts((before, after)), RULES).decision == "roll_back"
    assert judge(RolloutCounts((before, after)), RULES, elapsed_s=LONG_S).decision != "roll_back"


def test_numbers_hold_what_the_decision_rests_on() -> None:
    """Evidence, thresholds, shares, the confidence sequence and the totals are all there."""
    counts = RolloutCounts((StepCounts(0, BAD, GOOD), StepCounts(1, BAD, GOOD)))
    numbers = judge(counts, RULES, elapsed_s=61.5).numbers
    assert numbers["elapsed_s"] == 61.5
    assert numbers["arms"]["baseline"]["good_share"] == pytest.approx(0.1)
    assert numbers["arms"]["canary"]["exposures"] == 1_200
    assert numbers["evidence"]["better"]["needed"] == pytest.approx(20.0)
    assert numbers["evidence"]["better"]["log10"] == pytest.approx(
        math.log10(numbers["evidence"]["better"]["value"])
    )
    assert numbers["guardrails"]["error"]["harm"]["needed"] == pytest.approx(40.0)
    assert numbers["guardrails"]["latency"]["tolerance"] == 0.05
    assert 0.0 < numbers["difference"]["low"] < 0.6 < numbers["difference"]["high"] < 1.0
    assert numbers["difference"]["coverage"] == pytest.approx(0.95)


def test_numbers_of_empty_arms_are_null() -> None:
    """A share without outcomes is null and not zero."""
    numbers = judge(RolloutCounts(), RULES, elapsed_s=0.0).numbers
    assert numbers["arms"]["canary"]["good_share"] is None
    assert numbers["arms"]["baseline"]["slow_share"] is None


@pytest.mark.parametrize("margin", [0.0, 1.0])
def test_numbers_stay_finite_json(margin: float) -> None:
    """Even evidence without bound is written as strict JSON and read back the same."""
    huge = 10**6
    sure, never = ArmCounts(huge, huge, huge), ArmCounts(huge, huge, 0, huge, 0)
    rules = RULES.model_copy(update={"margin": margin})
    for counts in (one_step(never, sure), one_step(sure, never)):
        numbers: dict[str, Any] = judge(counts, rules, elapsed_s=LONG_S).numbers
        assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_counts_survive_json() -> None:
    """What is stored with a verdict is what it was judged on."""
    counts = RolloutCounts(
        (StepCounts(0, BAD, GOOD), StepCounts(1, ArmCounts(), ArmCounts(5, 4, 3, 2, 1))), 3
    )
    assert counts_from_dict(json.loads(json.dumps(counts_to_dict(counts)))) == counts
