"""CURATE: which prompts are near duplicates, given those that share a bucket.

Prompts by number and the pairs that may be alike come in; the pairs that are, and the clusters
that they form, go out. True Jaccard similarity of the 5-grams decides, once with all of them and
once without those that many texts hold. Reads texts by the numbers that it needs. Knows nothing of
candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curation.disjoint_sets import DisjointSets
from curation.minhash import Pairs
from curation.similarity import GramHashes, alike, hashed_shingles

ENOUGH_NEIGHBOURS = 20  # then only texts of other clusters are compared: no quadratic time

Texts = Callable[[Sequence[int]], Iterable[Mapping[int, str]]]  # numbers in, texts in parts out


@dataclass(frozen=True)
class Near:
    """Which of a number of prompts are near duplicates; complete but for those with very many."""

    pairs: Pairs
    similarities: NDArray[np.float64]  # 0-1, of each pair

    def at_least(self, threshold: float) -> Near:
        """Return those that are so similar at least."""
        close = self.similarities >= threshold
        return Near(self.pairs[close], self.similarities[close])

    @cached_property
    def neighbours(self) -> Mapping[int, list[int]]:
        """The near duplicates of each prompt that has some."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for one, other in self.pairs.tolist():
            found[one].append(other)
            found[other].append(one)
        return found

    @cached_property
    def clusters(self) -> Mapping[int, int]:
        """Equal numbers for prompts that a chain of neighbours connects."""
        sets = DisjointSets[int]()
        for one, other in self.pairs.tolist():
            sets.join((one, other))
        return {prompt: sets.root(prompt) for prompt in self.neighbours}

    def cluster(self, prompt: int) -> int:
        """Return the cluster of the prompt; one without neighbours is its own."""
        return self.clusters.get(prompt, prompt)


def near_prompts(proposed: Pairs, texts: Texts, common: GramHashes, threshold: float) -> Near:
    """Return which of the proposed pairs are at least `threshold` similar. Deterministic."""
    grams = distinct_grams(texts(np.unique(proposed).tolist()))
    found = _Found()
    for one, other in proposed.tolist():
        if found.is_enough(one, other):
            continue
        mine, theirs = grams[one], grams[other]
        similarity = _similarity(mine, theirs, threshold)
        if similarity >= threshold and len(common):
            rare = _similarity(_own(mine, common), _own(theirs, common), threshold)
            similarity = min(similarity, rare)
        if similarity >= threshold:
            found.add(one, other, similarity)
    pairs = np.array(found.pairs, np.int64).reshape(-1, 2)
    return Near(pairs, np.array(found.similarities, np.float64))


def distinct_grams(parts: Iterable[Mapping[int, str]]) -> dict[int, GramHashes]:
    """Return the distinct 5-grams of each text by its number; of the texts, a part is held."""
    found: dict[int, GramHashes] = {}
    for part in parts:
        grams = hashed_shingles(list(part.values()))
        found.update((number, grams.of(place)) for place, number in enumerate(part))
    return found


class _Found:
    """The pairs so far: how many each prompt is in, and what hangs together."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []
        self.similarities: list[float] = []
        self._counts: defaultdict[int, int] = defaultdict(int)
        self._sets = DisjointSets[int]()

    def add(self, one: int, other: int, similarity: float) -> None:
        self.pairs.append((one, other))
        self.similarities.append(similarity)
        self._counts[one] += 1
        self._counts[other] += 1
        self._sets.join((one, other))

    def is_enough(self, one: int, other: int) -> bool:
        few = min(self._counts[one], self._counts[other]) < ENOUGH_NEIGHBOURS
        return not few and self._sets.root(one) == self._sets.root(other)


def _similarity(mine: GramHashes, theirs: GramHashes, threshold: float) -> float:
    """Return the similarity of two texts; 0 where their lengths tell that it is below."""
    small, large = sorted((len(mine), len(theirs)))
    return alike(mine, theirs) if small >= threshold * large else 0.0


def _own(grams: GramHashes, common: GramHashes) -> GramHashes:
    """Return a text's 5-grams without the common ones; all where it has no others."""
    rare = grams[common[np.searchsorted(common, grams) % len(common)] != grams]
    return rare if len(rare) else grams
