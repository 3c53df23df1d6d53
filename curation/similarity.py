"""CURATE: when two texts are the same, and when they are nearly the same.

Texts come in; normal forms, keys and pairs of near duplicates go out. MinHash and LSH propose
pairs, true Jaccard similarity decides, so one word that changes the meaning of a short text keeps
it apart. Pure; knows nothing of candidates or of who wrote a text.

Two texts are near duplicates when their sets of character 5-grams are alike, and when those are
still alike without the 5-grams that many texts hold: a long instruction that an application puts
before every question must not make all its questions equal.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rensa import RMinHash, RMinHashLSH  # pyright: ignore[reportAttributeAccessIssue] (no stubs)

from curation.disjoint_sets import DisjointSets
from feedback.events import Message

SHINGLE_CHARS = 5
COMMON_SHARE = 0.2  # of texts: no one person's (curation.max_share_per_subject), so a template
COMMON_MIN_TEXTS = 10  # so many alike are a cluster of duplicates rather than a template
COMMON_SAMPLE = 2_000  # texts are enough to find what a fifth of them share
BANDS = 20
MAX_BAND_ROWS = 16
BAND_HIT = 0.44  # that one band matches at the threshold; 20 bands then miss 1 pair in 100,000
ESTIMATE_DEVIATIONS = 4.0  # below the threshold: such a pair is not worth comparing
ENOUGH_NEIGHBOURS = 20  # then only texts of other clusters are compared: no quadratic time
SEED = 42


@dataclass(frozen=True, slots=True)
class Near:
    """Which texts of a collection are near duplicates, by their keys.

    `neighbours` is symmetric, and complete but for texts with very many; `clusters` holds the
    texts that have neighbours, and equal values for those that a chain of neighbours connects.
    """

    neighbours: Mapping[str, frozenset[str]]
    clusters: Mapping[str, str]

    def cluster(self, key: str) -> str:
        """Return the cluster of the text; one without neighbours is its own."""
        return self.clusters.get(key, key)


def normalised(text: str) -> str:
    """Return `text` without differences of case, width, spacing and closing punctuation."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.rstrip(".!?… ") or folded


def rendered(messages: Iterable[Message]) -> str:
    """Return the normalised messages as one text."""
    return "\n".join(f"{message.role}: {normalised(message.content)}" for message in messages)


def prompt_key(messages: Iterable[Message]) -> str:
    """Return 32 hex characters, equal for messages that are equal once normalised."""
    return hashlib.sha256(rendered(messages).encode()).hexdigest()[:32]


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity (0-1) of the two texts' character 5-grams."""
    return _jaccard(shingles(one), shingles(other))


def shingles(text: str) -> frozenset[str]:
    """Return the character 5-grams of `text`; a shorter text is its own only one."""
    return frozenset(
        text[start : start + SHINGLE_CHARS]
        for start in range(max(1, len(text) - SHINGLE_CHARS + 1))
    )


def find_near(texts: Mapping[str, str], threshold: float) -> Near:
    """Return which of `texts`, by key, are at least `threshold` similar. Deterministic."""
    keys = sorted(texts)
    ordered = [texts[key] for key in keys]
    common = _common_shingles(ordered)
    sets = DisjointSets()
    found: dict[str, set[str]] = {key: set() for key in keys}
    for one, other in _proposed(ordered, common, threshold):
        mine, theirs = keys[one], keys[other]
        if len(found[mine]) >= ENOUGH_NEIGHBOURS and sets.root(mine) == sets.root(theirs):
            continue
        if _alike(ordered[one], ordered[other], common, threshold):
            sets.join((mine, theirs))
            found[mine].add(theirs)
            found[theirs].add(mine)
    near = {key: frozenset(others) for key, others in found.items() if others}
    return Near(near, {key: sets.root(key) for key in near})


def _proposed(
    texts: Sequence[str], common: frozenset[str], threshold: float
) -> Iterator[tuple[int, int]]:
    """Yield index pairs that may be similar; misses about one true pair in 100,000."""
    rows = band_rows(threshold)
    hashes = RMinHash.from_token_sets(
        (list(_own(shingles(text), common)) for text in texts), num_perm=BANDS * rows, seed=SEED
    )
    index = RMinHashLSH(threshold=threshold, num_perm=BANDS * rows, num_bands=BANDS)
    deviation = math.sqrt(threshold * (1.0 - threshold) / (BANDS * rows))
    floor = threshold - ESTIMATE_DEVIATIONS * deviation
    for one, minhash in enumerate(hashes):
        for other in sorted(index.query(minhash)):
            if minhash.jaccard(hashes[other]) >= floor:
                yield one, other
        index.insert(one, minhash)


def _alike(one: str, other: str, common: frozenset[str], threshold: float) -> bool:
    mine, theirs = shingles(one), shingles(other)
    if _jaccard(mine, theirs) < threshold:
        return False
    return _jaccard(_own(mine, common), _own(theirs, common)) >= threshold


def band_rows(threshold: float) -> int:
    """Return the rows per band that make one band match with `BAND_HIT` at `threshold`.

    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.
    """
    if threshold >= 1.0:
        return MAX_BAND_ROWS
    return max(1, min(MAX_BAND_ROWS, round(math.log(BAND_HIT) / math.log(threshold))))


def _common_shingles(texts: Sequence[str]) -> frozenset[str]:
    sample = texts[:: math.ceil(len(texts) / COMMON_SAMPLE) or 1]
    counts = Counter(shingle for text in sample for shingle in shingles(text))
    limit = max(COMMON_MIN_TEXTS, COMMON_SHARE * len(sample))
    return frozenset(shingle for shingle, count in counts.items() if count > limit)


def _own(shingle_set: frozenset[str], common: frozenset[str]) -> frozenset[str]:
    return shingle_set - common or shingle_set


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
