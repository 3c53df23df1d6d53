"""CURATE, row stage: the topic of each prompt, found without a model.

`fit_topics` clusters a sample of at most 20,000 prompts by their hashed words, `AssignTopics` gives
every row the nearest cluster in the column `topic`, the same whatever the batch. Coverage, balance
and stratified splits read that column. Topics are named by words of many people only. Knows nothing
of answers.

Source: mini-batch k-means, Sculley 2010; spherical k-means, Dhillon and Modha 2001.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.draw import drawn
from curation.features import (
    BUCKETS,
    Features,
    Floats,
    Places,
    batches,
    inverse_frequency,
    term_counts,
)
from curation.table import DROPS, Outcome, Table, conversations, roles, with_column
from curation.words import words

SAMPLE_ROWS = 20_000
OTHER = -1  # the topic of a prompt that shares no word with any cluster
NAME_WORDS = 3
MIN_NAME_SUBJECTS = 5  # who used a word before it may name a topic: then it is nobody's own
MIN_NAME_CHARS = 3
EPOCHS = 4  # measured on 20,000 prompts of 40 subjects: a fifth moved 0.2 % of them
BATCH_ROWS = 1_000
SEED = 42


@dataclass(frozen=True, eq=False)
class Topics:
    """What `fit_topics` learnt: weights of words' hashes, no words but the names'."""

    idf: Floats  # of each bucket
    centres_B_K: Floats  # of length 1
    names: tuple[str, ...]  # of each topic

    def name(self, topic: int) -> str:
        """Return what people may call the topic."""
        return "other" if topic == OTHER else self.names[topic]

    def nearest(self, texts: Sequence[str]) -> Places:
        """Return the topic of each text."""
        found = [self._nearest(batch) for batch in batches(texts, BATCH_ROWS)]
        return np.concatenate([np.empty(0, np.int64), *found])

    def _nearest(self, texts: Sequence[str]) -> Places:
        if not self.names:
            return np.full(len(texts), OTHER)
        return _assigned(term_counts(texts).weighed(self.idf), self.centres_B_K)


@dataclass(frozen=True, eq=False)
class AssignTopics:
    """The stage; drops nothing."""

    topics: Topics

    def __call__(self, table: Table) -> Outcome:
        """Return the table with the column `topic`, of int32."""
        found = self.topics.nearest(asked(table))
        return Outcome(with_column(table, "topic", found, pa.int32()), DROPS.empty_table())


def asked(table: Table) -> list[str]:
    """Return of each row what the user said; a system message is the same for all."""
    return [
        "\n".join(text for text, name in zip(texts, names, strict=False) if name == "user")
        for texts, names in zip(conversations(table), roles(table), strict=True)
    ]


def sample_prompts(table: Table) -> Table:
    """Return at most `SAMPLE_ROWS` rows, with what topics are fitted on.

    Samples of parts of the data may be joined and sampled again: the result is that of the whole.
    """
    if "asked" not in table.column_names:
        table = with_column(table, "asked", asked(table), pa.string())
        table = table.select(["candidate_id", "subject", "asked"])
    return drawn(table, SAMPLE_ROWS, "topics")


def fit_topics(sample: Table, topics: int) -> Topics:
    """Return at most `topics` topics of a `sample_prompts`; none for a sample without words.

    Deterministic: a fixed seed, and no order of rows but the sample's.
    """
    sample = sample_prompts(sample)
    texts: list[str] = sample["asked"].to_pylist()
    counts = term_counts(texts)
    idf = inverse_frequency(counts)
    features = counts.weighed(idf)
    centres_B_K = _clustered(features, topics)
    if centres_B_K.shape[1] == 0:
        return Topics(idf, centres_B_K, ())
    found = _assigned(features, centres_B_K)
    filled = np.unique(found[found != OTHER])  # a cluster that nobody is in is no topic
    centres_B_K = np.ascontiguousarray(centres_B_K[:, filled])
    found = _assigned(features, centres_B_K)
    names = _names(texts, sample["subject"].to_pylist(), found.tolist(), len(filled))
    return Topics(idf, centres_B_K, names)


def _assigned(features: Features, centres_B_K: Floats) -> Places:
    """Return each row's centre, the first of equals."""
    nearness_N_K = features.times(centres_B_K)
    best = nearness_N_K.argmax(axis=1)
    return np.where(nearness_N_K.max(axis=1) > 0.0, best, OTHER)


def _clustered(features: Features, topics: int) -> Floats:
    """Return the centres of mini-batch spherical k-means."""
    random = np.random.default_rng(SEED)
    centres_B_K = _first_centres(features, topics, random)
    if centres_B_K.shape[1] == 0:
        return centres_B_K
    sums_B_K = centres_B_K.astype(np.float64)
    for _ in range(EPOCHS):
        order = random.permutation(len(features))
        for start in range(0, len(order), BATCH_ROWS):
            batch = features.take(order[start : start + BATCH_ROWS])
            sums_B_K += _summed(batch, centres_B_K)
            centres_B_K = (sums_B_K / np.linalg.norm(sums_B_K, axis=0)).astype(np.float32)
        sums_B_K /= 2.0  # rows that were in a centre before it moved count for less and less
    return centres_B_K


def _summed(batch: Features, centres_B_K: Floats) -> npt.NDArray[np.float64]:
    """Return the sum of the rows that are nearest to each centre."""
    own = _assigned(batch, centres_B_K)[batch.row]
    count = centres_B_K.shape[1]
    kept = own != OTHER
    codes = batch.bucket[kept] * count + own[kept]
    sums = np.bincount(codes, batch.weight[kept], minlength=BUCKETS * count)
    return sums.astype(np.float64).reshape(BUCKETS, count)


def _first_centres(features: Features, topics: int, random: np.random.Generator) -> Floats:
    """Return rows that are far from each other: k-means++ (Arthur and Vassilvitskii 2007)."""
    far = (np.diff(features.starts) > 0).astype(np.float64)
    chosen: list[Floats] = []
    while len(chosen) < topics and far.sum() > 1e-6:
        pick = features.take(random.choice(len(features), 1, p=far / far.sum()))
        centre_B = np.zeros((BUCKETS, 1), np.float32)
        centre_B[pick.bucket, 0] = pick.weight
        chosen.append(centre_B)
        distance = 1.0 - features.times(centre_B)[:, 0].astype(np.float64)
        far = np.minimum(far, np.where(distance < 1e-5, 0.0, distance))
    return np.concatenate([np.empty((BUCKETS, 0), np.float32), *chosen], axis=1)


def _names(
    texts: Sequence[str], subjects: Sequence[str | None], found: Sequence[int], count: int
) -> tuple[str, ...]:
    """Return each topic's words that tell it best among those that many subjects used.

    Rows without a subject may be one person's: together they count as one.
    """
    users: defaultdict[str, set[str | None]] = defaultdict(set)
    often: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for text, subject, topic in zip(texts, subjects, found, strict=True):
        for word in set(words(text)):
            users[word].add(subject)
            often[topic][word] += 1
    public = {
        word
        for word, own in users.items()
        if len(own) >= MIN_NAME_SUBJECTS and len(word) >= MIN_NAME_CHARS and word.isalpha()
    }
    total = sum(often.values(), Counter[str]())
    sizes = Counter(found)
    return tuple(
        _name(often[topic], total, sizes[topic] / len(found), public) or f"topic {topic}"
        for topic in range(count)
    )


def _name(often: Counter[str], total: Counter[str], share: float, public: Set[str]) -> str:
    """Return the words that add most to how the topic differs from all prompts together.

    A word's part of the Kullback-Leibler divergence: 0 for what is as usual everywhere.
    """
    told = {
        word: times * math.log(times / (total[word] * share))
        for word, times in often.items()
        if word in public
    }
    best = sorted(told, key=lambda word: (-told[word], -often[word], word))
    return ", ".join(best[:NAME_WORDS])
