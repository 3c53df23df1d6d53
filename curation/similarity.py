"""CURATE: when two texts are the same, and how alike they are.

Texts come in; normal forms, keys and similarities go out. Two texts are as similar as their sets of
character 5-grams are (Jaccard), so one word that changes the meaning of a short text keeps it
apart. Pure; knows nothing of candidates, of who wrote a text or of how like ones are found.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedback.events import Message

GramHashes = NDArray[np.uint32]

SHINGLE_CHARS = 5
COMMON_SHARE = 0.2  # of texts: no one person's (curation.max_share_per_subject), so a template
COMMON_MIN_TEXTS = 10  # so many alike are a cluster of duplicates rather than a template
BLOCK_TEXTS = 256  # hashed at a time: what fits a core's cache is hashed twice as quickly
COMMON_SAMPLE = 2_000  # texts are enough to find what a fifth of them share

# 32 bits: of a text's few hundred 5-grams two share a hash once in 50,000 texts, and then the
# similarity is off by less than a hundredth; twice as quick as 64
_MULTIPLIER = np.uint32(0x9E3779B1)
_MIXERS = (np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35))


def normalised(text: str) -> str:
    """Return `text` without differences of case, width, spacing and closing punctuation."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    folded = " ".join(plain.casefold().split())
    return folded.rstrip(".!?… ") or folded


def rendered(messages: Iterable[Message]) -> str:
    """Return the normalised messages as one text."""
    return conversation_text((message.role, message.content) for message in messages)


def conversation_text(messages: Iterable[tuple[str, str]]) -> str:
    """Return roles and normalised texts as one text."""
    return "\n".join(f"{role}: {normalised(content)}" for role, content in messages)


def prompt_key(messages: Iterable[Message]) -> int:
    """Return 64 bits, equal for messages that are equal once normalised."""
    return key_of(rendered(messages))


def key_of(text: str) -> int:
    """Return 64 bits by which equal texts are found: a million of them clash once in 10⁷ times."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity (0-1) of the two texts' character 5-grams."""
    return jaccard(shingles(one), shingles(other))


def shingles(text: str) -> frozenset[str]:
    """Return the character 5-grams of `text`; a shorter text is its own only one."""
    return frozenset(
        text[start : start + SHINGLE_CHARS]
        for start in range(max(1, len(text) - SHINGLE_CHARS + 1))
    )


def jaccard(one: frozenset[Any], other: frozenset[Any]) -> float:
    """Return how much (0-1) of all members of two sets, not both empty, is in both."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


class Grams(NamedTuple):
    """The 5-grams of several texts, hashed, one text after another; a text may repeat some."""

    hashes: GramHashes
    offsets: NDArray[np.int64]  # of the texts, and the end

    def of(self, number: int) -> GramHashes:
        """Return the distinct ones of a text, sorted."""
        ordered = np.sort(self.hashes[self.offsets[number] : self.offsets[number + 1]])
        is_first = np.ones(len(ordered), np.bool_)
        np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
        return ordered[is_first]  # four times as quick as np.unique


def hashed_shingles(texts: Sequence[str]) -> Grams:
    """Return the character 5-grams of each text; one that is shorter is filled up with zeros."""
    blocks = [_hashed(texts[at : at + BLOCK_TEXTS]) for at in range(0, len(texts), BLOCK_TEXTS)]
    empty = np.empty(0, np.uint32)
    sizes = [np.zeros(1, np.int64), *(np.diff(block.offsets) for block in blocks)]
    hashes = np.concatenate([empty, *(block.hashes for block in blocks)])
    return Grams(hashes, np.cumsum(np.concatenate(sizes)))


def _hashed(texts: Sequence[str]) -> Grams:
    filled = [text.ljust(SHINGLE_CHARS, "\0") for text in texts]
    lengths = np.fromiter(map(len, filled), np.int64, len(filled))
    raw = "".join(filled).encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(raw, np.uint32)
    windows = max(0, len(codes) - SHINGLE_CHARS + 1)
    hashes = codes[:windows] * _MULTIPLIER
    for place in range(1, SHINGLE_CHARS):
        hashes += codes[place : place + windows]
        hashes *= _MULTIPLIER
    ends = np.cumsum(lengths)
    inside = np.ones(len(codes), np.bool_)
    for back in range(1, SHINGLE_CHARS):
        inside[ends - back] = False  # such a window would run over into the next text
    offsets = np.concatenate([[0], np.cumsum(lengths - SHINGLE_CHARS + 1)])
    return Grams(_mixed(hashes[inside[:windows]]), offsets)


def alike(one: GramHashes, other: GramHashes) -> float:
    """Return the Jaccard similarity of two texts by their distinct hashes, sorted."""
    if len(one) == 0 or len(other) == 0:
        return 0.0
    places = np.searchsorted(other, one)
    places[places == len(other)] = 0
    shared = int(np.count_nonzero(other[places] == one))
    return shared / (len(one) + len(other) - shared)


def _mixed(hashes: GramHashes) -> GramHashes:
    """Return the hashes with each bit depending on all. Source: MurmurHash3's finaliser."""
    hashes ^= hashes >> np.uint32(16)
    hashes *= _MIXERS[0]
    hashes ^= hashes >> np.uint32(13)
    hashes *= _MIXERS[1]
    hashes ^= hashes >> np.uint32(16)
    return hashes
