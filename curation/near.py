"""CURATE: which prompts are near duplicates, given those that share a bucket.

Prompts by number and the pairs that may be alike come in; the pairs that are, and the clusters
that they form, go out. True Jaccard similarity of the 5-grams decides, once with all of them and
once without those that many texts hold. Reads texts by the numbers that it needs. Knows nothing of
candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curation.disjoint_sets import DisjointSets
from curation.minhash import Pairs, own
from curation.similarity import GramHashes, Grams, alike, hashed_shingles

ENOUGH_NEIGHBOURS = 20  # then only texts of other clusters are compared: no quadratic time

Texts = Callable[[Sequence[int]], Mapping[int, str]]  # numbers in, texts out


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
    numbers = sorted({int(number) for number in proposed.ravel()})
    place = {number: at for at, number in enumerate(numbers)}
    read = texts(numbers)
    grams = hashed_shingles([read[number] for number in numbers])
    whole_of = _distinct(grams)
    rare_of = _distinct(own(grams, common)) if len(common) else None
    found = _Found()
    for one, other in proposed.tolist():
        if found.is_enough(one, other):
            continue
        similarity = _similarity(whole_of, place[one], place[other], threshold)
        if rare_of is not None and similarity >= threshold:
            rare = _similarity(rare_of, place[one], place[other], threshold)
            similarity = min(similarity, rare)
        if similarity >= threshold:
            found.add(one, other, similarity)
    pairs = np.array(found.pairs, np.int64).reshape(-1, 2)
    return Near(pairs, np.array(found.similarities, np.float64))


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


def _distinct(grams: Grams) -> list[GramHashes]:
    return [grams.of(number) for number in range(len(grams.offsets) - 1)]


def _similarity(grams: Sequence[GramHashes], one: int, other: int, threshold: float) -> float:
    """Return the similarity of two texts; 0 where their lengths tell that it is below."""
    mine, theirs = grams[one], grams[other]
    small, large = sorted((len(mine), len(theirs)))
    return alike(mine, theirs) if small >= threshold * large else 0.0
