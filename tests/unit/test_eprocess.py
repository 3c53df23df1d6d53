"""The e-process against brute force, its guarantee under constant peeking, and its speed."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from monitoring.eprocess import (
    TOGETHER,
    Interval,
    Stratum,
    Tally,
    confidence_sequence,
    log_e_at_least,
    log_e_at_most,
    log_without,
    weight_at_most,
)

ALPHA = 0.05
NEEDED = -math.log(ALPHA)

tallies = st.builds(Tally, hits=st.integers(0, 40), misses=st.integers(0, 40))
strata_of_one = st.builds(Stratum, baseline=tallies, canary=tallies)
differences = st.floats(-0.95, 0.95)


def log_likelihood(tally: Tally, share: float) -> float:
    if (tally.hits and share <= 0.0) or (tally.misses and share >= 1.0):
        return -math.inf
    hits = tally.hits * math.log(share) if tally.hits else 0.0
    return hits + (tally.misses * math.log1p(-share) if tally.misses else 0.0)


def best_share(tally: Tally) -> float:
    return tally.hits / max(1, tally.hits + tally.misses)


def grid_sup_at_most(stratum: Stratum, difference: float) -> float:
    """Walk the baseline's share over a grid, finer around the best point, three times."""
    low, high, best = max(0.0, -difference), 1.0, -math.inf
    for _ in range(3):
        points = [low + (high - low) * i / 600 for i in range(601)]
        values: list[float] = []
        for point in points:
            ceiling = min(1.0, max(0.0, point + difference))
            canary = min(best_share(stratum.canary), ceiling)
            values.append(
                log_likelihood(stratum.baseline, point) + log_likelihood(stratum.canary, canary)
            )
        top = max(range(601), key=values.__getitem__)
        best = max(best, values[top])
        low, high = points[max(0, top - 1)], points[min(600, top + 1)]
    return best


def log_mixture(tally: Tally) -> float:
    """Predict each outcome from those before it (hits first), as a sequential bettor would."""
    total = 0.0
    for i in range(tally.hits):
        total += math.log((i + 0.5) / (i + 1))
    for j in range(tally.misses):
        total += math.log((j + 0.5) / (tally.hits + j + 1))
    return total


@given(stratum=strata_of_one, difference=differences)
@settings(max_examples=150, deadline=None)
def test_e_equals_mixture_over_grid_supremum(stratum: Stratum, difference: float) -> None:
    """The supremum under H0 agrees with a search over a grid, the mixture with betting."""
    mixtures = log_mixture(stratum.baseline) + log_mixture(stratum.canary)
    expected = mixtures - grid_sup_at_most(stratum, difference)
    assert log_e_at_most([stratum], difference) == pytest.approx(expected, abs=1e-4)


@given(stratum=strata_of_one, difference=differences)
@settings(deadline=None)
def test_e_never_exceeds_the_generalised_likelihood_ratio(
    stratum: Stratum, difference: float
) -> None:
    """No mixture over shares can beat the best pair of shares."""
    free = sum(log_likelihood(arm, best_share(arm)) for arm in (stratum.baseline, stratum.canary))
    bound = free - grid_sup_at_most(stratum, difference)
    assert log_e_at_most([stratum], difference) <= bound + 1e-4


@given(stratum=strata_of_one, difference=differences)
@settings(deadline=None)
def test_hits_and_misses_mirror_each_other(stratum: Stratum, difference: float) -> None:
    """To be at least d better in hits is to be at least d lower in misses."""
    mirrored = Stratum(
        Tally(stratum.baseline.misses, stratum.baseline.hits),
        Tally(stratum.canary.misses, stratum.canary.hits),
    )
    expected = log_e_at_most([mirrored], -difference)
    assert log_e_at_least([stratum], difference) == pytest.approx(expected, abs=1e-9)


@given(stratum=strata_of_one, low=differences, high=differences)
@settings(deadline=None)
def test_evidence_falls_as_the_null_grows(stratum: Stratum, low: float, high: float) -> None:
    """A larger null hypothesis is never easier to reject."""
    low, high = sorted((low, high))
    assert log_e_at_most([stratum], low) >= log_e_at_most([stratum], high) - 1e-9


@pytest.mark.parametrize("difference", [-1.0, -0.1, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("strata", [[], [Stratum(Tally(0, 0), Tally(0, 0))]])
def test_no_outcomes_are_no_evidence(strata: list[Stratum], difference: float) -> None:
    """Without outcomes E is exactly 1."""
    assert log_e_at_most(strata, difference) == 0.0
    assert log_e_at_least(strata, difference) == 0.0


def test_one_arm_alone_is_no_evidence() -> None:
    """However good the canary is, with an empty baseline nothing is shown."""
    assert log_e_at_most([Stratum(Tally(0, 0), Tally(50, 0))], 0.0) < 0.0


def test_evidence_grows_with_better_canary() -> None:
    """Each further hit instead of a miss raises the evidence for the canary."""
    values = [
        log_e_at_most([Stratum(Tally(5, 15), Tally(hits, 20 - hits))], 0.0) for hits in range(6, 21)
    ]
    assert values == sorted(values)
    assert len(set(values)) == len(values)
    assert values[-1] > NEEDED


def test_steps_multiply() -> None:
    """E of two steps is the product of their E."""
    first, second = Stratum(Tally(3, 9), Tally(4, 1)), Stratum(Tally(10, 40), Tally(20, 22))
    for difference in (-0.2, 0.0, 0.1):
        product = log_e_at_most([first], difference) + log_e_at_most([second], difference)
        assert log_e_at_most([first, second], difference) == pytest.approx(product, abs=1e-12)


def grouped(stratum: Stratum, group: str | None) -> Stratum:
    return Stratum(stratum.baseline, stratum.canary, group)


def together(strata: list[Stratum]) -> Stratum:
    """Return the strata as one."""
    baseline, canary = (
        Tally(sum(t.hits for t in tallies), sum(t.misses for t in tallies))
        for tallies in ([s.baseline for s in strata], [s.canary for s in strata])
    )
    return Stratum(baseline, canary)


@given(st.lists(strata_of_one, min_size=1, max_size=4), differences)
@settings(deadline=None)
def test_the_second_bet_is_one_mixture_over_a_group(
    strata: list[Stratum], difference: float
) -> None:
    """The numerator is a mean of the two bets, the denominator that of the steps apart."""
    apart = log_e_at_most(strata, difference)
    one = together(strata)
    mixtures = sum(log_mixture(t) for s in strata for t in (s.baseline, s.canary))
    pooled = log_mixture(one.baseline) + log_mixture(one.canary)
    found = log_e_at_most([grouped(s, "") for s in strata], difference)
    if math.isinf(apart):
        assert found == apart
    else:
        bets = (1.0 - TOGETHER) * math.exp(mixtures) + TOGETHER * math.exp(pooled)
        expected = apart - mixtures + math.log(bets)
        assert found == pytest.approx(expected, abs=1e-6)


@given(strata_of_one, differences)
@settings(deadline=None)
def test_of_one_step_both_bets_are_the_same(stratum: Stratum, difference: float) -> None:
    """A second bet on one step changes nothing, exactly; nor does one that some step lacks."""
    alone = log_e_at_most([stratum], difference)
    assert log_e_at_most([grouped(stratum, "en")], difference) == alone
    mixed = [grouped(stratum, "en"), grouped(stratum, None)]
    assert log_e_at_most(mixed, difference) == log_e_at_most([stratum, stratum], difference)


def test_groups_are_bet_on_apart() -> None:
    """Two languages that differ, each the same over three steps: their own bets win."""
    english, german = Stratum(Tally(4, 36), Tally(10, 30)), Stratum(Tally(30, 10), Tally(36, 4))
    both = [grouped(s, g) for s, g in ((english, "en"), (german, "de")) for _ in range(3)]
    as_one = [grouped(s, "") for s in both]
    assert log_e_at_most(both, 0.0) > log_e_at_most(as_one, 0.0)
    assert log_e_at_most(both, 0.0) > log_e_at_most([grouped(s, None) for s in both], 0.0)
    assert log_e_at_least(both, 0.1) > log_e_at_least([grouped(s, None) for s in both], 0.1)


def test_the_second_bet_costs_little_and_saves_much() -> None:
    """Where shares change between steps at most a factor 4; where they do not, many times that."""
    same = [Stratum(Tally(30, 70), Tally(60, 40)) for _ in range(3)]
    changing = [Stratum(Tally(b, 100 - b), Tally(b + 5, 95 - b)) for b in (5, 50, 90)]
    for strata, low, high in ((same, math.log(20.0), math.inf), (changing, -math.log(4.0), 0.0)):
        gain = log_e_at_most([grouped(s, "") for s in strata], 0.0) - log_e_at_most(strata, 0.0)
        assert low - 1e-9 <= gain <= high


def test_the_second_bet_keeps_the_error_rate() -> None:
    """Of 300 canaries that equal the baseline at most 5 % are ever promoted, looking 60 times."""
    wrong = 0
    for seed in range(300):
        rng, done = random.Random(seed), list[Stratum]()
        best = -math.inf
        for share, count in THREE_STEPS:
            looks = list(rated(rng, 0.3, 0.3, share, count))
            values = (log_e_at_most([*done, grouped(s, "")], 0.0) for s in looks[::5])
            best = max(best, *values)
            done.append(grouped(looks[-1], ""))
        wrong += best >= NEEDED
    assert wrong <= 300 * ALPHA


def test_no_weight_is_given_to_more_than_the_null() -> None:
    """What the mixture gives to H0 is never overstated, and is right to a few in 10,000."""

    def chance(difference: float) -> float:
        """Return P(C - B <= d) of two arcsine laws."""

        def below(angle: float) -> float:
            top = min(1.0, max(0.0, math.sin(angle) ** 2 + difference))
            return math.asin(math.sqrt(top)) * (2.0 / math.pi) ** 2

        bends = [math.asin(math.sqrt(x)) for x in (abs(difference), 1.0 - abs(difference))]
        return float(integrate.quad(below, 0.0, math.pi / 2.0, points=bends, epsabs=1e-9)[0])

    for difference in (-0.9, -0.3, -0.05, -0.01, 0.0, 0.02, 0.05, 0.5, 0.99):
        assert 0.0 <= chance(difference) - weight_at_most(difference) <= 2e-4
    assert weight_at_most(-1.0) == 0.0


@pytest.mark.parametrize("difference", [-0.3, -0.05, 0.0, 0.05, 0.2])
def test_a_focused_bet_is_not_above_the_mixture_of_what_is_left(difference: float) -> None:
    """Against the mixture that H0 is cut out of, over a grid of a million pairs of shares."""
    angles = (np.arange(1_000) + 0.5) * (math.pi / 2_000)
    shares = np.sin(angles) ** 2  # each of the same weight
    outside = shares[None, :] - shares[:, None] > difference
    for baseline, canary in (
        (Tally(3, 9), Tally(9, 2)),
        (Tally(20, 30), Tally(22, 28)),
        (Tally(5, 5), Tally(2, 14)),
        (Tally(0, 40), Tally(0, 30)),
    ):
        chances = [shares**t.hits * (1.0 - shares) ** t.misses for t in (baseline, canary)]
        left = float((chances[0][:, None] * chances[1][None, :])[outside].mean())
        stratum = Stratum(baseline, canary)
        whole = log_mixture(baseline) + log_mixture(canary)
        log_sup = whole - log_e_at_most([stratum], difference)
        found = log_without(whole - log_sup, weight_at_most(difference))
        assert found <= math.log(left) - log_sup + 1e-3


@pytest.mark.parametrize("difference", [-0.2, -0.05, 0.0, 0.1])
def test_focused_evidence_is_one_on_average_at_most(difference: float) -> None:
    """Over all outcomes of two steps, at shares on the edge of H0 and inside it: E[E] <= 1."""
    steps = ((4, 1), (3, 3))  # answers of the baseline and of the canary
    cases: list[tuple[float, list[Stratum]]]
    for share, change in itertools.product((0.25, 0.5, 0.8), (0.0, -0.1)):
        other = min(1.0, max(0.0, share + difference + change))
        cases = [(1.0, [])]
        for baseline, canary in steps:
            cases = [
                (chance * binomial(b, baseline, share) * binomial(c, canary, other), [*done, now])
                for chance, done in cases
                for b, c in itertools.product(range(baseline + 1), range(canary + 1))
                for now in [Stratum(Tally(b, baseline - b), Tally(c, canary - c), "")]
            ]
        total = sum(
            chance * math.exp(log_e_at_most(strata, difference, focused=True))
            for chance, strata in cases
            if chance > 0.0
        )
        assert total <= 1.0 + 1e-9


def binomial(hits: int, of: int, share: float) -> float:
    return math.comb(of, hits) * share**hits * (1.0 - share) ** (of - hits)


def test_what_is_left_of_evidence() -> None:
    """Nothing of what H0's weight reaches; all of it where H0 has none; infinity stays."""
    assert log_without(0.0, 0.5) == pytest.approx(0.0)
    assert log_without(math.log(10.5), 0.5) == pytest.approx(math.log(20.0))
    assert log_without(math.log(0.4), 0.5) == -math.inf
    assert log_without(-2.0, 0.0) == -2.0
    assert log_without(math.inf, 0.5) == math.inf


def test_focused_evidence_starts_at_one_and_needs_groups() -> None:
    """Without outcomes it is 1; where no second bet is made, nothing changes."""
    for difference in (-0.2, 0.0, 0.2):
        assert log_e_at_most([], difference, focused=True) == 0.0
        empty = [Stratum(Tally(0, 0), Tally(0, 0), "")]
        assert log_e_at_most(empty, difference, focused=True) == pytest.approx(0.0, abs=1e-12)
        lone = [Stratum(Tally(3, 9), Tally(9, 3))]
        plain = log_e_at_most(lone, difference)
        assert log_e_at_most(lone, difference, focused=True) == plain
    impossible = [Stratum(Tally(0, 1), Tally(0, 1), "")]
    assert log_e_at_most(impossible, -1.0, focused=True) == math.inf


def test_focused_evidence_keeps_the_error_rate() -> None:
    """Of 300 canaries worse by just the margin at most 5 % are ever shown not to be."""
    for difference in (0.0, -0.1):
        wrong = 0
        for seed in range(150):
            rng, done = random.Random(seed), list[Stratum]()
            best = -math.inf
            for share, count in THREE_STEPS:
                looks = list(rated(rng, 0.5, 0.5 + difference, share, count))
                values = (
                    log_e_at_most([*done, grouped(s, "")], difference, focused=True)
                    for s in looks[4::10]
                )
                best = max(best, *values)
                done.append(grouped(looks[-1], ""))
            wrong += best >= NEEDED
        assert wrong <= 150 * ALPHA


@pytest.mark.parametrize("difference", [0.02, 0.05, 0.4])
def test_zero_events_have_a_closed_form(difference: float) -> None:
    """Without events the best shares are 0 and d, so sup = (1 - d)^n of the canary."""
    stratum = Stratum(Tally(0, 70), Tally(0, 90))
    mixtures = log_mixture(stratum.baseline) + log_mixture(stratum.canary)
    expected = mixtures - 90 * math.log1p(-difference)
    assert log_e_at_least([stratum], difference) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("stratum", "difference", "expected"),
    [
        (Stratum(Tally(0, 2), Tally(2, 0)), 1.0, 2 * math.log(3 / 8)),  # allowed by every H0
        (Stratum(Tally(1, 0), Tally(0, 1)), -1.0, 2 * math.log(0.5)),  # just what H0 says
        (Stratum(Tally(0, 1), Tally(0, 1)), -1.0, math.inf),  # impossible under H0
        (Stratum(Tally(1, 0), Tally(1, 0)), -0.5, 2 * math.log(0.5) - math.log(0.5)),
    ],
)
def test_extreme_differences_are_exact(
    stratum: Stratum, difference: float, expected: float
) -> None:
    """At differences of -1 and 1, and at shares of 0 and 1, the supremum is exact."""
    assert log_e_at_most([stratum], difference) == pytest.approx(expected, abs=1e-12)


def rated(
    rng: random.Random, baseline: float, canary: float, share: float, count: int
) -> Iterator[Stratum]:
    """Yield the counts of one step after each of its simulated ratings."""
    cells = {"baseline": [0, 0], "canary": [0, 0]}
    for _ in range(count):
        arm = "canary" if rng.random() < share else "baseline"
        good = rng.random() < (canary if arm == "canary" else baseline)
        cells[arm][0 if good else 1] += 1
        yield Stratum(Tally(*cells["baseline"]), Tally(*cells["canary"]))


def log_e_path(seed: int, baseline: float, canary: float) -> Iterator[float]:
    """Yield the evidence for the canary after each rating of a simulated rollout."""
    rng = random.Random(seed)
    before = 0.0
    for share, count in THREE_STEPS:
        log_e = 0.0
        for stratum in rated(rng, baseline, canary, share, count):
            log_e = log_e_at_most([stratum], 0.0)
            yield before + log_e
        before += log_e


THREE_STEPS = ((0.1, 40), (0.25, 40), (0.5, 220))  # the canary's share, ratings of both arms


def test_peeking_after_each_rating_keeps_the_error_rate() -> None:
    """Of 400 canaries that equal the baseline at most 5 % are ever promoted, looking 300 times."""
    wrong = sum(max(log_e_path(seed, 0.3, 0.3)) >= NEEDED for seed in range(400))
    assert wrong <= 400 * ALPHA


def test_clear_gain_is_found_within_few_ratings() -> None:
    """From 10 % to 60 % good, the median rollout needs about 90 ratings over three steps."""
    needed = [
        next(
            count
            for count, log_e in enumerate(log_e_path(seed, 0.1, 0.6), start=1)
            if log_e >= NEEDED
        )
        for seed in range(100)
    ]
    assert 60 <= statistics.median(needed) <= 110


@pytest.mark.parametrize(
    ("tolerance", "exposures", "focused"),
    [
        *((0.02, 514, False), (0.05, 183, False), (0.10, 82, False)),
        *((0.02, 386, True), (0.05, 141, True), (0.10, 65, True)),
    ],
)
def test_guardrail_without_events_is_shown_after(
    tolerance: float, exposures: int, *, focused: bool
) -> None:
    """So many exposures of each arm show that a share of zero has not grown by the tolerance."""

    def log_e(count: int) -> float:
        arms = [Stratum(Tally(0, count), Tally(0, count), "")]
        return log_e_at_least(arms, tolerance, focused=focused)

    assert log_e(exposures - 1) < NEEDED <= log_e(exposures)


def test_confidence_sequence_starts_with_everything() -> None:
    """Without outcomes no difference is ruled out."""
    assert confidence_sequence([], alpha_low=ALPHA, alpha_high=ALPHA) == Interval(-1.0, 1.0)


@given(stratum=strata_of_one)
@settings(max_examples=30, deadline=None)
def test_confidence_sequence_ends_where_evidence_does(stratum: Stratum) -> None:
    """Just outside the interval a one-sided e-process rejects, just inside neither does."""
    interval = confidence_sequence([stratum], alpha_low=ALPHA, alpha_high=ALPHA)
    if interval.low > -1.0:
        assert log_e_at_most([stratum], interval.low) >= NEEDED
        assert log_e_at_most([stratum], interval.low + 1e-5) < NEEDED + 1e-2
    if interval.high < 1.0:
        assert log_e_at_least([stratum], interval.high) >= NEEDED
        assert log_e_at_least([stratum], interval.high - 1e-5) < NEEDED + 1e-2
    assert interval.low < interval.high


def test_confidence_sequence_holds_the_true_difference() -> None:
    """At least 95 % of 100 rollouts keep the true difference inside at every look."""
    kept = 0
    for seed in range(100):
        looks = list(rated(random.Random(seed), 0.2, 0.5, 0.5, 150))[::10]
        kept += all(
            log_e_at_most([s], 0.3) < NEEDED and log_e_at_least([s], 0.3) < NEEDED for s in looks
        )
    assert kept >= 95


def test_confidence_sequence_may_be_empty() -> None:
    """Steps that contradict each other leave no common difference."""
    better, worse = Stratum(Tally(0, 60), Tally(60, 0)), Stratum(Tally(60, 0), Tally(0, 60))
    interval = confidence_sequence([better, worse], alpha_low=ALPHA, alpha_high=ALPHA)
    assert interval.low > interval.high
