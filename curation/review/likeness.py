"""CURATE: how far candidates are from what is learnt already, and how near to what was failed.

Candidates with their texts, the parent version and failed questions come in; numbers by candidate
go out. Prompts are compared by the words in them: no model is needed. Knows no queue.

Source: the fine-tuning guide, "Active Learning Strategies" (diversity by embedding distance, error
analysis).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from curation.embedding import HASH_DIMENSIONS, HashingEmbedder
from curation.features import Floats
from curation.keys import prompt_text
from curation.stages.semantic import novelty
from curation.table import Table, conversations, roles
from curation.version_examples import demonstrations
from feedback.tables import DatasetVersion

MOST = 20_000  # prompts on each side: 40 MB of vectors, compared in some 20 s on 2 cores
BATCH_ROWS = 2_000  # embedded at a time
# Cosine of two prompts' words above which they ask much the same; our choice: half of the words
LIKE = 0.5


@dataclass(frozen=True, slots=True)
class Pointed:
    """Candidates, and their prompts as vectors of length 1, N × D."""

    ids: tuple[str, ...]
    vectors_N_D: Floats

    def novelties(self, parent_M_D: Floats) -> dict[str, float]:
        """Return each candidate's distance from the nearest of the parent's prompts."""
        return dict(zip(self.ids, novelty(self.vectors_N_D, parent_M_D).tolist(), strict=True))

    def like(self, texts: Sequence[str]) -> set[str]:
        """Return the candidates whose prompt is like one of these."""
        if not texts:
            return set()
        distances = novelty(self.vectors_N_D, HashingEmbedder().embed(texts))
        return {
            id_ for id_, distance in zip(self.ids, distances, strict=True) if distance <= 1 - LIKE
        }


def pointed(tables: Iterable[Table]) -> Pointed:
    """Return candidates, which have their texts, as points."""
    ids: list[str] = []
    parts = [np.empty((0, HASH_DIMENSIONS), np.float32)]
    for table in tables:
        for start in range(0, table.num_rows, BATCH_ROWS):
            part = table.slice(start, BATCH_ROWS)
            ids += part["candidate_id"].to_pylist()
            parts.append(HashingEmbedder().embed(prompts(part)))
    return Pointed(tuple(ids), np.concatenate(parts))


def train_vectors(version: DatasetVersion) -> Floats:
    """Return prompts of real examples that a version teaches, at most `MOST`, as vectors."""
    shown = demonstrations(version, "train", MOST, "novelty")
    found = [HashingEmbedder().embed(prompts(part)) for part in shown]
    return np.concatenate([np.empty((0, HASH_DIMENSIONS), np.float32), *found])


def prompts(table: Table) -> list[str]:
    """Return the normalised prompt of each row."""
    return [prompt_text(*row) for row in zip(roles(table), conversations(table), strict=True)]
