"""CURATE, row stage: nothing that an evaluation suite asks may be learnt.

A candidate goes when it holds much of an item's 13-word runs, the whole of a shorter item, or a
user's message that is nearly an item's prompt. What many items of a suite share is the template of
their prompts and counts for nothing. Suites come from `curation.suites`. Knows no other candidate.

Source: GPT-3 (arXiv 2005.14165, appendix C) for the runs; near duplicates as `curation.similarity`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat

import numpy as np

from core.curation_settings import DecontaminationSettings
from curation.runs import Hashes, Numbers, Postings, firsts, run_hashes, unique_pairs
from curation.similarity import COMMON_MIN_TEXTS, COMMON_SHARE, normalised
from curation.stages.near_items import NearItems
from curation.suites import Item, Suite, Suites
from curation.table import DROPS, Outcome, Table, Why, conversations, roles, sieve
from curation.words import words

MIN_CONTAINED_WORDS = 4  # a shorter prompt ("Why is that?") must be the whole message. Our choice
BLOCK_ROWS = 1_000  # looked up at once: a few MB of numbers

REASON = "in an evaluation"
_UNKNOWN, _BORDER, _FIRST = 0, 1, 2  # numbers of words that no suite has, and between texts


@dataclass(frozen=True, slots=True)
class Decontaminate:
    """The stage. Picklable: the index is built once in each process that runs it."""

    suites: Suites
    settings: DecontaminationSettings

    def __call__(self, table: Table) -> Outcome:
        """Return the rows that hold nothing of the suites."""
        if not self.suites or table.num_rows == 0:
            return Outcome(table, DROPS.empty_table())
        index = _index(self)
        texts, who = conversations(table), roles(table)
        why: list[Why | None] = []
        for start in range(0, len(texts), BLOCK_ROWS):
            end = start + BLOCK_ROWS
            why += index.reasons(texts[start:end], who[start:end])
        return sieve(table, why)


@dataclass(frozen=True, eq=False, slots=True)
class _Index:
    """The suites' items, as the stage looks them up."""

    names: Sequence[str]  # of each item: its suite's and its number
    vocabulary: dict[str, int]  # the words of the suites, from _FIRST on
    lengths: Sequence[int]  # that runs of words have here
    runs: Postings
    needed: Numbers  # of each item: so many runs of it are too many
    whole: dict[str, int]  # the item whose normalised prompt is too short to be looked for
    near: NearItems

    def reasons(
        self, texts: Sequence[Sequence[str]], who: Sequence[Sequence[str]]
    ) -> list[Why | None]:
        """Return of each row why it goes: for the first item that it holds."""
        found: dict[int, int] = {}
        for row, item in (*self._repeated(texts), *self._asked(texts, who)):
            found[row] = min(item, found.get(row, item))
        return [
            Why(REASON, self.names[found[row]]) if row in found else None
            for row in range(len(texts))
        ]

    def _repeated(self, texts: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
        """Yield the pairs of a row and an item of which it has too many runs of words."""
        numbers, sizes = self._numbers(texts)
        starts = firsts(sizes)
        hashes = [run_hashes(numbers, length) for length in self.lengths]
        shared = [self.runs.shared(found, starts) for found in hashes]
        for each in shared:
            full = each.count >= self.needed[each.part]
            yield from zip(each.row[full].tolist(), each.part[full].tolist(), strict=True)

    def _numbers(self, texts: Sequence[Sequence[str]]) -> tuple[Hashes, list[int]]:
        """Return all words as numbers with a border after each text, and how many a row has."""
        number = self.vocabulary.get
        flat: list[int] = []
        sizes: list[int] = []
        for row in texts:
            before = len(flat)
            for text in row:
                flat.extend(map(number, words(text), repeat(_UNKNOWN)))
                flat.append(_BORDER)
            sizes.append(len(flat) - before)
        return np.array(flat, np.uint64), sizes

    def _asked(
        self, texts: Sequence[Sequence[str]], who: Sequence[Sequence[str]]
    ) -> Iterator[tuple[int, int]]:
        """Yield the pairs of a row and an item that a user's message is, or nearly is."""
        said = [
            (row, normalised(text))
            for row, (contents, names) in enumerate(zip(texts, who, strict=True))
            for text, name in zip(contents, names, strict=False)  # a lost answer has no role
            if name == "user"
        ]
        yield from ((row, self.whole[text]) for row, text in said if text in self.whole)
        yield from ((said[at][0], item) for at, item in self.near.find([text for _, text in said]))


@lru_cache(maxsize=1)  # of each process
def _index(stage: Decontaminate) -> _Index:
    settings = stage.settings
    items = [(suite, item) for suite in stage.suites for item in suite.items]
    vocabulary: dict[str, int] = {}
    hashes: list[Hashes] = []
    holders: list[int] = []
    lengths: set[int] = set()
    whole: dict[str, int] = {}
    for at, (_, item) in enumerate(items):
        parts = [words(text) for text in _searched(item, settings)]
        if len(parts[0]) < MIN_CONTAINED_WORDS:
            whole.setdefault(normalised(item.prompt), at)
            parts = parts[1:]
        for part in parts:
            length = min(len(part), settings.ngram_words)
            numbers = [vocabulary.setdefault(word, _FIRST + len(vocabulary)) for word in part]
            hashes.append(run_hashes(np.array(numbers, np.uint64), length))
            holders += [at] * len(hashes[-1])
            lengths.add(length)
    run = np.concatenate([np.empty(0, np.uint64), *hashes])
    runs, needed = _own_runs(run, np.array(holders, np.int64), items, settings)
    return _Index(
        names=[f"{suite.name} item {item.number}" for suite, item in items],
        vocabulary=vocabulary,
        lengths=sorted(lengths),
        runs=runs,
        needed=needed,
        whole=whole,
        near=NearItems.of([(suite.name, item.prompt) for suite, item in items]),
    )


def _searched(item: Item, settings: DecontaminationSettings) -> list[str]:
    """Return the texts to look for. A short answer ("Paris") is in many honest rows."""
    long = settings.answers and len(words(item.answer)) >= settings.ngram_words
    return [item.prompt, item.answer] if long else [item.prompt]


def _own_runs(
    hashes: Hashes,
    holders: Numbers,
    items: Sequence[tuple[Suite, Item]],
    settings: DecontaminationSettings,
) -> tuple[Postings, Numbers]:
    """Return the index of the items' runs without templates, and how many of each are too many."""
    keys, key = np.unique(hashes, return_inverse=True)
    holders, key = unique_pairs(holders, key.astype(np.int64))
    spread = np.bincount(key, minlength=len(keys))[key]
    limits = [max(COMMON_MIN_TEXTS, COMMON_SHARE * len(suite.items)) for suite, _ in items]
    own = spread <= np.array(limits)[holders]
    own |= (np.bincount(holders[own], minlength=len(items)) == 0)[holders]  # nothing but template
    sizes = np.bincount(holders[own], minlength=len(items))
    needed = np.maximum(1, np.ceil(settings.max_ngram_share * sizes - 1e-9)).astype(np.int64)
    return Postings.of(keys[key[own]], holders[own]), needed
