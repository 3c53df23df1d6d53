"""Effect sizes, p-values and their correction: the arithmetic under a drift decision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.drift.columns import Worse
from monitoring.drift.discovery import adjusted
from monitoring.drift.effects import (
    cliffs_delta,
    cohens_h,
    cramers_v,
    jensen_shannon,
    largest_fall,
    wasserstein,
)
from monitoring.drift.kernel import compare_vectors, median_distance
from monitoring.drift.sample import Floats, Sample, Vectors, present, thinned
from monitoring.drift.stream import StreamFinding, newest_change
from monitoring.drift.twosample import (
    ENOUGH_ABOVE,
    flags_p,
    labels_p,
    numbers_p,
    permutation_p,
)

values = st.lists(st.integers(-50, 50), min_size=2, max_size=40).map(
    lambda some: np.array(some, dtype=np.float64)
)
counts = st.lists(st.integers(0, 30), min_size=3, max_size=3).map(
    lambda some: np.array(some, dtype=np.float64) + 0.0
)


def floats(*numbers: float) -> Floats:
    return np.array(numbers, dtype=np.float64)


@given(values, values)
def test_cliffs_delta_is_what_pairs_say(before: Floats, after: Floats) -> None:
    """It equals the count over all pairs, and turns its sign when the sides are swapped."""
    signs = np.sign(after[:, None] - before[None, :])
    assert cliffs_delta(before, after) == pytest.approx(signs.mean())
    assert cliffs_delta(after, before) == pytest.approx(-cliffs_delta(before, after))


@given(values)
def test_no_difference_has_no_effect(same: Floats) -> None:
    """A sample beside itself has effect 0 by every measure."""
    assert cliffs_delta(same, same) == 0.0
    assert wasserstein(same, same) == 0.0


def test_wasserstein_of_a_shift_is_the_shift_in_deviations() -> None:
    """A normal sample shifted by half a deviation is half a deviation away."""
    before = np.random.default_rng(1).standard_normal(4_000)
    assert wasserstein(before, before + 0.5) == pytest.approx(0.5, rel=0.05)


def test_one_outlier_does_not_hide_a_shift() -> None:
    """The deviation is that of the middle half, not of a single slow answer."""
    before = np.random.default_rng(1).standard_normal(1_000)
    with_outlier = np.append(before, 10_000.0)
    assert wasserstein(with_outlier, with_outlier + 1.0) > 0.9


def test_a_constant_reference_has_its_own_scale() -> None:
    """Without any spread a difference is one deviation; a spread of few values is their own."""
    assert wasserstein(floats(2.0, 2.0, 2.0), floats(2.0, 5.0, 2.0)) == 1.0
    mostly = floats(*[0.0] * 9, 10.0)
    assert wasserstein(mostly, mostly + 3.0) == pytest.approx(1.0)


@given(counts, counts)
def test_shares_of_categories_lie_between_0_and_1(before: Floats, after: Floats) -> None:
    """Both measures are 0 for equal shares, 1 for disjoint ones, and never outside."""
    before, after = before + floats(1.0, 0.0, 0.0), after + floats(0.0, 0.0, 1.0)
    for measure in (cramers_v, jensen_shannon):
        assert 0.0 <= measure(before, after) <= 1.0 + 1e-9
        assert measure(before, 7.0 * before) == pytest.approx(0.0, abs=1e-6)
        assert measure(floats(3.0, 0.0), floats(0.0, 9.0)) == pytest.approx(1.0)


def test_cohens_h_is_the_books() -> None:
    """Half against a quarter is pi / 6. Source: Cohen 1988, table 6.2.2."""
    assert cohens_h(0.25, 0.5) == pytest.approx(np.pi / 6.0)


@given(st.integers(0, 20), st.integers(0, 20))
def test_flags_are_judged_as_fisher_does(before: int, after: int) -> None:
    """Each side equals scipy's exact test of the same table."""
    table = [[after, 20 - after], [before, 20 - before]]
    up: Any = stats.fisher_exact(table, alternative="greater")
    down: Any = stats.fisher_exact(table, alternative="less")
    assert flags_p((before, 20), (after, 20), "up") == pytest.approx(up[1])
    assert flags_p((before, 20), (after, 20), "down") == pytest.approx(down[1])
    both = flags_p((before, 20), (after, 20), "either")
    assert both == pytest.approx(min(1.0, 2.0 * min(up[1], down[1])))


def test_labels_agree_by_chi_square_and_by_permutation() -> None:
    """Of enough counts p is chi-square's; of few ones about that of Fisher's exact test."""
    generator = np.random.default_rng(3)
    many = labels_p(floats(300, 200, 100), floats(270, 240, 90), generator, 999)
    assert many == pytest.approx(stats.chi2_contingency([[300, 200, 100], [270, 240, 90]])[1])
    few = labels_p(floats(12, 1), floats(5, 7), generator, 19_999)
    assert few == pytest.approx(stats.fisher_exact([[12, 1], [5, 7]])[1], rel=0.5)


def test_a_single_category_cannot_differ() -> None:
    """Where all are the same there is nothing to test."""
    assert labels_p(floats(10, 0), floats(20, 0), np.random.default_rng(1), 99) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_permutation_p_is_at_least_one_over_the_draws(seed: int) -> None:
    """Nothing above: the smallest p there is. All above: 1 after as few draws as are needed."""
    generator = np.random.default_rng(seed)
    drawn: list[int] = []

    def draw(times: int) -> Floats:
        drawn.append(times)
        return generator.random(times)

    assert permutation_p(2.0, draw, 999) == pytest.approx(1.0 / 1_000.0)
    assert sum(drawn) == 999
    drawn.clear()
    assert permutation_p(-1.0, draw, 999) == 1.0
    assert sum(drawn) < 5 * ENOUGH_ABOVE


def test_permutation_p_keeps_its_level() -> None:
    """Under no drift p is below 0.1 in about a tenth of cases, though it stops early."""
    generator = np.random.default_rng(7)
    low = sum(permutation_p(generator.random(), generator.random, 400) <= 0.1 for _ in range(1_000))
    assert 70 <= low <= 130  # three deviations


def test_ties_make_numbers_less_sure_not_more() -> None:
    """The level holds for counts of few values, as tokens are."""
    generator = np.random.default_rng(5)
    low = sum(
        numbers_p(
            generator.poisson(3.0, 300).astype(np.float64),
            generator.poisson(3.0, 200).astype(np.float64),
        )
        <= 0.05
        for _ in range(400)
    )
    assert low <= 33  # 20 expected, three deviations above


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.01, 1.0)), max_size=30))
def test_corrected_p_values_keep_their_order(tests: list[tuple[float, float]]) -> None:
    """None becomes smaller, none exceeds 1, and the order of p to weight stays."""
    p_values, weights = [p for p, _ in tests], [weight for _, weight in tests]
    total = sum(weights) or 1.0
    corrected = adjusted(p_values, [weight / total for weight in weights])
    assert all(p <= q <= 1.0 for p, q in zip(p_values, corrected, strict=True))
    order = np.argsort([p / weight for p, weight in tests], kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= -1e-12)


def test_correction_is_holms() -> None:
    """With equal weights the textbook's; the surest one is corrected by its part of all."""
    p_values = [0.01, 0.04, 0.03, 0.005]
    assert adjusted(p_values, [0.25] * 4) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjusted([0.004, 0.9], [0.5, 0.5]) == pytest.approx([0.008, 0.9])
    assert adjusted([0.004, 0.9], [0.8, 0.2]) == pytest.approx([0.005, 0.9])


def test_correction_keeps_its_level_when_tests_are_one() -> None:
    """Of ten tests that are the same one, or apart, at most alpha say anything; weights count."""
    generator, weights = np.random.default_rng(1), [0.5] + [0.5 / 9] * 9
    apart = sum(min(adjusted(list(generator.random(10)), weights)) <= 0.1 for _ in range(1_000))
    same = sum(min(adjusted([p] * 10, weights)) <= 0.1 for p in generator.random(1_000))
    assert 70 <= apart <= 124  # 1 - 0.95 * (1 - 0.1 / 18)^9 of them: 97, three deviations
    assert 30 <= same <= 70  # a twentieth of them: 50


def vectors(rows: int, shift: float, seed: int) -> Vectors:
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal((rows, 16), dtype=np.float32)
    drawn[:, 0] += np.float32(shift)
    return drawn


def test_embeddings_that_moved_are_told_apart() -> None:
    """A shift is sure and has an effect; none has neither; the same seed says the same."""

    def compared(shift: float, seed: int = 1) -> tuple[float, float]:
        found = compare_vectors(
            vectors(400, 0.0, 11),
            vectors(300, shift, 12),
            np.random.default_rng(seed),
            features=64,
            rows=250,
            permutations=999,
        )
        return found.p, found.delta

    p, delta = compared(1.0)
    assert p == pytest.approx(0.001)
    assert delta > 0.3
    assert compared(1.0) == (p, delta)
    p, delta = compared(0.0)
    assert p > 0.01
    assert delta < 0.2


def test_the_kernels_test_keeps_its_level() -> None:
    """Without drift p is below 0.1 in about a tenth of cases."""
    low = sum(
        compare_vectors(
            vectors(60, 0.0, 2 * seed),
            vectors(40, 0.0, 2 * seed + 1),
            np.random.default_rng(seed),
            features=32,
            rows=100,
            permutations=200,
        ).p
        <= 0.1
        for seed in range(300)
    )
    assert 14 <= low <= 46  # three deviations


def test_equal_vectors_have_a_width_all_the_same() -> None:
    """A kernel needs a width above 0, also of one row."""
    same = np.ones((5, 3), dtype=np.float32)
    generator = np.random.default_rng(1)
    assert median_distance(same, generator) == 1.0
    assert median_distance(same[:1], generator) == 1.0
    found = compare_vectors(same[:1], same, generator, features=8, rows=10, permutations=99)
    assert (found.p, found.delta) == (1.0, 0.0)


def changed(
    reference: Floats, *windows: Floats, worse: Worse = "down", seed: int = 1
) -> StreamFinding | None:
    generator = np.random.default_rng(seed)
    return newest_change(reference, windows, worse, generator, min_values=50, permutations=9_999)


def flags(generator: np.random.Generator, share: float, rows: int) -> Floats:
    return (generator.random(rows) < share).astype(np.float64)


def test_a_slow_loss_adds_up_over_windows() -> None:
    """Five points are unsure in one window of ratings and sure in eight."""
    generator = np.random.default_rng(4)
    reference = flags(generator, 0.8, 1_500)
    lower = [flags(generator, 0.74, 200) for _ in range(12)]
    first, after = changed(reference, lower[0]), changed(reference, *lower)
    assert first is not None
    assert after is not None
    assert first.p > 1e-3 >= after.p
    assert after.before[0] / after.before[1] > after.after[0] / after.after[1]


@pytest.mark.parametrize("worse", ["up", "down", "either"])
def test_the_newest_part_is_found(worse: Worse) -> None:
    """A change that began three windows ago is told by those three, on the side that is worse."""
    good, bad = np.ones(100), np.zeros(100)
    if worse == "up":
        good, bad = bad, good
    found = changed(good, *[good] * 6, *[bad] * 3, worse=worse)
    assert found is not None
    assert found.after[1] == 300
    assert found.before[1] == 700
    assert {found.after[0], found.before[0]} in ({0, 700}, {300, 0})
    assert found.p == pytest.approx(1e-4)


def test_what_got_better_is_no_loss() -> None:
    """Nothing is on the worse side: nothing was drawn, and p is 1."""
    found = changed(np.zeros(60), np.ones(60))
    assert found is not None
    assert found.p == 1.0


def test_too_few_ratings_say_nothing() -> None:
    """Missing values do not count, on either side; windows without any do not matter."""
    many, few = np.ones(100), np.append(np.ones(40), [np.nan] * 50)
    assert changed(many, few) is None
    assert changed(few, many) is None
    assert changed(many) is None
    assert changed(many, few, np.empty(0), few) is not None
    assert len(present(few)) == 40


def test_the_law_of_the_surest_change_is_known() -> None:
    """Without change, over twelve windows that are compared at every cut, p is uniform."""
    generator = np.random.default_rng(5)
    below = {0.05: 0, 0.2: 0, 0.5: 0}
    for seed in range(400):
        drawn = [flags(generator, 0.8, rows) for rows in (400, *[100] * 12)]
        found = changed(*drawn, seed=seed)
        assert found is not None
        for level in below:
            below[level] += found.p <= level
    assert 7 <= below[0.05] <= 33  # three deviations around 20
    assert 56 <= below[0.2] <= 104
    assert 170 <= below[0.5] <= 230


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_the_largest_fall_is_above_the_one_measured(
    before: int, after: int, data: st.DataObject
) -> None:
    """Of any counts it lies between the measured fall and 1."""
    old = (data.draw(st.integers(0, before)), before)
    new = (data.draw(st.integers(0, after)), after)
    measured = old[0] / before - new[0] / after
    assert measured - 1e-9 <= largest_fall(old, new) <= 1.0 + 1e-9


def test_the_largest_fall_is_newcombes() -> None:
    """His example of 56 of 70 and 48 of 80: the upper limit of 95 % on both sides is 0.3339."""
    assert largest_fall((56, 70), (48, 80), confidence=0.975) == pytest.approx(0.3339, abs=1e-4)
    assert largest_fall((56, 70), (48, 80)) < 0.3339


def test_rows_of_a_sample() -> None:
    """Any column tells how many rows there are; none of them: 0."""
    assert Sample().rows == 0
    assert Sample(numbers={"cost": np.zeros(3)}).rows == 3
    assert Sample(embedding=np.zeros((4, 2), dtype=np.float32)).rows == 4


def test_thinning_keeps_what_is_few() -> None:
    """At most so many rows, each of them once."""
    some = np.arange(20, dtype=np.float32).reshape(10, 2)
    generator = np.random.default_rng(1)
    assert thinned(some, 10, generator) is some
    few = thinned(some, 4, generator)
    assert len({tuple(row) for row in few}) == 4
