"""How likely a model finds answers: the same for any batches, of which none is too large."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from retrain.gate.losses import BATCH, TOKENS, Likelihood, answer_likelihoods
from retrain.tokens import Encoded

VOCABULARY = 5


class EqualModel:
    """Finds every token equally likely, and remembers how much it was asked at once."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def __call__(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        rows, length = input_ids.shape
        assert attention_mask.shape == (rows, length)
        self.asked.append((rows, length))
        return SimpleNamespace(logits=torch.zeros(rows, length, VOCABULARY))


def example(prompt: int, answer: int) -> Encoded:
    """Return an example of so many tokens before its answer, and in it."""
    return Encoded([1] * prompt, [2] * answer, answer_only=True)


@pytest.mark.parametrize(
    ("lengths", "asked"),
    [
        ([4] * (BATCH + 3), [(BATCH, 4), (3, 4)]),
        ([TOKENS // 2, TOKENS // 2, 4], [(2, TOKENS // 2), (1, 4)]),
        ([4, 4, TOKENS // 2], [(2, 4), (1, TOKENS // 2)]),
        ([4, TOKENS + 7, 4], [(1, 4), (1, TOKENS + 7), (1, 4)]),
        ([], []),
    ],
)
def test_no_batch_is_too_large(lengths: list[int], asked: list[tuple[int, int]]) -> None:
    """By examples or by padded tokens; all are answered in order, and told of."""
    model, told = EqualModel(), list[int]()
    encoded = [example(length - 1 - n % 2, 1 + n % 2) for n, length in enumerate(lengths)]
    found = answer_likelihoods(model, encoded, told.append)
    assert model.asked == asked
    assert told == [rows for rows, _ in asked]
    tokens = [1 + n % 2 for n in range(len(lengths))]
    assert found == [Likelihood(pytest.approx(n * math.log(VOCABULARY)), n) for n in tokens]  # type: ignore[arg-type]
