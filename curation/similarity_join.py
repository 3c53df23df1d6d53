"""CURATE, checked: all near duplicates among texts of different groups, with none missed.

Texts and their groups come in, pairs of numbers go out: every pair of texts of two groups that is
similar enough, and no other. No sketch decides: with all 5-grams in one order, the rarest first,
two sets of Jaccard similarity t share K of their first (1 - t) n + K, so those that do are
compared. The build finds its near duplicates another way (MinHash), which is why this can check it.
Pure.

Source: Chaudhuri, Ganti, Kaushik, A primitive operator for similarity joins in data cleaning, ICDE
2006 (prefix filter); Wang, Li, Feng, Can we beat the prefix filtering?, SIGMOD 2012 (K of them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from curation.minhash import own
from curation.similarity import GramHashes, alike, hashed_shingles

RARITY_SAMPLE = 20_000  # texts by which it is told how rare a 5-gram is; only speed hangs on it
CHUNK_TEXTS = 16_384  # whose 5-grams are in memory at a time: 14 bits
CHUNK_PAIRS = 2_000_000  # proposed pairs in memory at a time
SHARED = 4  # K: more make fewer comparisons and longer prefixes. Measured on 100,000 texts

_HASH_BITS = np.uint64(32)
_RANK_BITS = np.uint64(50)  # 18 of them say how often a 5-gram occurs
_MOST_OFTEN = (1 << 18) - 1
_TINY = 1e-9  # 0.95 × 20 is 19, not a hair more

Numbers = NDArray[np.int64]
Tokens = NDArray[np.uint64]


class _Rarest(NamedTuple):
    """The rarest 5-grams of some texts, as numbers, and whose they are."""

    tokens: Tokens
    texts: Numbers


class SimilarityJoin:
    """All near duplicates between groups; `texts` is an Arrow array of normalised texts."""

    def __init__(
        self, groups: Sequence[str], texts: Any, common: GramHashes, threshold: float
    ) -> None:
        self._groups = np.array(groups, np.str_)
        self._texts = texts
        self._common = common
        self._threshold = threshold
        self._sizes = np.zeros(len(texts), np.int64)
        self._rarest = self._by_group(_rarities(texts, common))

    def near(self, one: str, other: str) -> Iterator[tuple[int, int]]:
        """Yield the numbers of texts of two groups that are near duplicates, each pair once."""
        if one not in self._rarest or other not in self._rarest:
            return
        for pairs, shared in _sharing(_sorted(self._rarest[one]), self._rarest[other]):
            large = np.maximum(*self._sizes[pairs.T])
            least = np.ceil(self._threshold * large - _TINY)  # members that they must share
            fits = np.minimum(*self._sizes[pairs.T]) >= least
            fits &= shared >= np.minimum(SHARED, least)
            for mine, theirs in pairs[fits].tolist():
                if self._is_near(mine, theirs):
                    yield mine, theirs

    def _is_near(self, one: int, other: int) -> bool:
        """Decide as the build does: with all 5-grams, and without those that many texts hold."""
        grams = hashed_shingles([self._texts[one].as_py(), self._texts[other].as_py()])
        rare = own(grams, self._common)
        return all(alike(some.of(0), some.of(1)) >= self._threshold for some in (grams, rare))

    def _by_group(self, rarities: tuple[GramHashes, Numbers]) -> dict[str, _Rarest]:
        """Return the rarest 5-grams of each group's texts, in the order of the texts."""
        found: dict[str, list[_Rarest]] = {str(group): [] for group in np.unique(self._groups)}
        for first in range(0, len(self._texts), CHUNK_TEXTS):
            rarest = self._of_chunk(first, rarities)
            groups = self._groups[rarest.texts]
            for group, parts in found.items():
                mine = groups == group
                parts.append(_Rarest(rarest.tokens[mine], rarest.texts[mine]))
        return {
            group: _Rarest(*map(np.concatenate, zip(*parts, strict=True)))
            for group, parts in found.items()
        }

    def _of_chunk(self, first: int, rarities: tuple[GramHashes, Numbers]) -> _Rarest:
        """Return the rarest 5-grams of each text of a chunk, and note how many it has in all."""
        texts = self._texts.slice(first, CHUNK_TEXTS).to_pylist()
        grams = own(hashed_shingles(texts), self._common)
        owners = np.repeat(np.arange(len(texts)), np.diff(grams.offsets))
        ranks = _distinct(owners.astype(np.uint64) << _RANK_BITS | _ranked(grams.hashes, rarities))
        owners = (ranks >> _RANK_BITS).astype(np.int64)
        sizes = np.bincount(owners, minlength=len(texts))
        self._sizes[first : first + len(texts)] = sizes
        places = np.arange(len(ranks)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        lengths = sizes - np.ceil(self._threshold * sizes - _TINY).astype(np.int64) + SHARED
        kept = places < lengths[owners]
        tokens = ranks[kept] & ((np.uint64(1) << _RANK_BITS) - np.uint64(1))
        return _Rarest(tokens, owners[kept] + first)


def _distinct(numbers: Tokens) -> Tokens:
    """Return the numbers sorted, each once; several times as quick as numpy's `unique`."""
    ordered = np.sort(numbers)
    return ordered[np.diff(ordered, prepend=~ordered[:1]) != 0]


def _rarities(texts: Any, common: GramHashes) -> tuple[GramHashes, Numbers]:
    """Return the 5-grams of a sample of texts, sorted, and how often each occurs."""
    sample = texts[:: max(1, len(texts) // RARITY_SAMPLE)]
    counted = (np.empty(0, np.uint32), np.empty(0, np.int64))
    for first in range(0, len(sample), CHUNK_TEXTS):
        grams = own(hashed_shingles(sample.slice(first, CHUNK_TEXTS).to_pylist()), common)
        ones = np.ones(len(grams.hashes), np.int64)
        counted = _summed(
            np.concatenate([counted[0], grams.hashes]), np.concatenate([counted[1], ones])
        )
    return counted


def _summed(hashes: NDArray[Any], counts: Numbers) -> tuple[NDArray[Any], Numbers]:
    """Return the hashes sorted, each once, with the sum of its counts."""
    order = np.argsort(hashes)
    ordered = hashes[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]) != 0)
    if len(starts) == 0:
        return ordered, counts
    return ordered[starts], np.add.reduceat(counts[order], starts)


def _ranked(hashes: GramHashes, rarities: tuple[GramHashes, Numbers]) -> Tokens:
    """Return 5-grams as numbers whose order is from rare to frequent, the same for all texts."""
    known, counts = rarities
    if len(known) == 0:
        return hashes.astype(np.uint64)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    often = np.where(known[places] == hashes, np.minimum(counts[places], _MOST_OFTEN), 0)
    return often.astype(np.uint64) << _HASH_BITS | hashes.astype(np.uint64)


def _sorted(rarest: _Rarest) -> _Rarest:
    order = np.argsort(rarest.tokens, kind="stable")
    return _Rarest(rarest.tokens[order], rarest.texts[order])


def _sharing(one: _Rarest, other: _Rarest) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield, in chunks, pairs of texts that share rare 5-grams, and how many; each pair once.

    `one` is sorted by its 5-grams, `other` by its texts.
    """
    starts = np.searchsorted(one.tokens, other.tokens, "left")
    counts = np.searchsorted(one.tokens, other.tokens, "right") - starts
    for chunk in _chunks(other.texts, counts):
        each = counts[chunk]
        theirs = np.repeat(other.texts[chunk], each)
        within = np.arange(len(theirs)) - np.repeat(np.cumsum(each) - each, each)
        mine = one.texts[np.repeat(starts[chunk], each) + within]
        pairs = (mine << np.int64(32) | theirs).astype(np.uint64)
        found, shared = _summed(pairs, np.ones(len(pairs), np.int64))
        codes = found.astype(np.int64)
        yield np.stack([codes >> np.int64(32), codes & np.int64(0xFFFFFFFF)], axis=1), shared


def _chunks(texts: Numbers, counts: Numbers) -> Iterator[slice]:
    """Yield parts that hold all 5-grams of their texts and give few enough pairs."""
    bounds = np.flatnonzero(np.diff(texts, prepend=-1, append=-1))  # where texts begin, and the end
    totals = np.concatenate([[0], np.cumsum(counts)])[bounds]
    first = 0
    while first < len(bounds) - 1:
        last = int(np.searchsorted(totals, totals[first] + CHUNK_PAIRS, "right")) - 1
        last = max(first + 1, last)
        yield slice(int(bounds[first]), int(bounds[last]))
        first = last
