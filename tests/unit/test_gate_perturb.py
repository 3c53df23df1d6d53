"""Prompts with slips: other texts with the same meaning, and always the same ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.gate.perturb import MIN_WORD, NEIGHBOURS, PERTURBATIONS, typos

TEXT = (
    "Please send the invoice for order 4711 to ann@example.org, and tell me whether `git push` "
    "works again; the documentation at https://example.org/guide says nothing."
)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_each_changes_a_text_always_alike(name: str) -> None:
    """By the seed alone."""
    perturb = PERTURBATIONS[name]
    assert perturb(TEXT, 1) != TEXT
    assert perturb(TEXT, 1) == perturb(TEXT, 1)


@given(seed=st.integers(0, 10_000))
def test_a_typo_leaves_numbers_addresses_and_code_alone(seed: int) -> None:
    """A slip there would ask for something else."""
    changed = typos(TEXT, seed)
    assert changed != TEXT
    for kept in ("4711", "ann@example.org", "`git push`", "https://example.org/guide"):
        assert kept in changed
    before, after = TEXT.split(), changed.split()
    assert len(before) == len(after)
    slips = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    assert 1 <= len(slips) <= 3
    for one, other in slips:
        assert one[0] == other[0]
        assert abs(len(one) - len(other)) <= 1
        assert len(one.strip(",;.")) >= MIN_WORD


def test_a_text_without_longer_words_stays() -> None:
    """There is nothing to slip on."""
    assert typos("Is it on? 12345", 3) == "Is it on? 12345"
    assert typos("ßßßß", 0)[0] == "ß"


def test_punctuation_goes_and_decimals_stay() -> None:
    """A point within a number is no end of a sentence."""
    assert PERTURBATIONS["unpunctuated"]("It is 3.5 km, no? Yes.", 0) == "It is 3.5 km no Yes"


def test_neighbours_are_neighbours_of_each_other() -> None:
    """As keys on a keyboard are."""
    for key, near in NEIGHBOURS.items():
        assert all(key in NEIGHBOURS[other] for other in near)
