"""DETECT: prompts as points, near each other when they are alike.

Texts in, one vector of length 1 each out. `SentenceEncoder` runs a sentence-transformer and knows
meanings; `HashingEncoder` needs no model and knows spelling. Which of them: `monitoring.encoder`.
Vectors of one encoder are never compared with another's: `name` tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from core.monitoring_settings import MonitoringSettings
from core.sentence_model import Embedder, Floats, TransformerEmbedder

Codes = npt.NDArray[np.uint64]

DIMENSIONS = 256  # of hashes; a byte of the hash
LENGTHS = (3, 4, 5)  # of the n-grams. Source: Cavnar and Trenkle 1994, N-gram text categorization
LOOKED_AT_CHARS = 2_000  # of a text: its subject is told by then, and the cost is bounded
_ODD = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing, Knuth volume 3, section 6.4
_MIX = np.uint64(0xFF51AFD7ED558CCD)  # MurmurHash3's finaliser, Appleby 2011


class Encoder(Embedder, Protocol):
    """An embedder whose vectors are stored, and so have a name."""

    @property
    def name(self) -> str:
        """What tells its vectors from those of other encoders."""
        ...


@dataclass(frozen=True, slots=True)
class HashingEncoder:
    """Letters in threes to fives by their hash, with a sign by another bit of it.

    Deterministic on every machine. Source: Weinberger et al. 2009, arXiv 0902.2206.
    """

    @property
    def name(self) -> str:
        """The method and the size."""
        return f"hashing-{DIMENSIONS}"

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return the vectors; texts that differ in case and spaces only are equal."""
        vectors_N_D = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, text in enumerate(texts):
            vectors_N_D[row] = _hashed(text)
        return vectors_N_D


@dataclass(frozen=True, slots=True)
class SentenceEncoder:
    """A sentence-transformer's vectors; its model is loaded by the first text."""

    folder: Path

    @property
    def name(self) -> str:
        """The method and the folder's name."""
        return f"sentence-{self.folder.name}"

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return the vectors of the beginnings of the texts.

        Raises: SettingsError when the folder has no such model.
        """
        return TransformerEmbedder(self.folder).embed([text[:LOOKED_AT_CHARS] for text in texts])


def encoder_of(settings: MonitoringSettings) -> Encoder:
    """Return the encoder that the settings choose."""
    if settings.encoder == "sentence" and settings.encoder_model is not None:
        return SentenceEncoder(settings.encoder_model)
    return HashingEncoder()


def _hashed(text: str) -> Floats:
    """Return one vector; texts without letters share one place."""
    words = " ".join(text[:LOOKED_AT_CHARS].casefold().split())
    codes = np.frombuffer(f" {words} ".encode("utf-32-le", "surrogatepass"), "<u4")
    hashes = np.concatenate(list(_ngrams(codes.astype(np.uint64))))
    signs = np.where(hashes & np.uint64(1), 1.0, -1.0)
    places = (hashes >> np.uint64(56)).astype(np.int64)
    vector_D = np.bincount(places, signs, minlength=DIMENSIONS)
    vector_D = np.sign(vector_D) * np.sqrt(np.abs(vector_D))  # the tenth "the" says little
    if not vector_D.any():
        vector_D[0] = 1.0
    return (vector_D / np.linalg.norm(vector_D)).astype(np.float32)


def _ngrams(codes: Codes) -> Iterator[Codes]:
    """Yield the hashes of all n-grams of each length."""
    for length in LENGTHS:
        if len(codes) < length:
            yield np.empty(0, np.uint64)
            continue
        hashes = np.full(len(codes) - length + 1, length, np.uint64)
        for start in range(length):
            hashes = (hashes + codes[start : len(codes) - length + 1 + start]) * _ODD
            hashes ^= hashes >> np.uint64(29)
        yield (hashes * _MIX) ^ ((hashes * _MIX) >> np.uint64(33))
