"""CURATE: signatures of prompts, by which like ones fall into the same buckets.

A row stage, `Sign`, adds the band hashes of each prompt's MinHash; `colliding` gives the pairs that
share a band. Two texts at the threshold share one with a probability of 99.99 %; whether they are
really alike is decided elsewhere, by their 5-grams. Deterministic. What many texts hold, such as a
long instruction before every question, does not count: it would make all questions equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue] (no stubs)

from curation.columns import place_in_group
from curation.keys import PROMPT_TEXT
from curation.similarity import (
    COMMON_MIN_TEXTS,
    COMMON_SHARE,
    GramHashes,
    Grams,
    hashed_shingles,
)
from curation.table import Outcome, Table, sieve, with_column

BandHashes = NDArray[np.uint64]  # shape [texts, bands]
Pairs = NDArray[np.int64]  # shape [N, 2]: the lower number first

BANDS = 10
MAX_BAND_ROWS = 10
# that one band matches at the threshold: then 10 miss 1 pair in 10,000, and let 1 in 17 of those
# through that are 0.6 alike. Chosen by measuring: docs/experiments.md, "Curation"
BAND_HIT = 0.6
SEED = 42
BLOCK_TEXTS = 128  # signed at a time: what fits a core's cache is signed twice as quickly
# In a larger bucket, each is paired with so many of the first: no quadratic time, and what is
# preferred comes first.
FIRST_OF_BUCKET = 20

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Sign:
    """Row stage, after `AddKeys`: adds `bands`, the band hashes of each prompt.

    The 5-grams in `common` do not count.
    """

    threshold: float
    common: bytes = b""  # sorted uint32

    def __call__(self, table: Table) -> Outcome:
        """Return all rows, none dropped."""
        common = np.frombuffer(self.common, np.uint32)
        texts = table[PROMPT_TEXT].to_pylist()
        bands = band_hashes(own(hashed_shingles(texts), common), self.threshold)
        rows = [row.tobytes() for row in bands]
        table = with_column(table, "bands", rows, pa.binary(BANDS * 8))
        return sieve(table.drop_columns([PROMPT_TEXT]), [None] * len(rows))


def common_hashes(texts: Sequence[str]) -> GramHashes:
    """Return the hashes, sorted, of the 5-grams that a fifth of these texts hold."""
    grams = hashed_shingles(texts)
    each = [grams.of(number) for number in range(len(texts))]
    found, counts = np.unique(np.concatenate([*each, np.empty(0, np.uint32)]), return_counts=True)
    return found[counts > max(COMMON_MIN_TEXTS, COMMON_SHARE * len(texts))]


def own(grams: Grams, common: GramHashes) -> Grams:
    """Return the grams without the common ones; a text that has no others keeps all."""
    if len(common) == 0 or len(grams.hashes) == 0:
        return grams
    is_own = common[np.searchsorted(common, grams.hashes) % len(common)] != grams.hashes
    counts = np.add.reduceat(is_own, grams.offsets[:-1], dtype=np.int64)
    lengths = np.diff(grams.offsets)
    is_own |= np.repeat(counts == 0, lengths)
    kept = np.where(counts == 0, lengths, counts)
    return Grams(grams.hashes[is_own], np.concatenate([[0], np.cumsum(kept)]))


def band_hashes(grams: Grams, threshold: float) -> BandHashes:
    """Return one hash for each text and band, shape [texts, BANDS]."""
    rows = band_rows(threshold)
    texts = len(grams.offsets) - 1
    hashes = np.zeros((texts, BANDS), np.uint64)
    for start in range(0, texts, BLOCK_TEXTS):
        digests = _digests(grams, start, min(texts, start + BLOCK_TEXTS), rows)
        block = hashes[start : start + BLOCK_TEXTS]
        for row in range(rows):
            block *= _MULTIPLIER
            block += digests[:, :, row] + np.uint64(1)
    return hashes


def _digests(grams: Grams, start: int, end: int, rows: int) -> NDArray[np.uint32]:
    """Return the MinHash digests of some texts, shape [texts, BANDS, rows]."""
    offsets = grams.offsets[start : end + 1]
    tokens = grams.hashes[offsets[0] : offsets[-1]].astype(np.uint64)
    ends = (offsets - offsets[0]).astype(np.uint64)
    matrix: Any = RMinHash.digest_matrix_from_flat_token_hashes(tokens, ends, BANDS * rows, SEED)
    pack = Struct(f"{BANDS * rows}I").pack  # the library gives no buffer; no copy is quicker
    raw = b"".join(pack(*row) for row in matrix.to_rows())
    return np.frombuffer(raw, np.uint32).reshape(end - start, BANDS, rows)


def band_rows(threshold: float) -> int:
    """Return the rows per band that make one band match with `BAND_HIT` at `threshold`.

    Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4.
    """
    if threshold >= 1.0:
        return MAX_BAND_ROWS
    return max(1, min(MAX_BAND_ROWS, round(math.log(BAND_HIT) / math.log(threshold))))


def colliding(bands: BandHashes) -> Pairs:
    """Return the pairs of rows of `bands` that share a band, each once, sorted."""
    found = [pairs_in_buckets(bands[:, band]) for band in range(bands.shape[1])]
    return distinct_pairs(np.concatenate([np.empty((0, 2), np.int64), *found]))


def pairs_in_buckets(hashes: NDArray[np.uint64]) -> Pairs:
    """Return the pairs of rows with equal hashes: all, or in large buckets those with the first."""
    order = np.argsort(hashes, kind="stable")
    place = place_in_group(hashes[order])
    found = [np.empty((0, 2), np.int64)]
    for first in range(min(FIRST_OF_BUCKET, int(place.max(initial=0)))):
        later = np.flatnonzero(place > first)
        found.append(np.stack([order[later - place[later] + first], order[later]], axis=1))
    return np.concatenate(found)


def distinct_pairs(pairs: Pairs) -> Pairs:
    """Return each pair once, sorted."""
    if len(pairs) == 0:
        return pairs
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    codes = np.unique(low << np.int64(32) | high)
    return np.stack([codes >> np.int64(32), codes & np.int64(0xFFFFFFFF)], axis=1)
