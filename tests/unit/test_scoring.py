"""Token-F1 and exact match of answers against references."""

from __future__ import annotations

import math

import pytest

from retrain.gate.scoring import exact_match, mean, token_f1


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("Refunds take 14 days.", "refunds take 14 days", 1.0),
        ("14 days", "Refunds take 14 days", 2 * 2 / (2 + 4)),
        ("days days days", "14 days", 2 * 1 / (3 + 2)),
        ("never", "Refunds take 14 days", 0.0),
        ("", "14 days", 0.0),
        ("14 days", "", 0.0),
        ("...", "!", 1.0),
        ("Grüße aus Köln", "grüße, köln", 2 * 2 / (3 + 2)),
    ],
)
def test_token_f1(answer: str, reference: str, score: float) -> None:
    """Words count as often as they occur in both; case and punctuation do not."""
    assert token_f1(answer, reference) == pytest.approx(score)


def test_exact_match_ignores_case_and_punctuation_only() -> None:
    """Another order or another word is no match."""
    assert exact_match("Yes, 14 days!", "yes 14 days")
    assert not exact_match("14 yes days", "yes 14 days")


def test_mean_of_nothing_is_not_a_number() -> None:
    """The gate then fails instead of taking nought for a score."""
    assert math.isnan(mean([]))
    assert mean([1.0, 0.0]) == 0.5
