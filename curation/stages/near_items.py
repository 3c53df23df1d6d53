"""CURATE: which messages are near duplicates of an evaluation's prompts, without comparing all.

Normalised messages come in, pairs of a message and a prompt go out. Shared runs of 16 characters
propose pairs; the Jaccard index of character 5-grams decides, over the whole texts and, less
strictly, over what is not their suite's template. Knows nothing of candidates.

Why 16: of a prompt with s 5-grams, an edit in its midst takes 5 and adds 5, so a similarity of 0.8
leaves at most s / 45 edits; each breaks 16 runs, hence more than half of the runs remain.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from curation.runs import Numbers, Postings, characters, firsts, run_hashes, unique_pairs
from curation.similarity import (
    COMMON_MIN_TEXTS,
    COMMON_SAMPLE,
    COMMON_SHARE,
    normalised,
    shingles,
)

SIMILARITY = 0.8  # our choice: a word or two of a sentence differ
# Without the template a prompt is short, and the same words weigh more; what shares nothing but
# the template has next to nothing in common there. Our choice, by what the benchmark had missed.
OWN_SIMILARITY = 0.5
RUN_CHARS = 16
MIN_CHARS = 24  # of shorter prompts an edit in the midst leaves less than `SIMILARITY` anyway
INDEXED_SHARE = 0.6  # of a prompt's runs, the rarest: "which of the follow" is in thousands
MIN_SHARED = 0.1  # of a prompt's runs, among the indexed: 0.53 remain at least, 0.4 are not there
_BORDER = "\n"  # no normalised text has it


@dataclass(frozen=True, eq=False, slots=True)
class NearItems:
    """The prompts of all suites, in order, and where their runs of characters are."""

    prompts: Sequence[str]
    templates: Sequence[frozenset[str]]  # of each prompt: its suite's common 5-grams
    runs: Postings
    needed: Numbers  # shared runs that make a message worth comparing

    @staticmethod
    def of(named: Sequence[tuple[str, str]]) -> NearItems:
        """Return the index of prompts, each with the name of its suite."""
        prompts = [normalised(prompt) for _, prompt in named]
        suites: defaultdict[str, list[str]] = defaultdict(list)
        for (suite, _), prompt in zip(named, prompts, strict=True):
            suites[suite].append(prompt)
        common = {suite: _template(own) for suite, own in suites.items()}
        runs, needed = _rare_runs(prompts)
        return NearItems(prompts, [common[suite] for suite, _ in named], runs, needed)

    def find(self, messages: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Yield the pairs (place of a message, place of a prompt) that are near duplicates."""
        sizes = (len(message) + len(_BORDER) for message in messages)
        text = "".join(f"{message}{_BORDER}" for message in messages)
        shared = self.runs.shared(run_hashes(characters(text), RUN_CHARS), firsts(sizes))
        likely = shared.count >= self.needed[shared.part]
        for at, item in zip(shared.row[likely], shared.part[likely], strict=True):
            if self._alike(messages[int(at)], int(item)):
                yield int(at), int(item)

    def _alike(self, message: str, item: int) -> bool:
        if not SIMILARITY / 2 <= len(message) / len(self.prompts[item]) <= 2 / SIMILARITY:
            return False
        mine, theirs = shingles(message), shingles(self.prompts[item])
        template = self.templates[item]
        own = mine - template or mine, theirs - template or theirs
        return _similar(mine, theirs, SIMILARITY) and _similar(*own, OWN_SIMILARITY)


def _similar(one: frozenset[str], other: frozenset[str], least: float) -> bool:
    shared = len(one & other)
    return shared >= least * (len(one) + len(other) - shared)


def _template(prompts: Sequence[str]) -> frozenset[str]:
    """Return the 5-grams that many prompts of a suite share."""
    sample = prompts[:: math.ceil(len(prompts) / COMMON_SAMPLE)]
    counts = Counter(shingle for prompt in sample for shingle in shingles(prompt))
    limit = max(COMMON_MIN_TEXTS, COMMON_SHARE * len(sample))
    return frozenset(shingle for shingle, count in counts.items() if count > limit)


def _rare_runs(prompts: Sequence[str]) -> tuple[Postings, Numbers]:
    """Return the index of each prompt's rarest runs, and how many of them make it likely."""
    hashes = [
        run_hashes(characters(prompt if len(prompt) >= MIN_CHARS else ""), RUN_CHARS)
        for prompt in prompts
    ]
    holders = np.repeat(np.arange(len(prompts)), [len(own) for own in hashes])
    keys, key = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]), return_inverse=True)
    holders, key = unique_pairs(holders, key.astype(np.int64))
    spread = np.bincount(key, minlength=len(keys))[key]
    order = np.lexsort((key, spread, holders))
    holders, key = holders[order], key[order]
    sizes = np.bincount(holders, minlength=len(prompts))
    rank = np.arange(len(holders)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rare = rank < np.ceil(INDEXED_SHARE * sizes)[holders]
    needed = np.maximum(1, np.floor(MIN_SHARED * sizes)).astype(np.int64)
    return Postings.of(keys[key[rare]], holders[rare]), needed
