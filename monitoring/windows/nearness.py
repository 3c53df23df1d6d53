"""DETECT: how far prompts are from the training examples. Pure.

Vectors of length 1 go in, cosine distances come out: 0 for a prompt that is an example, around 1
for one that has nothing in common with any. Computed in blocks, so that memory stays flat.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BLOCK_ROWS = 512  # times 5,000 examples: 10 MB
FAR_QUANTILE = 0.99  # of the examples' own distances: one example in a hundred counts as novel


def distances(rows_N_D: Floats, known_M_D: Floats) -> Floats:
    """Return of each row the cosine distance to the nearest of `known`; N, between 0 and 2."""
    near = [
        (rows_N_D[start : start + BLOCK_ROWS] @ known_M_D.T).max(axis=1)
        for start in range(0, len(rows_N_D), BLOCK_ROWS)
    ]
    return _distance(np.concatenate([np.empty(0, np.float32), *near]))


def distances_among(rows_N_D: Floats) -> Floats:
    """Return of each row the distance to the nearest other one; 1 where there is no other."""
    near = [np.empty(0, np.float32)]
    for start in range(0, len(rows_N_D), BLOCK_ROWS):
        block = rows_N_D[start : start + BLOCK_ROWS] @ rows_N_D.T
        places = np.arange(len(block))
        block[places, places + start] = 0.0 if len(rows_N_D) == 1 else -1.0
        near.append(block.max(axis=1))
    return _distance(np.concatenate(near))


def far(own: Floats) -> float | None:
    """Return the distance beyond which a row is novel; None without any."""
    return float(np.quantile(own, FAR_QUANTILE)) if len(own) else None


def _distance(nearness: Floats) -> Floats:
    return (1.0 - np.clip(nearness, -1.0, 1.0)).astype(np.float32)
