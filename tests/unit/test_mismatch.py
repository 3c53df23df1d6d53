"""The sample-ratio test: it holds its error rate, finds lost subjects, and stops a promotion."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.canary_settings import CanarySettings
from monitoring.arms import ArmCounts, RolloutCounts, StepCounts
from monitoring.mismatch import mismatch, share_of_step
from monitoring.verdict import judge, judge_watch

RULES = CanarySettings(
    shares=(0.1, 0.5), min_s=0.0, min_ratings=20, guardrails=("error",), alpha_mismatch=0.01
)
BAD, GOOD = {"exposures": 900, "ratings": 200, "good": 40}, {"exposures": 900, "ratings": 200}


def steps(*subjects: tuple[int, int]) -> tuple[StepCounts, ...]:
    """Return steps with so many subjects of the baseline and of the canary."""
    return tuple(
        StepCounts(step, ArmCounts(subjects=b), ArmCounts(subjects=c))
        for step, (b, c) in enumerate(subjects)
    )


def log_e(*subjects: tuple[int, int]) -> float:
    evidence = mismatch(steps(*subjects), RULES)
    assert evidence is not None
    return evidence.log_e


def test_the_watch_has_a_share_of_its_own() -> None:
    """All but the holdback."""
    assert [share_of_step(step, RULES) for step in (0, 1, 2)] == [0.1, 0.5, 0.95]


def test_it_can_be_switched_off() -> None:
    """With an alpha of 0 nothing is looked at."""
    rules = RULES.model_copy(update={"alpha_mismatch": 0.0})
    assert mismatch(steps((100, 0)), rules) is None
    counts = RolloutCounts(steps((100, 0)))
    assert judge(counts, rules, elapsed_s=1.0).numbers["mismatch"] is None


def test_without_subjects_there_is_no_evidence() -> None:
    """E is 1 before anybody has come."""
    assert log_e() == log_e((0, 0)) == 0.0


def test_a_share_of_everything_leaves_the_baseline_nobody() -> None:
    """One subject where none can be is proof; none is not."""
    rules = CanarySettings(shares=(1.0,))
    for baseline, expected in ((1, math.inf), (0, 0.0)):
        evidence = mismatch(steps((baseline, 0)), rules)
        assert evidence is not None
        assert evidence.log_e == expected
        assert evidence.plain()["value"] <= 1e300


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=2))
@settings(deadline=None)
def test_steps_multiply(pairs: list[tuple[int, int]]) -> None:
    """The evidence of a rollout is that of its steps together; strata of a step are pooled."""
    alone = sum(log_e(*[(0, 0)] * place, pair) for place, pair in enumerate(pairs))
    assert log_e(*pairs) == pytest.approx(alone, abs=1e-9)
    halves = [
        StepCounts(s, ArmCounts(subjects=b), ArmCounts(subjects=c), stratum)
        for s, pair in enumerate(pairs)
        for stratum, (b, c) in (("en", (pair[0], 0)), ("de", (0, pair[1])))
    ]
    pooled = mismatch(halves, RULES)
    assert pooled is not None
    assert pooled.log_e == pytest.approx(log_e(*pairs), abs=1e-9)


def test_fair_arms_seldom_look_unfair() -> None:
    """Looking after each of 600 subjects, of 500 rollouts at most 1 % are ever suspected."""
    rng, needed = random.Random(3), -math.log(RULES.alpha_mismatch)
    wrong = 0
    for _ in range(500):
        canary = 0
        for n in range(1, 601):
            canary += rng.random() < 0.1
            if n % 5 == 0 and log_e((n - canary, canary)) >= needed:
                wrong += 1
                break
    assert wrong <= 5


def test_lost_subjects_are_found() -> None:
    """One in five of the canary's missing at half the traffic: found within 2,000 subjects."""
    assert log_e((0, 0), (1_000, 800)) >= -math.log(RULES.alpha_mismatch)


def counts(subjects: int, step: int = 1) -> RolloutCounts:
    """Return a canary that would be promoted, with so many of 1,000 baseline subjects."""
    return RolloutCounts(
        (
            StepCounts(
                step,
                ArmCounts(**BAD, subjects=1_000),
                ArmCounts(**GOOD, good=160, subjects=subjects),
            ),
        )
    )


def test_a_mismatch_holds_the_promotion_and_pauses() -> None:
    """The verdict says what is wrong; with fair arms the same ratings promote."""
    fair = judge(counts(1_000), RULES, elapsed_s=1.0)
    assert (fair.decision, fair.pause) == ("promote", False)
    unfair = judge(counts(700), RULES, elapsed_s=1.0)
    assert (unfair.decision, unfair.pause) == ("hold", True)
    assert unfair.reason.startswith("sample ratio mismatch: E=")


def test_the_watch_tells_of_a_mismatch_and_goes_on() -> None:
    """After the promotion only harm takes the adapter back."""
    verdict = judge_watch(counts(1_000, step=2), RULES)
    assert (verdict.decision, verdict.pause) == ("hold", False)
    assert "sample ratio mismatch" in verdict.reason
    assert "mismatch" not in judge_watch(counts(19_000, step=2), RULES).reason
