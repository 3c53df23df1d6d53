"""DETECT: what prompts are about, as clusters of a reference's embeddings. Pure.

`fit_topics` finds the clusters, `Topics.assign` gives a row the nearest one, or `NEW` beyond what
is usual in the reference; `new_topics` groups those. Topics are numbers: their words are found by
whoever may read the texts. Source: spherical k-means, Dhillon and Modha 2001; k-means++, Arthur
and Vassilvitskii 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

NEW = -1  # the topic of what is like nothing in the reference
FAR_QUANTILE = 0.99  # of rows' distances to centres that do not know them: issue 7's novelty
ROUNDS = 25  # k-means stops moving long before: 8 rounds on 5,000 prompts
ROWS_A_TOPIC = 10  # fewer are no topic; our choice
MAX_NEW = 5  # new clusters: what people look at
MIN_NEW_ROWS = 5
EXAMPLES = 3  # of each new cluster
APART = 0.5  # cosine distance of new clusters; nearer ones are one subject. Our choice
SAME = 1e-5  # nearer rows are equal but for rounding


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


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A group of rows that are like nothing in the reference; those nearest its middle."""

    rows: int
    share: float  # of the window
    examples: tuple[str, ...]  # interaction ids

    def as_plain(self) -> dict[str, Any]:
        """Return what a summary holds."""
        return {"rows": self.rows, "share": self.share, "examples": list(self.examples)}


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


def new_topics(
    rows_N_D: Floats, topics: Sequence[int], ids: Sequence[str], seed: int = 0
) -> list[NewTopic]:
    """Return the clusters of the rows whose topic is `NEW`, the largest first."""
    places = np.flatnonzero(np.asarray(topics, np.int64) == NEW)
    if len(places) < MIN_NEW_ROWS:
        return []
    fresh = rows_N_D[places]
    centres = _clustered(fresh, MAX_NEW, seed, APART)
    nearness_N_K = fresh @ centres.T
    own = nearness_N_K.argmax(axis=1)
    found = [
        _new_topic(places[own == number], nearness_N_K[own == number, number], ids, len(topics))
        for number in range(len(centres))
    ]
    return sorted((one for one in found if one.rows >= MIN_NEW_ROWS), key=lambda one: -one.rows)


def _new_topic(places: Places, nearness: Floats, ids: Sequence[str], rows: int) -> NewTopic:
    nearest = np.argsort(-nearness, kind="stable")[:EXAMPLES]
    examples = tuple(ids[int(places[place])] for place in nearest)
    return NewTopic(len(places), len(places) / rows, examples)


def _clustered(rows_N_D: Floats, count: int, seed: int, apart: float = SAME) -> Floats:
    """Return the centres that k-means ends with; it begins with rows that are so far apart.

    Clusters that nobody is in are left out.
    """
    centres_K_D = _first_centres(rows_N_D, count, apart, np.random.default_rng(seed))
    own = np.full(len(rows_N_D), -1, np.int64)
    for _ in range(ROUNDS if len(centres_K_D) else 0):
        found = (rows_N_D @ centres_K_D.T).argmax(axis=1)
        if np.array_equal(found, own):
            break
        own = found
        sums = [rows_N_D[own == number].sum(axis=0) for number in np.unique(own)]
        centres_K_D = _unit(np.stack(sums))
    return centres_K_D


def _first_centres(
    rows_N_D: Floats, count: int, apart: float, random: np.random.Generator
) -> Floats:
    """Return rows that are far from each other, fewer where rows are alike: k-means++."""
    chosen: list[Floats] = []
    distance = np.ones(len(rows_N_D))
    while len(chosen) < count and distance.sum() > 1e-6:
        place = int(random.choice(len(rows_N_D), p=distance / distance.sum()))
        chosen.append(rows_N_D[place])
        own = 1.0 - (rows_N_D @ rows_N_D[place]).astype(np.float64)
        distance = np.minimum(distance, np.where(own < apart, 0.0, own))
    return np.stack(chosen) if chosen else np.empty((0, rows_N_D.shape[1]), np.float32)


def _unit(rows_N_D: Floats) -> Floats:
    lengths = np.linalg.norm(rows_N_D, axis=1, keepdims=True)
    return (rows_N_D / np.maximum(lengths, 1e-12)).astype(np.float32)
