"""New subjects: groups of a window's prompts that are far from everything in the reference.

Embeddings of both come in; clusters of row numbers go out, each with the rows nearest its middle,
and, from texts, the words that name it. Found by distance alone, so a subject for which no topic
existed when the reference was made is found as well. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.drift_settings import DriftSettings
from monitoring.drift.sample import Floats, Vectors, thinned

FAR_QUANTILE = 0.99  # of the reference's own distances to its nearest other row; our choice
MIN_ROWS = 5  # fewer are single prompts, no subject
MAX_CLUSTERS = 5  # for people to read
NEIGHBOURS = 2_000  # reference rows at most: cost stays flat
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
    """Return the new clusters, the largest first."""
    if len(reference) < MIN_ROWS or len(window) < MIN_ROWS:
        return []
    generator = np.random.default_rng(seed)
    known = _normed(thinned(reference, NEIGHBOURS, generator))
    rows = _normed(window)
    far = float(np.quantile(_nearest_other(known), FAR_QUANTILE))
    distances = 1.0 - (rows @ known.T).max(axis=1)
    outside = np.flatnonzero(distances > far)
    least = max(MIN_ROWS, int(np.ceil(rules.cluster_share * len(window))))
    radius = max(far, 1e-3)
    groups = _joined(rows[outside], _leaders(rows[outside], radius, least), radius)
    found = [_cluster(outside[group], rows, known, rules) for group in groups]
    return sorted(found, key=lambda cluster: -cluster.share)


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


def _cluster(rows: Places, vectors: Vectors, known: Vectors, rules: DriftSettings) -> Cluster:
    numbers = [int(row) for row in rows]
    middle = _middle(vectors[numbers])
    nearness = (vectors[numbers] @ middle.T)[:, 0]
    order = np.argsort(-nearness, kind="stable")[: rules.cluster_examples]
    return Cluster(
        rows=tuple(numbers),
        examples=tuple(numbers[int(place)] for place in order),
        share=len(numbers) / len(vectors),
        distance=float(1.0 - (middle @ known.T).max()),
    )


def naming_words(inside: Sequence[str], outside: Sequence[str], most: int = 5) -> list[str]:
    """Return the words that many texts inside have and few outside, the most telling first."""
    here, there = _document_shares(inside), _document_shares(outside)
    telling = {word: share - there.get(word, 0.0) for word, share in here.items()}
    ranked = sorted(telling.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, more in ranked[:most] if more > 0.1]  # a tenth of its texts: our choice


def _document_shares(texts: Sequence[str]) -> dict[str, float]:
    counts = Counter(word for text in texts for word in set(WORD.findall(text.lower())))
    return {word: count / len(texts) for word, count in counts.items()}
