"""Effect sizes, p-values and their correction: the arithmetic under a drift decision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.drift.discovery import adjusted
from monitoring.drift.effects import (
    cliffs_delta,
    cohens_h,
    cramers_v,
    jensen_shannon,
    wasserstein,
)
from monitoring.drift.kernel import compare_vectors, median_distance
from monitoring.drift.sample import Floats, Sample, Vectors, present, thinned
from monitoring.drift.stream import newest_change
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


@given(st.lists(st.floats(0.0, 1.0), max_size=30))
def test_corrected_p_values_keep_their_order(p_values: list[float]) -> None:
    """None becomes smaller, none exceeds 1, and the order stays."""
    corrected = adjusted(p_values)
    assert all(p <= q <= 1.0 for p, q in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0.0) or len(p_values) < 2


def test_correction_is_benjamini_and_yekutielis() -> None:
    """It equals scipy's."""
    p_values = [0.001, 0.2, 0.03, 0.0004, 0.5]
    wanted = stats.false_discovery_control(p_values, method="by")
    assert adjusted(p_values) == pytest.approx(list(wanted))


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


def test_a_slow_loss_adds_up_over_windows() -> None:
    """Five points are unsure in one window of ratings and sure in eight."""
    generator = np.random.default_rng(4)
    reference = (generator.random(1_500) < 0.8).astype(np.float64)
    lower = (generator.random(4_800) < 0.72).astype(np.float64)
    first = newest_change(reference, lower[:200], "down", min_values=50)
    after = newest_change(reference, lower, "down", min_values=50)
    assert first is not None
    assert after is not None
    assert first.p > 1e-4 > after.p
    assert after.before > after.after


def test_the_newest_part_is_found() -> None:
    """A loss that began late is told by the part since then."""
    good, bad = np.ones(900), np.zeros(100)
    found = newest_change(np.ones(500), np.concatenate([good, bad]), "down", min_values=50)
    assert found is not None
    assert found.newest <= 125
    assert found.after < found.before


def test_too_few_ratings_say_nothing() -> None:
    """Missing values do not count, on either side."""
    many, few = np.ones(100), np.append(np.ones(40), [np.nan] * 50)
    assert newest_change(many, few, "down", min_values=50) is None
    assert newest_change(few, many, "down", min_values=50) is None
    assert len(present(few)) == 40


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=60, max_size=200), st.sampled_from(["up", "down"]))
def test_the_same_stream_is_no_change(flags: list[bool], worse: str) -> None:
    """A stream after itself is never sure of a change as a whole part."""
    stream = np.array(flags, dtype=np.float64)
    found = newest_change(stream, stream, "up" if worse == "up" else "down", min_values=len(stream))
    assert found is not None
    assert found.p > 0.4


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
