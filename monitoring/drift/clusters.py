"""New subjects: groups of a window's prompts among which the reference has next to none.

Embeddings of both come in; clusters of row numbers go out, each with the rows nearest its middle,
and, from texts, the words that name it. A row is new where its neighbours are many times more
likely the window's than the reference's; no topic need exist for it, and how far prompts lie from
each other does not matter: short ones are far from everything. Pure.

Source of the neighbours' shares: Schilling 1986, "Multivariate two-sample tests based on nearest
neighbors".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from core.drift_settings import DriftSettings
from monitoring.drift.sample import Floats, Vectors, thinned

# A row of a subject that is as common as before has at most one neighbour in ten of the reference
# in 1 % of all cases (binomial of a half). Five neighbours could not tell it from a common one.
MIN_ROWS = 10  # of a subject, and neighbours that are looked at; fewer are single prompts
NEW_SHARE = 0.9  # of the neighbours, as if both sides had equally many rows
SPREAD_QUANTILE = 0.99  # of the reference's distances to the nearest other prompt: like prompts
MAX_CLUSTERS = 5  # for people to read
MOST_ROWS = 2_000  # of each side: cost stays flat
TELLING_SHARE = 0.1  # a naming word is in so many more of the subject's texts. Our choice
SAME = 1e-3  # of a cosine distance: equal but for rounding
Places = NDArray[np.intp]
WORD = re.compile(r"[^\W\d_]{3,}")


@dataclass(frozen=True)
class Cluster:
    """Rows of the window that are near each other and far from the reference."""

    rows: tuple[int, ...]
    examples: tuple[int, ...]  # the nearest to the middle first
    share: float  # of the window
    distance: float  # cosine, of its middle to the nearest reference row


def new_clusters(
    reference: Vectors, window: Vectors, rules: DriftSettings, seed: int
) -> list[Cluster]:
    """Return the new clusters, the largest first; of very many rows of a side, some are drawn."""
    generator = np.random.default_rng(seed)
    known = _normed(thinned(reference, MOST_ROWS, generator))
    places = generator.permutation(len(window))[:MOST_ROWS]
    rows = _normed(window[places])
    least = max(MIN_ROWS, int(np.ceil(rules.cluster_share * len(rows))))
    if len(known) < least or len(rows) <= least:
        return []
    fresh = np.flatnonzero(_share_of_window(rows, known, least) >= NEW_SHARE)
    radius = _radius(known)
    groups = _joined(rows[fresh], _leaders(rows[fresh], radius, least), radius)
    found = [_cluster(fresh[group], places, rows, known, rules) for group in groups]
    return sorted(found, key=lambda cluster: -cluster.share)


def _share_of_window(rows: Vectors, known: Vectors, neighbours: int) -> Floats:
    """Return the window's share of each row's neighbours, as if both sides had as many rows."""
    own = rows @ rows.T
    np.fill_diagonal(own, -2.0)  # nobody is their own neighbour
    near = np.concatenate([own, rows @ known.T], axis=1)
    nearest = np.argpartition(-near, neighbours - 1, axis=1)[:, :neighbours]
    mine = (nearest < len(rows)).sum(axis=1) / len(rows)
    theirs = (nearest >= len(rows)).sum(axis=1) / len(known)
    return mine / (mine + theirs)


def _radius(known: Vectors) -> float:
    """Return how far prompts that are like each other lie apart; equal ones tell nothing of it."""
    different = np.unique(known, axis=0)
    if len(different) < 2:
        return SAME
    return max(SAME, float(np.quantile(_nearest_other(different), SPREAD_QUANTILE)))


def _normed(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def _nearest_other(vectors: Vectors) -> Floats:
    near = vectors @ vectors.T
    np.fill_diagonal(near, -1.0)
    return (1.0 - near.max(axis=1)).astype(np.float64)


def _leaders(rows: Vectors, radius: float, least: int) -> list[Places]:
    """Return row numbers of groups: the row with most neighbours takes them, then the next one."""
    near = 1.0 - rows @ rows.T <= radius
    free = np.ones(len(rows), dtype=np.bool_)
    groups: list[Places] = []
    while len(groups) < MAX_CLUSTERS and free.sum() >= least:
        counts = (near & free).sum(axis=1) * free
        leader = int(np.argmax(counts))
        if counts[leader] < least:
            break
        members = near[leader] & free
        groups.append(np.flatnonzero(members))
        free &= ~members
    return groups


def _joined(rows: Vectors, groups: list[Places], radius: float) -> list[Places]:
    """Return the groups, those put together whose middles are within the radius: one subject."""
    joined: list[Places] = []
    for group in groups:
        middle = _middle(rows[group])
        near = [
            place
            for place, other in enumerate(joined)
            if float(1.0 - (middle @ _middle(rows[other]).T)[0, 0]) <= radius
        ]
        if near:
            joined[near[0]] = np.concatenate([joined[near[0]], group])
        else:
            joined.append(group)
    return joined


def _middle(rows: Vectors) -> Vectors:
    return _normed(rows.mean(axis=0, keepdims=True))


def _cluster(
    group: Places, places: Places, rows: Vectors, known: Vectors, rules: DriftSettings
) -> Cluster:
    middle = _middle(rows[group])
    nearness = (rows[group] @ middle.T)[:, 0]
    order = group[np.argsort(-nearness, kind="stable")]
    return Cluster(
        rows=tuple(int(places[row]) for row in group),
        examples=tuple(int(places[row]) for row in _various(order, rows, rules.cluster_examples)),
        share=len(group) / len(rows),
        distance=float(1.0 - (middle @ known.T).max()),
    )


def _various(order: Places, rows: Vectors, most: int) -> list[int]:
    """Return the first rows of the order that differ from each other: the same says nothing new."""
    chosen: list[int] = []
    for row in order:
        if len(chosen) == most:
            break
        if not chosen or float((rows[chosen] @ rows[row]).max()) < 1.0 - SAME:
            chosen.append(int(row))
    return chosen


def naming_words(inside: Sequence[str], outside: Sequence[str], most: int = 5) -> list[str]:
    """Return the words that many texts inside have and few outside, the most telling first.

    Ordered by how much each adds to the divergence of the two: "the" is everywhere. Source:
    Tomokiyo and Hurst 2003, "A language model approach to keyphrase extraction".
    """
    here, there = _document_shares(inside), _document_shares(outside)
    unseen = 0.5 / (len(outside) + 1)  # half a text, so that no share is 0
    telling = {
        word: share * log(share / max(there.get(word, 0.0), unseen))
        for word, share in here.items()
        if share - there.get(word, 0.0) > TELLING_SHARE
    }
    return sorted(telling, key=lambda word: (-telling[word], word))[:most]


def _document_shares(texts: Sequence[str]) -> dict[str, float]:
    counts = Counter(word for text in texts for word in set(WORD.findall(text.lower())))
    return {word: count / len(texts) for word, count in counts.items()}
