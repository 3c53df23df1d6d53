"""Texts that are nearly the same, with their true similarity; and which of many are.

Similarity is the Jaccard index of the sets of character 5-grams of normalised texts, worked out
from the sets themselves: slow, exact, and without a line of what is measured here. `alike_pairs`
finds all pairs at or above a threshold: a pair that like must share one of each text's rarest
5-grams (prefix filter: Chaudhuri, Ganti and Kaushik 2006), so no pair is missed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray

GRAM_CHARS = 5
MAX_TRIES = 20
LETTERS = "abcdefghijklmnoprstuvwz"

Grams = frozenset[str]
Numbers = NDArray[np.int64]
Pair = tuple[int, int]


def plain(text: str) -> str:
    """Return the text without differences of case and spacing, and without a closing sign."""
    return " ".join(text.casefold().split()).rstrip(".!?… ")


def grams(text: str) -> Grams:
    """Return the character 5-grams of `plain(text)`."""
    whole = plain(text)
    return frozenset(
        whole[at : at + GRAM_CHARS] for at in range(max(1, len(whole) - GRAM_CHARS + 1))
    )


def jaccard(one: Grams, other: Grams) -> float:
    """Return the similarity of two sets."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def edited(text: str, low: float, high: float, random: Random) -> tuple[str, float] | None:
    """Return `text` with slips of the pen, and how similar (`low` to `high`) it still is.

    None where there is no such text, as when it is too short. Numbers stay as they are.
    """
    own = grams(text)
    for _ in range(MAX_TRIES):
        other, similarity = text, 1.0
        while similarity > high:
            other = _with_slip(other, random)
            similarity = jaccard(own, grams(other))
        if similarity >= low:
            return other, similarity
    return None


def alike_pairs(texts: Sequence[str], threshold: float) -> dict[Pair, float]:
    """Return all pairs of texts that are at least `threshold` similar, the lower number first."""
    rows = numbered(texts)
    return {
        (one, other): similarity
        for one, other in candidate_pairs(rows, threshold)
        if (similarity := overlap(rows[one], rows[other])) >= threshold
    }


def numbered(texts: Iterable[str]) -> list[Numbers]:
    """Return the distinct 5-grams of each text by number, the rarest of all first."""
    vocabulary: dict[str, int] = {}
    rows = [
        np.fromiter(
            (vocabulary.setdefault(gram, len(vocabulary)) for gram in grams(text)), np.int64
        )
        for text in texts
    ]
    spread = np.bincount(np.concatenate([*rows, np.empty(0, np.int64)]), minlength=len(vocabulary))
    rank = np.empty(len(vocabulary), np.int64)
    rank[np.argsort(spread, kind="stable")] = np.arange(len(vocabulary))
    return [np.sort(rank[row]) for row in rows]


def candidate_pairs(rows: Sequence[Numbers], threshold: float) -> Iterator[Pair]:
    """Yield, each once, at least the pairs that are so similar."""
    holders: defaultdict[int, list[int]] = defaultdict(list)
    for number, own in enumerate(rows):
        seen: set[int] = set()
        for gram in own[: prefix(len(own), threshold)].tolist():
            seen.update(holders[gram])
            holders[gram].append(number)
        for other in seen:
            small, large = sorted((len(own), len(rows[other])))
            if small >= threshold * large:
                yield other, number


def prefix(size: int, threshold: float) -> int:
    """Return how many of a text's rarest 5-grams whatever is like it shares one of."""
    return size - math.ceil(threshold * size - 1e-9) + 1


def overlap(one: Numbers, other: Numbers) -> float:
    """Return the similarity of two rows of distinct numbers."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def closed(pairs: Iterable[Pair]) -> set[Pair]:
    """Return the pairs of all that a chain of pairs connects."""
    groups: dict[int, set[int]] = {}
    for one, other in pairs:
        joined = groups.get(one, {one}) | groups.get(other, {other})
        for member in joined:
            groups[member] = joined
    whole = {id(group): group for group in groups.values()}.values()
    return {(one, other) for group in whole for one in group for other in group if one < other}


def _with_slip(text: str, random: Random) -> str:
    """Return the text with one letter written wrongly, left out or doubled."""
    while True:
        at = int(len(text) * random.random())
        if text[at].isalpha():
            break
    change = random.choice(("", text[at] * 2, random.choice(LETTERS)))
    return text[:at] + change + text[at + 1 :]
