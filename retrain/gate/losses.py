"""How likely a model finds the reference answers: by teacher forcing, in this process.

Encoded examples go in; the summed negative log-likelihood of each one's answer, in nats, and its
number of tokens come out. Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from retrain.tokens import IGNORED, Encoded

BATCH = 16
# Padded tokens at once: their logits are 400 MB with a vocabulary of 49,152, so that a gate holds
# less than what its training is reckoned to hold (`retrain.estimate`). Our choice
TOKENS = 2_048
FILLER = 0  # fills rows up; masked, so any id will do


@dataclass(frozen=True, slots=True)
class Likelihood:
    """One answer's negative log-likelihood in nats, over so many tokens."""

    nll: float
    tokens: int

    @property
    def mean(self) -> float:
        """The mean log-probability of a token, at most 0."""
        return -self.nll / self.tokens


def answer_likelihoods(
    model: Any, encoded: Sequence[Encoded], tell: Callable[[int], None]
) -> list[Likelihood]:
    """Return how likely each answer is to the model, given its prompt; `tell` hears how many."""
    found: list[Likelihood] = []
    for batch in _batches(encoded):
        found += _batch(model, batch)
        tell(len(batch))
    return found


def _batches(encoded: Sequence[Encoded]) -> Iterator[list[Encoded]]:
    """Yield them in order, no more at once than `BATCH` and `TOKENS`; a longer one comes alone."""
    batch: list[Encoded] = []
    longest = 0
    for one in encoded:
        longest = max(longest, len(one.input_ids))
        if batch and (len(batch) == BATCH or longest * (len(batch) + 1) > TOKENS):
            yield batch
            batch, longest = [], len(one.input_ids)
        batch.append(one)
    if batch:
        yield batch


@torch.inference_mode()
def _batch(model: Any, encoded: Sequence[Encoded]) -> list[Likelihood]:
    longest = max(len(item.input_ids) for item in encoded)
    padding = [longest - len(item.input_ids) for item in encoded]
    rows = list(zip(encoded, padding, strict=True))
    ids_B_T = torch.tensor([item.input_ids + [FILLER] * pad for item, pad in rows])
    labels_B_T = torch.tensor([item.labels + [IGNORED] * pad for item, pad in rows])[:, 1:]
    mask_B_T = torch.tensor([[1] * len(item.input_ids) + [0] * pad for item, pad in rows])
    device = model.device
    logits_B_T_V = model(input_ids=ids_B_T.to(device), attention_mask=mask_B_T.to(device)).logits
    logits_B_T_V = logits_B_T_V[:, -ids_B_T.shape[1] : -1]  # a soft prompt's come first
    known_B_T = labels_B_T != IGNORED
    logits_N_V = logits_B_T_V[known_B_T.to(device)].float()
    nll_N = functional.cross_entropy(logits_N_V, labels_B_T[known_B_T].to(device), reduction="none")
    counts = known_B_T.sum(dim=1).tolist()
    parts = torch.split(nll_N.cpu(), counts)
    return [Likelihood(float(part.sum()), count) for part, count in zip(parts, counts, strict=True)]
