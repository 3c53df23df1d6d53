"""The canary's benchmark: its arrays agree with the scalar code, its arithmetic with tables."""

from __future__ import annotations

import json
import math
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.canary.__main__ import BENCHMARK
from bench.canary.deciding import (
    HOLD,
    PAUSE,
    PROMOTE,
    ROLL_BACK,
    RULES,
    expected_loss,
    first,
    verdict,
)
from bench.canary.figures import (
    MOST_POWER,
    Extent,
    fixed_sample,
    lower_limit,
    ratings_of_ramp,
    upper_limit,
)
from bench.canary.scenarios import FLAGS, SCENARIOS, Arm, Crowd, Scenario
from bench.canary.simulating import to_fixed_sample
from bench.canary.streams import Streams, simulate, steps_of
from bench.canary.vectors import Cells, log_mixtures, log_sup_at_least, log_sup_at_most
from core.canary_settings import CanarySettings
from monitoring.arms import ArmCounts, RolloutCounts, StepCounts
from monitoring.eprocess import Stratum, Tally, log_e_at_least, log_e_at_most
from monitoring.verdict import judge

TINY = Extent(rollouts=4, answers=1_600, every=80, at_once=2, processes=1)
CODES = {"hold": HOLD, "promote": PROMOTE, "roll_back": ROLL_BACK}
FIELDS = {"error": "errors", "latency": "slow", "ttft": "slow_start", "too_long": "long"} | {
    "too_short": "short",
    "truncated": "truncated",
    "refusal": "refusals",
}

counts = st.integers(0, 300)
tallies = st.builds(Tally, hits=counts, misses=counts)


@given(
    st.lists(st.builds(Stratum, baseline=tallies, canary=tallies), min_size=1, max_size=8),
    st.one_of(st.just(0.0), st.floats(-0.95, 0.95)),
)
@settings(max_examples=150, deadline=None)
def test_arrays_agree_with_the_scalar_e_process(strata: list[Stratum], difference: float) -> None:
    """On random counts, many at once, in both directions."""
    cells = Cells(
        *(
            np.array([getattr(getattr(s, arm), part) for s in strata], dtype=np.int32)
            for arm in ("baseline", "canary")
            for part in ("hits", "misses")
        )
    )
    for log_sup, log_e in (
        (log_sup_at_most, log_e_at_most),
        (log_sup_at_least, log_e_at_least),
    ):
        found = log_mixtures(cells) - log_sup(cells, difference)
        assert found == pytest.approx([log_e([s], difference) for s in strata], abs=1e-7)


def counted(streams: Streams, row: int, look: int) -> RolloutCounts:
    """Return one rollout's counts at one look as `monitoring.counts` would give them."""
    here = int(streams.step[look])
    lasts = [int(np.flatnonzero(streams.step == step)[-1]) for step in range(here)]
    return RolloutCounts(
        tuple(
            StepCounts(
                step,
                _arm(streams.baseline, row, at),
                _arm(streams.canary, row, at),
            )
            for step, at in enumerate([*lasts, look])
        )
    )


def _arm(arm: dict[str, np.ndarray], row: int, look: int) -> ArmCounts:
    found = {name: int(values[row, look]) for name, values in arm.items()}
    return ArmCounts(
        exposures=found["exposures"],
        ratings=found["votes"],
        good=found["good"],
        settled=found["exposures"],
        thumbs_down=found["thumbs_down"],
        unrated=found["unrated"],
        subjects=found["subjects"],
        **{FIELDS[name]: found[name] for name in FLAGS},
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_decisions_are_those_of_the_verdict(scenario: Scenario) -> None:
    """At each look of a simulated rollout `judge` says what the arrays say."""
    rules = scenario.rules
    streams = simulate(scenario, rules, rollouts=2, answers=4_000, every=400, seed=5)
    ended = verdict(streams, rules)
    for row in range(2):
        for look in range(len(streams.step)):
            said = judge(counted(streams, row, look), rules, elapsed_s=1.0)
            code = PAUSE if said.pause else CODES[said.decision]
            if look == ended.look[row]:
                assert code == ended.decision[row], said.reason
                break
            assert code == HOLD, said.reason


def test_streams_have_the_shares_that_were_asked_for() -> None:
    """Arms, ratings and events come in their shares; a step's counts begin anew."""
    arm = replace(Arm(0.6, 0.5, 0.25), events=Arm().events | {"error": 0.1})
    scenario = Scenario("x", arm, arm)
    streams = simulate(scenario, scenario.rules, rollouts=40, answers=4_000, every=400, seed=1)
    last = {n: int(streams.canary[n][:, -1].sum()) for n in streams.canary}
    exposed = last["exposures"]
    assert exposed / (40 * 2_800) == pytest.approx(0.5, abs=0.02)
    assert last["error"] / exposed == pytest.approx(0.1, abs=0.01)
    assert last["unrated"] / exposed == pytest.approx(1 - 0.6 * 0.5 - 0.4 * 0.25, abs=0.02)
    assert last["thumbs_down"] / exposed == pytest.approx(0.1, abs=0.01)
    assert last["good"] / last["votes"] == pytest.approx(0.75, abs=0.02)
    assert list(streams.step) == [0, 1, 1, *[2] * 7]
    assert int(steps_of(10, CanarySettings(shares=(0.5,))).max()) == 0


def test_people_who_come_back_vote_once() -> None:
    """However often they come, and spammers cannot fill the exposures."""
    crowd = Scenario("x", crowd=Crowd(60, spammers=2, spam=0.5))
    rules = crowd.rules
    streams = simulate(crowd, rules, rollouts=3, answers=4_000, every=400, seed=2)
    for arms in (streams.baseline, streams.canary):
        assert int(arms["exposures"].max()) <= 60 * rules.exposures_per_subject
    ends = [0, 2, 9]  # the last look of each step
    for what in ("votes", "subjects"):
        both = streams.baseline[what] + streams.canary[what]
        assert int(both[:, ends].sum(axis=1).max()) <= 60


def test_what_comes_first_counts() -> None:
    """Of two ends at one look the one that is named first; none is a hold at the last look."""
    never, at_2 = np.zeros((1, 4), bool), np.array([[False, False, True, True]])
    both = first((ROLL_BACK, at_2), (PROMOTE, at_2))
    assert (both.decision[0], both.look[0]) == (ROLL_BACK, 2)
    none = first((ROLL_BACK, never), (PROMOTE, never))
    assert (none.decision[0], none.look[0]) == (HOLD, 3)


def test_limits_of_shares_are_those_of_the_tables() -> None:
    """Known values of Clopper and Pearson's limits; nothing seen in 2,000 is the rule of three."""
    assert upper_limit(0, 2_000) == pytest.approx(-math.log(0.05) / 2_000, rel=0.01)
    assert upper_limit(5, 100) == pytest.approx(0.1023, abs=2e-4)
    assert lower_limit(95, 100) == pytest.approx(1 - 0.1023, abs=2e-4)
    assert upper_limit(7, 7) == 1.0
    assert lower_limit(7, 7) == pytest.approx(0.05 ** (1 / 7), abs=1e-6)


def test_the_fixed_sample_is_the_textbooks() -> None:
    """From 30 to 60 %, one-sided 5 %, power 80 %, halves: some 66 ratings; a ramp takes more."""
    halves = CanarySettings(shares=(0.5,))
    size = fixed_sample(Arm(0.3), Arm(0.6), halves, power=0.8)
    assert 62 <= size <= 70
    ramp = CanarySettings(shares=(0.05, 0.25, 0.5))
    assert fixed_sample(Arm(0.3), Arm(0.6), ramp, power=0.8) > 2 * size
    assert fixed_sample(Arm(0.6), Arm(0.3), halves, power=0.95) > size
    assert sum(ratings_of_ramp(2_000, Arm(), Arm(), ramp)) == pytest.approx(500.0)


@pytest.mark.parametrize(("baseline", "canary"), [(0.3, 0.6), (0.5, 0.7)])
def test_the_fixed_sample_has_the_power_that_it_says(baseline: float, canary: float) -> None:
    """Simulated at its size on the ramp: power and error rate are those it was planned for."""
    rules, rng, runs = CanarySettings(shares=(0.05, 0.25, 0.5)), np.random.default_rng(4), 20_000
    for power in (0.8, 0.95, 0.9985):
        size = fixed_sample(Arm(baseline), Arm(canary), rules, power=power)
        answers = next(
            n
            for n in range(10, 9_000, 10)
            if math.ceil(sum(ratings_of_ramp(n, Arm(baseline), Arm(canary), rules))) >= size
        )
        n_b, n_c = (round(n) for n in ratings_of_ramp(answers, Arm(), Arm(), rules))
        shown: list[float] = []
        for share in (canary, baseline):
            b, c = rng.binomial(n_b, baseline, runs), rng.binomial(n_c, share, runs)
            pooled = (b + c) / (n_b + n_c)
            deviation = np.sqrt(pooled * (1.0 - pooled) * (1.0 / n_b + 1.0 / n_c))
            shown.append(float(np.mean((c / n_c - b / n_b) / deviation >= 1.6449)))
        assert shown[0] == pytest.approx(power, abs=0.02 if power < 0.99 else 0.002)
        assert shown[1] == pytest.approx(0.05, abs=0.015)


def test_powers_below_the_goals_are_compared_as_well() -> None:
    """Ours then gives up after the ratings in which so many were right; others are left out."""
    scenario = next(one for one in SCENARIOS if one.name == "better")
    given = list(range(10, 1_010, 10))
    most = [PROMOTE] * 92 + [HOLD] * 8
    told = to_fixed_sample(scenario, [(most, given, given)])
    assert [one["power"] for one in told["lower_powers"]] == [0.8, 0.9]
    at_80 = told["lower_powers"][0]
    assert at_80["mean"] == pytest.approx(np.minimum(given, 800).mean())
    assert at_80["fixed"] < told["fixed"]
    assert told["power"] == pytest.approx(lower_limit(92, 100))
    sure = to_fixed_sample(scenario, [([PROMOTE] * 5_000, [100] * 5_000, [100] * 5_000)])
    assert sure["power"] == MOST_POWER
    none = to_fixed_sample(scenario, [([HOLD] * 3, [100] * 3, [100] * 3)])
    assert (none["fixed"], none["ratio"], none["lower_powers"]) == (None, None, [])


def test_each_rule_finds_a_clear_gain() -> None:
    """All of them promote a canary that pleases nine of ten instead of one."""
    scenario = Scenario("x", Arm(0.1), Arm(0.9))
    streams = simulate(scenario, scenario.rules, rollouts=3, answers=8_000, every=80, seed=3)
    for name, rule in RULES.items():
        if name != "verdict":  # it waits for its guardrails
            assert (rule(streams, scenario.rules).decision == PROMOTE).all(), name
    swapped = Streams(streams.canary, streams.baseline, streams.step, streams.answers)
    assert (expected_loss(swapped, scenario.rules).decision == ROLL_BACK).all()


def test_the_benchmark_runs_and_writes(tmp_path: Path) -> None:
    """A tiny run ends with JSON that has the machine, the settings, all numbers and four ratios."""
    told: list[str] = []
    result = BENCHMARK.run(Namespace(), TINY, told.append)
    BENCHMARK.write(result, tmp_path)
    written = json.loads((tmp_path / "canary.json").read_text())
    assert len(told) == len(SCENARIOS) == len(written["scenarios"])
    assert {"machine", "settings", "rules", "simulated", "took_s"} <= written.keys()
    assert {"cpu", "load_before", "load_after", "others_busy_cores"} <= written["machine"].keys()
    assert written["settings"]["seed"] == TINY.seed
    assert [goal["name"] for goal in written["goals"]][:2] == [
        "false promotions, upper limit",
        "false roll-backs, upper limit",
    ]
    assert sum(goal["unit"] == "ratio" for goal in written["goals"]) == 4
    assert (tmp_path / "canary.png").stat().st_size > 10_000
