"""CURATE: what a text is about, as numbers: TF-IDF of its words, hashed into a fixed space.

Texts in, a sparse matrix out: of each text its buckets and their weights. No model and no
vocabulary: a word is known by its hash only, so nobody's words are kept. The same numbers come out
of any batch. Source: Weinberger et al. 2009, arXiv 0902.2206 (hashing); Manning, Raghavan and
Schütze, Introduction to Information Retrieval, section 6.4 (sublinear TF, IDF).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from curation.words import words

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]

BUCKETS = 1 << 14  # 20,000 words of a language's everyday use: few that matter share one
_KNOWN_WORDS = 200_000  # remembered by a process; then it forgets, for memory's sake


class _Buckets(dict[str, int]):
    """The bucket of each word; those seen before cost a look-up."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _KNOWN_WORDS:
            self.clear()
        bucket = self[word] = crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS
        return bucket


_bucket = _Buckets().__getitem__


@dataclass(frozen=True, eq=False)
class Features:
    """Of row r the buckets `bucket[starts[r]:starts[r + 1]]`, ascending, and their weights."""

    starts: Places
    bucket: Places
    weight: Floats

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def row(self) -> Places:
        """The row of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def weighed(self, idf: Floats) -> Features:
        """Return the features with each bucket's weight times `idf`, and rows of length 1."""
        weight = self.weight * idf[self.bucket]
        squares = np.bincount(self.row, weight.astype(np.float64) ** 2, minlength=len(self))
        length = np.sqrt(squares)
        length[length == 0.0] = 1.0
        return Features(self.starts, self.bucket, (weight / length[self.row]).astype(np.float32))

    def take(self, rows: Places) -> Features:
        """Return these rows, in this order."""
        sizes = np.diff(self.starts)[rows]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        at = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], sizes)
        return Features(starts, self.bucket[at], self.weight[at])

    def times(self, matrix_B_K: Floats) -> Floats:
        """Return the product with a matrix of a row for each bucket: N × K.

        A row's sum is made in the order of its buckets, hence equal whatever its neighbours are.
        """
        product = np.zeros((len(self), matrix_B_K.shape[1]), np.float32)
        filled = np.flatnonzero(np.diff(self.starts))
        if len(filled):
            parts = matrix_B_K[self.bucket] * self.weight[:, None]
            product[filled] = np.add.reduceat(parts, self.starts[filled], axis=0)
        return product


def term_counts(texts: Sequence[str]) -> Features:
    """Return of each text its words' buckets and 1 + ln(how often)."""
    found = [list(map(_bucket, words(text))) for text in texts]
    sizes = np.fromiter(map(len, found), np.int64, len(found))
    flat = np.fromiter((bucket for own in found for bucket in own), np.int64, int(sizes.sum()))
    codes = np.repeat(np.arange(len(found)), sizes) * BUCKETS + flat
    unique, count = np.unique(codes, return_counts=True)
    filled = np.bincount(unique // BUCKETS, minlength=len(found))
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(filled)])
    return Features(starts, unique % BUCKETS, (1.0 + np.log(count)).astype(np.float32))


def inverse_frequency(features: Features) -> Floats:
    """Return of each bucket ln((1 + texts) / (1 + texts that have it)) + 1."""
    having = np.bincount(features.bucket, minlength=BUCKETS)
    return (np.log((1 + len(features)) / (1 + having)) + 1.0).astype(np.float32)


def batches(texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the texts in order, at most `size` at a time."""
    for start in range(0, len(texts), size):
        yield texts[start : start + size]
