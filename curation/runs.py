"""CURATE: runs of so many words or characters that texts share, found by their hashes.

Numbers that stand for words or characters come in, hashes of their runs go out; `Postings` tells
which parts of a reference hold a run. Everything is numpy on whole blocks of rows: a run without a
match costs a few nanoseconds. Knows nothing of candidates or suites.

Two different runs get the same hash of 64 bits with a chance of about 1 in 10^19.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

_FACTOR = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd (Knuth, TAOCP 3, section 6.4)
_SLOTS_PER_KEY = 16  # of the screen: then 1 of 16 unknown runs is looked up in vain
_SLOT_BITS = (12, 26)  # 4 KB to 64 MB


def run_hashes(values: Hashes, length: int) -> Hashes:
    """Return the hash of each run of `length` values, by its start; polynomial modulo 2^64."""
    if length == 1:
        return values
    if len(values) < length:
        return values[:0]
    half = run_hashes(values, length // 2)
    step = length // 2
    pairs = half[: len(half) - step] * _power(step) + half[step:]
    if length % 2 == 0:
        return pairs
    return pairs[: len(values) - length + 1] * _power(1) + values[length - 1 :]


def characters(text: str) -> Hashes:
    """Return the code points of `text`."""
    raw = text.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(raw, dtype="<u4").astype(np.uint64)


def firsts(sizes: Iterable[int]) -> Numbers:
    """Return where each piece begins in the whole that pieces of these sizes make, and its end."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.fromiter(sizes, np.int64))])


@dataclass(frozen=True, eq=False)
class Shared:
    """So many different runs of `part` are in `row`; three columns of equal length."""

    row: Numbers
    part: Numbers
    count: Numbers


@dataclass(frozen=True, eq=False)
class Postings:
    """Which parts hold which runs."""

    keys: Hashes  # of the runs, ascending, each once
    starts: Numbers  # of each key's parts in `parts`
    parts: Numbers
    screen: npt.NDArray[np.bool_]  # by the first bits of a hash: whether it may be a key

    @staticmethod
    def of(hashes: Hashes, parts: Numbers) -> Postings:
        """Return the index of pairs of a run and a part that holds it, each pair once."""
        order = np.argsort(hashes, kind="stable")
        keys, starts = np.unique(hashes[order], return_index=True)
        wanted = int(_SLOTS_PER_KEY * max(1, len(keys))).bit_length()
        bits = min(max(wanted, _SLOT_BITS[0]), _SLOT_BITS[1])
        screen = np.zeros(1 << bits, np.bool_)
        screen[_slots(keys, bits)] = True
        ends = np.append(starts, len(hashes)).astype(np.int64)
        return Postings(keys, ends, parts[order], screen)

    def shared(self, hashes: Hashes, row_starts: Numbers) -> Shared:
        """Return what the rows share with the parts; row r's runs begin at `row_starts[r]`."""
        bits = len(self.screen).bit_length() - 1
        at = np.flatnonzero(self.screen[_slots(hashes, bits)])
        found = np.searchsorted(self.keys, hashes[at])
        found = np.minimum(found, max(0, len(self.keys) - 1))
        true = self.keys[found] == hashes[at] if len(self.keys) else np.zeros(len(at), np.bool_)
        row = np.searchsorted(row_starts, at[true], side="right") - 1
        row, key = unique_pairs(row, found[true])
        sizes = self.starts[key + 1] - self.starts[key]
        offsets = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        part = self.parts[np.repeat(self.starts[key], sizes) + offsets]
        return _counted(np.repeat(row, sizes), part)


def unique_pairs(one: Numbers, other: Numbers) -> tuple[Numbers, Numbers]:
    """Return the different pairs of two columns of numbers from 0 on, ascending."""
    shared = _counted(one, other)
    return shared.row, shared.part


def _counted(row: Numbers, part: Numbers) -> Shared:
    width = int(part.max(initial=0)) + 1
    codes, count = np.unique(row * width + part, return_counts=True)
    return Shared(codes // width, codes % width, count.astype(np.int64))


def _slots(hashes: Hashes, bits: int) -> Hashes:
    return hashes >> np.uint64(64 - bits)  # the low bits of a polynomial mix least


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(_FACTOR, exponent, 1 << 64))
