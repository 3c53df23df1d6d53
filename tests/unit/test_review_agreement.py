"""Numbers of review: agreement, calibration, and two adapters side by side."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.review.agreement import Alpha, Given, agreement, alpha
from curation.review.binomial import interval, two_sided_p
from curation.review.comparison import Preference, compare, other_way

# The example of Krippendorff's "Computing Krippendorff's Alpha-Reliability" (2011), with 4 coders
WORKED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
RATINGS = [
    (f"item {item}", f"coder {coder}", mark)
    for coder, marks in enumerate(WORKED)
    for item, mark in enumerate(marks)
    if mark is not None
]


def test_alpha_is_krippendorffs_own() -> None:
    """His worked example: 0.743 nominal, 0.849 interval."""
    domain = (1, 2, 3, 4, 5)
    assert alpha(RATINGS, domain, "nominal").value == pytest.approx(0.743, abs=5e-4)
    found = alpha(RATINGS, domain, "interval")
    assert found.value == pytest.approx(0.849, abs=5e-4)
    assert (found.items, found.reviewers) == (11, 4)


def test_alpha_is_none_where_it_cannot_be_told() -> None:
    """Nothing that two judged, or one and the same judgement everywhere."""
    assert alpha([], (1, 2), "nominal") == Alpha(None, 0, 0)
    assert alpha([("i", "a", 1), ("j", "b", 2)], (1, 2), "nominal") == Alpha(None, 0, 0)
    assert alpha([("i", "a", 1), ("i", "b", 1)], (1, 2), "nominal") == Alpha(None, 1, 2)


def test_each_mark_and_the_decisions_have_their_own_alpha() -> None:
    """Preferences are no decisions; marks that one gave alone count for nothing."""
    found = agreement(
        [
            Given("i", "ann", "approve", rubric={"style": 5, "safety": 1}),
            Given("i", "bob", "approve", rubric={"style": 5}),
            Given("j", "ann", "reject", rubric={"style": 1}),
            Given("j", "bob", "reject", rubric={"style": 2}),
            Given("k", "ann", "prefer", preferred="a"),
            Given("k", "bob", "prefer", preferred="b"),
        ]
    )
    assert found.decisions == Alpha(1.0, 2, 2)
    style = found.rubric["style"].value
    assert style is not None
    assert 0.8 < style < 1
    assert found.rubric["safety"].value is None
    assert found.preferences.value is not None
    assert found.preferences.value <= 0


def test_reviewers_are_measured_by_known_answers() -> None:
    """To correct a bad answer is as right as to reject it, and a good one as wrong."""
    found = agreement(
        [
            Given("g", "ann", "approve", expected="approve"),
            Given("b", "ann", "correct", expected="reject"),
            Given("g", "bob", "correct", expected="approve"),
            Given("b", "bob", "reject", expected="reject"),
            Given("x", "bob", "approve"),
        ]
    )
    ann, bob = found.calibration
    assert (ann.reviewer, ann.items, ann.right, ann.accuracy) == ("ann", 2, 2, 1.0)
    assert (bob.reviewer, bob.items, bob.right) == ("bob", 2, 1)
    assert ann.low == pytest.approx(0.158, abs=1e-3)  # 0.025 ** (1/2)


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),  # published tables of Clopper and Pearson's interval
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (60, 100, 0.4972, 0.6967),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_clopper_and_pearsons(
    hits: int, tries: int, low: float, high: float
) -> None:
    """To the digits that tables print."""
    assert interval(hits, tries) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_p_value_is_exact(hits: int, misses: int) -> None:
    """As counted in whole numbers."""
    tries = hits + misses
    tail = sum(math.comb(tries, count) for count in range(min(hits, misses) + 1))
    exact = min(1.0, 2 * tail / 2**tries)
    assert two_sided_p(hits, tries) == pytest.approx(exact, rel=1e-9)


def test_many_tries_are_counted_too() -> None:
    """Without an overflow, and close to the normal law."""
    low, high = interval(5_200, 10_000)
    assert (low, high) == pytest.approx((0.5102, 0.5298), abs=2e-4)
    assert two_sided_p(5_200, 10_000) == pytest.approx(6.6e-5, rel=0.05)


def test_the_reviewers_of_a_prompt_count_once() -> None:
    """By what most of them preferred; ties are told, and left out of the test."""
    given = [
        *(Preference("i", "a", "ab"), Preference("i", "a", "ba"), Preference("i", "b", "ab")),
        *(Preference("j", "a", "ab"), Preference("j", "b", "ab")),
        *(Preference("k", "a", "ba"), Preference("l", "tie", "ab")),
    ]
    found = compare("v1", None, given)
    assert (found.a, found.b, found.ties, found.reviews) == (2, 0, 2, 7)
    assert (found.share_a, found.p) == (1.0, 0.5)
    assert (found.first, found.second) == (2, 4)
    swapped = compare(None, "v1", map(other_way, given))
    assert (swapped.a, swapped.b, swapped.first, swapped.second) == (0, 2, 2, 4)


def test_without_a_preference_nothing_is_told() -> None:
    """No share, the whole interval, no evidence."""
    found = compare("v1", "v2", [])
    assert (found.share_a, found.low, found.high, found.p) == (None, 0.0, 1.0, 1.0)
