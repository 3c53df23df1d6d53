"""What reviewers may say of an item, and what they say together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RequestError
from curation.review.words import (
    Choice,
    Decision,
    ReviewVerdict,
    check,
    position,
    preferred,
    verdict,
)

CHOICES = st.lists(
    st.tuples(st.sampled_from(["approve", "reject", "correct", "skip"]), st.just("text"))
)


@pytest.mark.parametrize(
    ("said", "kind", "field"),
    [
        ({"choice": "prefer", "preferred": "tie"}, "pair", "decision"),
        ({"choice": "approve"}, "comparison", "decision"),
        ({"choice": "prefer"}, "comparison", "preferred"),
        ({"choice": "skip", "preferred": "tie"}, "comparison", "preferred"),
        ({"choice": "approve", "rubric": {"charm": 3}}, "pair", "rubric"),
        ({"choice": "approve", "rubric": {"style": 0}}, "pair", "rubric"),
        ({"choice": "approve", "rubric": {"style": True}}, "pair", "rubric"),
        ({"choice": "correct"}, "pair", "text"),
        ({"choice": "correct", "text": " \n"}, "pair", "text"),
        ({"choice": "correct", "text": "a\0b"}, "pair", "text"),
        ({"choice": "correct", "text": "a\ud800"}, "pair", "text"),
        ({"choice": "correct", "text": "a" * 200_001}, "pair", "text"),
        ({"choice": "reject", "text": "a"}, "pair", "text"),
        ({"choice": "reject", "reason": "a" * 2_001}, "pair", "reason"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(said: Any, kind: Any, field: str) -> None:
    """And its field is named."""
    with pytest.raises(RequestError) as error:
        check(Decision(**said), kind)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("decision", "kind"),
    [
        (Decision("approve", rubric={"style": 1, "safety": 5}), "demonstration"),
        (Decision("correct", text="better", reason="dull"), "pair"),
        (Decision("prefer", "second"), "comparison"),
        (Decision("skip"), "comparison"),
    ],
)
def test_a_decision_that_can_be_passes(decision: Decision, kind: Any) -> None:
    """Marks, reasons and corrections where they belong."""
    assert check(decision, kind) is None


@pytest.mark.parametrize(
    ("choices", "needed", "says"),
    [
        (["approve"], 1, ReviewVerdict("approved")),
        (["approve"], 2, None),
        (["approve", "skip"], 2, None),
        (["approve", "reject"], 2, None),
        (["approve", "reject", "reject"], 3, ReviewVerdict("rejected")),
        (["approve", "reject", "approve"], 3, ReviewVerdict("approved")),
        (["approve", "correct", "approve"], 3, ReviewVerdict("corrected", "text")),
        (["reject", "correct", "reject"], 3, ReviewVerdict("rejected")),
        ([], 0, None),
    ],
)
def test_the_majority_decides(
    choices: list[Choice], needed: int, says: ReviewVerdict | None
) -> None:
    """A correction counts as an approval and wins over those; a draw decides nothing."""
    assert verdict([(choice, "text") for choice in choices], needed) == says


def test_of_several_corrections_the_one_most_often_given_is_taken() -> None:
    """And of equally frequent ones the first."""
    two: list[tuple[Choice, str | None]] = [("correct", "x"), ("correct", "y")]
    assert verdict(two, 2) == ReviewVerdict("corrected", "x")
    assert verdict([*two, ("correct", "y")], 3) == ReviewVerdict("corrected", "y")


@given(CHOICES, st.integers(1, 5))
def test_a_verdict_has_a_majority_of_those_who_decided(choices: Any, needed: int) -> None:
    """Whatever was said, in whatever number."""
    said = verdict(choices, needed)
    given = [choice for choice, _ in choices if choice != "skip"]
    against = given.count("reject")
    if said is None:
        assert len(given) < needed or 2 * against == len(given)
    else:
        assert (said.says == "rejected") == (2 * against > len(given))


def test_the_place_of_an_answer_is_random_but_stays() -> None:
    """For each reviewer and item; a reload does not swap them."""
    places = [position(f"item {n}", "ann") for n in range(400)]
    assert places == [position(f"item {n}", "ann") for n in range(400)]
    assert 160 <= places.count("ab") <= 240
    assert places != [position(f"item {n}", "bob") for n in range(400)]


def test_what_was_seen_names_its_adapter() -> None:
    """By the order in which the two were shown."""
    assert [preferred("first", "ab"), preferred("second", "ab")] == ["a", "b"]
    assert [preferred("first", "ba"), preferred("second", "ba")] == ["b", "a"]
    assert preferred("tie", "ba") == "tie"
