"""CURATE: texts as points, near each other when they mean the same; for semantic dedupe and review.

Texts in, one vector of length 1 each out. `TransformerEmbedder` runs a sentence-transformer's
folder, `HashingEmbedder` needs no model and knows words, not meanings. Knows nothing of
candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.sentence_model import Embedder, TransformerEmbedder
from curation.features import Floats, term_counts

__all__ = ["Embedder", "HashingEmbedder", "TransformerEmbedder"]

HASH_DIMENSIONS = 512


@dataclass(frozen=True, slots=True)
class HashingEmbedder:
    """Words by their hash, with a sign by another bit of it. Deterministic on every machine.

    Source: Weinberger et al. 2009, arXiv 0902.2206.
    """

    dimensions: int = HASH_DIMENSIONS

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return the vectors; texts of the same words are equal, in any order."""
        features = term_counts(texts)
        sign = np.where((features.bucket // self.dimensions) % 2, 1.0, -1.0)
        place = features.row * self.dimensions + features.bucket % self.dimensions
        size = len(features) * self.dimensions
        sums = np.bincount(place, features.weight * sign, minlength=size)[:size]
        vectors_N_D = sums.astype(np.float32).reshape(len(features), self.dimensions)
        silent = ~vectors_N_D.any(axis=1)
        vectors_N_D[silent, 0] = 1.0  # no words, or words that cancel out: one place for all
        return vectors_N_D / np.linalg.norm(vectors_N_D, axis=1, keepdims=True)
