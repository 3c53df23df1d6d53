"""Time to decision: how many more ratings, and when it says that it does not know."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.canary_settings import CanarySettings
from monitoring.arms import ArmCounts, RolloutCounts, StepCounts
from monitoring.eprocess import Stratum, Tally, log_e_at_most
from monitoring.forecast import Forecast, forecast
from monitoring.guardrails import guardrails

RULES = CanarySettings(shares=(0.1, 0.5), min_s=0.0, min_ratings=20, guardrails=("error",))
NO_RAILS = RULES.model_copy(update={"guardrails": ()})


def steps(baseline: ArmCounts, canary: ArmCounts, step: int = 1) -> RolloutCounts:
    return RolloutCounts((StepCounts(step, baseline, canary),))


def rated(good: int, of: int, exposures: int = 1_000, errors: int = 0) -> ArmCounts:
    return ArmCounts(exposures=exposures, ratings=of, good=good, errors=errors)


def foretell(
    counts: RolloutCounts, rules: CanarySettings = NO_RAILS, elapsed_s: float = 0.0
) -> Forecast:
    return forecast(counts, guardrails(counts.steps, rules), rules, elapsed_s)


def test_nothing_is_known_before_a_few_ratings() -> None:
    """Without counts, and with nine ratings in an arm, it says why there is no number."""
    for counts in (RolloutCounts(), steps(rated(1, 9), rated(9, 50))):
        said = foretell(counts)
        assert (said.decision, said.ratings) == (None, None)
        assert said.says == "not known: fewer than 10 ratings in an arm"


def test_arms_that_look_equal_have_no_forecast() -> None:
    """A difference within its own error is none."""
    assert foretell(steps(rated(20, 50), rated(22, 50))).says == (
        "not known: the arms' ratings look equal so far"
    )


def test_a_better_canary_is_foretold_its_promotion() -> None:
    """The sentence has the number, the share and the pace."""
    said = foretell(steps(rated(9, 30), rated(15, 30)), elapsed_s=3_600.0)
    assert said.decision == "promote"
    assert said.ratings is not None
    assert said.seconds == pytest.approx(60.0 * said.ratings)
    assert said.says.startswith("about ")
    assert " more ratings at 50% to a promotion, in some " in said.says


def test_a_worse_canary_is_foretold_its_end() -> None:
    """Whichever decision is nearer is told."""
    said = foretell(steps(rated(18, 30), rated(9, 30)))
    assert said.decision == "roll_back"
    assert said.says.endswith("to a roll-back")


def test_with_a_margin_the_nearer_decision_is_told() -> None:
    """A canary between baseline - margin and the baseline may end either way."""
    counts = steps(rated(500, 1_000), rated(460, 1_000))
    wide, narrow = (NO_RAILS.model_copy(update={"margin": m}) for m in (0.3, 0.045))
    assert foretell(counts, wide).decision == "promote"
    assert foretell(counts, narrow).decision == "roll_back"


def test_more_than_a_million_ratings_are_not_in_sight() -> None:
    """A difference that cannot be shown in reasonable time is called equal."""
    half, hair = rated(500_000, 1_000_000), rated(501_500, 1_000_000)
    said = foretell(steps(replace(half, ratings=1_000_000), replace(hair, ratings=1_000_000)))
    assert said.decision in (None, "promote")
    far = NO_RAILS.model_copy(update={"alpha_promote": 1e-300})
    assert foretell(steps(half, hair), far).decision is None


def test_a_guardrail_may_need_longer_than_the_ratings() -> None:
    """Then its exposures are told, and the ratings that will have come by then."""
    counts = steps(rated(9, 30, exposures=60), rated(24, 30, exposures=60))
    said = foretell(counts, RULES)
    assert said.decision == "promote"
    assert said.exposures is not None
    assert said.exposures > 600
    assert said.ratings == pytest.approx(said.exposures / 2, rel=0.01)
    assert "to a promotion (the error guardrail needs " in said.says


def test_a_guardrail_that_is_shown_costs_nothing() -> None:
    """Ratings alone are missing."""
    counts = steps(rated(9, 30, exposures=3_000), rated(15, 30, exposures=3_000))
    said = foretell(counts, RULES)
    assert said.decision == "promote"
    assert "guardrail" not in said.says


def test_a_guardrail_above_its_tolerance_has_no_forecast() -> None:
    """A promotion is not in sight while a share looks too high, or too few were exposed."""
    above = steps(rated(9, 30, 100), rated(25, 30, 100, errors=5))
    few = steps(rated(9, 30, 9), rated(25, 30, 9))
    for counts in (above, few):
        assert "the error guardrail is not in sight of safe" in foretell(counts, RULES).says


def test_the_fewest_ratings_count_too() -> None:
    """A proof that is there waits for `min_ratings`."""
    rules = NO_RAILS.model_copy(update={"min_ratings": 500})
    said = foretell(steps(rated(3, 50), rated(45, 50)), rules)
    assert said.ratings == 400


def test_counts_without_exposures_are_reckoned_in_ratings() -> None:
    """Where no exposure is known an exposure counts as a rating."""
    said = foretell(steps(rated(9, 30, 0), rated(20, 30, 0)))
    assert said.exposures == said.ratings


def test_only_the_newest_step_grows() -> None:
    """What older steps and other strata have shown stays; the newest step's strata share alike."""
    old = StepCounts(0, rated(9, 30), rated(12, 30))
    halves = [StepCounts(1, rated(5, 15), rated(7, 15), s) for s in ("de", "en")]
    said = foretell(RolloutCounts((old, *halves)))
    assert said.decision == "promote"
    assert said.share == 0.5


@pytest.mark.parametrize(
    ("elapsed_s", "unit"), [(10.0, "seconds"), (100.0, "minutes"), (7e3, "hours"), (9e4, "days")]
)
def test_pace_is_told_in_fitting_units(elapsed_s: float, unit: str) -> None:
    """From seconds to days."""
    assert unit in foretell(steps(rated(9, 30), rated(15, 30)), elapsed_s=elapsed_s).says


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0.0, 0.1]))
@settings(max_examples=40, deadline=None)
def test_a_forecast_is_never_of_the_past(baseline: int, canary: int, margin: float) -> None:
    """While nothing is decided what is missing is at least nothing, and JSON can hold it."""
    rules = NO_RAILS.model_copy(update={"margin": margin})
    said = foretell(steps(rated(baseline, 40), rated(canary, 40)), rules)
    assert said.ratings is None or said.ratings >= 0
    assert (said.decision is None) == said.says.startswith("not known")
    assert said.plain()["says"] == said.says


def test_the_forecast_is_about_right() -> None:
    """Of 60 rollouts with a known gain, the median decides near what the true shares foretell."""
    foretold = foretell(steps(rated(6, 20), rated(10, 20)), NO_RAILS).ratings
    assert foretold is not None
    needed: list[int] = []
    for seed in range(60):
        rng, cells = random.Random(seed), {True: [0, 0], False: [0, 0]}
        for count in range(1, 2_000):
            canary = rng.random() < 0.5
            cells[canary][rng.random() < (0.5 if canary else 0.3)] += 1
            if count % 5 == 0 and _proven(cells):
                needed.append(count)
                break
    assert statistics.median(needed) == pytest.approx(foretold + 40, rel=0.35)


def _proven(cells: dict[bool, list[int]]) -> bool:
    baseline, canary = (Tally(hits=cells[arm][1], misses=cells[arm][0]) for arm in (False, True))
    return log_e_at_most([Stratum(baseline, canary)], 0.0) >= -math.log(NO_RAILS.alpha_promote)
