"""DETECT: what prompts are about, as clusters of a reference's embeddings. Pure.

`fit_topics` finds the clusters, `Topics.assign` gives a row the nearest one, or `NEW` beyond what
is usual in the reference. Topics are numbers, a feature like others: new subjects are found, and
named, by `monitoring.drift.clusters`. Source: spherical k-means, Dhillon and Modha 2001;
k-means++, Arthur and Vassilvitskii 2007.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

NEW = -1  # the topic of what is like nothing in the reference
NEW_NAME = "new"  # to people
FAR_QUANTILE = 0.99  # of rows' distances to centres that do not know them: as novelty, `nearness`
ROUNDS = 25  # k-means stops moving long before: 8 rounds on 5,000 prompts, measured
ROWS_A_TOPIC = 10  # fewer are no topic; our choice
SAME = 1e-5  # nearer rows are equal but for rounding


def label(value: object) -> str:
    """Return a topic, or a label of another kind, as people read it."""
    return NEW_NAME if value == NEW else str(value)


@dataclass(frozen=True, eq=False)
class Topics:
    """Centres of length 1, K × D, and the distance beyond which a row is of none of them."""

    centres_K_D: Floats
    far: float

    def assign(self, rows_N_D: Floats) -> Places:
        """Return the topic of each row; `NEW` for those beyond `far`."""
        if not len(self.centres_K_D) or not len(rows_N_D):
            return np.full(len(rows_N_D), NEW, np.int64)
        nearness_N_K = rows_N_D @ self.centres_K_D.T
        found = nearness_N_K.argmax(axis=1)
        return np.where(1.0 - nearness_N_K.max(axis=1) > self.far, NEW, found)


def fit_topics(rows_N_D: Floats, most: int, seed: int = 0) -> Topics:
    """Return at most `most` topics, one for every ten rows; the same for the same rows and seed."""
    count = max(1, min(most, len(rows_N_D) // ROWS_A_TOPIC)) if len(rows_N_D) else 0
    centres_K_D = _clustered(rows_N_D, count, seed)
    if not len(centres_K_D):
        return Topics(centres_K_D, 0.0)
    return Topics(centres_K_D, float(np.quantile(_unknown(rows_N_D, count, seed), FAR_QUANTILE)))


def _unknown(rows_N_D: Floats, count: int, seed: int) -> Floats:
    """Return each row's distance to centres of the other half of the rows.

    To their own centres rows are nearer than traffic of the same kind ever is: of 100 rows in 10
    topics a third of the next 100 would be beyond the 99 % quantile of these (measured).
    """
    order = np.random.default_rng(seed).permutation(len(rows_N_D))
    halves = (rows_N_D[order[::2]], rows_N_D[order[1::2]])
    found = [
        1.0 - (rows @ _clustered(others, count, seed).T).max(axis=1)
        for rows, others in (halves, halves[::-1])
        if len(rows) and len(others)
    ]
    return np.concatenate(found) if found else np.zeros(1, np.float32)


def _clustered(rows_N_D: Floats, count: int, seed: int) -> Floats:
    """Return the centres that k-means ends with; clusters that nobody is in are left out."""
    centres_K_D = _first_centres(rows_N_D, count, np.random.default_rng(seed))
    own = np.full(len(rows_N_D), -1, np.int64)
    for _ in range(ROUNDS if len(centres_K_D) else 0):
        found = (rows_N_D @ centres_K_D.T).argmax(axis=1)
        if np.array_equal(found, own):
            break
        own = found
        sums = [rows_N_D[own == number].sum(axis=0) for number in np.unique(own)]
        centres_K_D = _unit(np.stack(sums))
    return centres_K_D


def _first_centres(rows_N_D: Floats, count: int, random: np.random.Generator) -> Floats:
    """Return rows that are far from each other, fewer where rows are alike: k-means++."""
    chosen: list[Floats] = []
    distance = np.ones(len(rows_N_D))
    while len(chosen) < count and distance.sum() > 1e-6:
        place = int(random.choice(len(rows_N_D), p=distance / distance.sum()))
        chosen.append(rows_N_D[place])
        own = 1.0 - (rows_N_D @ rows_N_D[place]).astype(np.float64)
        distance = np.minimum(distance, np.where(own < SAME, 0.0, own))
    return np.stack(chosen) if chosen else np.empty((0, rows_N_D.shape[1]), np.float32)


def _unit(rows_N_D: Floats) -> Floats:
    lengths = np.linalg.norm(rows_N_D, axis=1, keepdims=True)
    return (rows_N_D / np.maximum(lengths, 1e-12)).astype(np.float32)
