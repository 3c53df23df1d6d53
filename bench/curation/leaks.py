"""An independent look at a built version: leaks between splits, and what became of the plants.

Reads the Parquet files and the corpus's truth, and uses nothing of the pipeline's own code. Two
prompts are near duplicates when their texts are at least `THRESHOLD` similar, both as they are and
without the 5-grams that more than a fifth of all prompts hold (a system message before everything
makes no two questions the same). Looked for among all pairs by a prefix filter that misses none,
and again by comparing a sample of pairs one by one.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.curation.corpus import Corpus, Plant
from bench.curation.edits import Numbers, candidate_pairs, numbered, overlap, plain
from bench.curation.figures import Extent

THRESHOLD = 0.95
COMMON_SHARE = 0.2
EVALUATION_SIMILARITY = 0.8  # of a user's message to an item
SPLITS = ("train", "validation", "test")
FOLDERS = {"demonstration": "", "pair": "pairs", "label": "labels"}
DROPPED = (
    *("toxic", "refusal", "repetition", "gibberish", "evaluation", "foreign", "corrupt"),
    *("gigantic", "too long"),
)

BROKEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufffd]")

Say = Callable[[str], None]
Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Example:
    """An example as it is in the files."""

    kind: str
    split: str
    interaction: str
    subject: str | None
    prompt: tuple[str, ...]  # role and text by turns
    questions: tuple[str, ...]  # what people wrote
    answers: tuple[str, ...]


def check_version(folder: Path, corpus: Corpus, extent: Extent, say: Say) -> dict[str, Any]:
    """Return how many leaks a version has, by kind, and what is left of each kind of plant."""
    examples = list(read_examples(folder))
    prompts = prompt_splits(examples)
    say(f"comparing {len(prompts):,} prompts between splits")
    near, compared, alike = near_leaks(prompts, extent.checked_pairs)
    by_kind = {
        "subjects": _in_several((one.subject, one.split) for one in examples if one.subject),
        "interactions": _in_several((one.interaction, one.split) for one in examples),
        "prompts": sum(len(splits) > 1 for splits in prompts.values()),
        "near duplicates, all pairs": near,
        "near duplicates, pair by pair": alike,
        "evaluations": evaluation_leaks(examples, [item.prompt for item in corpus.items()]),
    }
    return {
        "interactions": corpus.interactions,
        "examples": len(examples),
        "pairs_compared_one_by_one": compared,
        "by_kind": by_kind,
        "found": sum(by_kind.values()),
        "plants": plants_left(examples, corpus.plants()),
        "clean_praised_kept": clean_kept(examples, corpus),
    }


def read_examples(folder: Path) -> Iterator[Example]:
    """Yield the examples that are learnt of, of all kinds and splits."""
    for kind, below in FOLDERS.items():
        for split in SPLITS:
            path = folder / below / f"{split}.parquet"
            if not path.is_file():
                continue
            for batch in pq.ParquetFile(path).iter_batches(5_000):
                for row in batch.to_pylist():
                    yield _example(kind, split, row)


def _example(kind: str, split: str, row: Mapping[str, Any]) -> Example:
    messages: Messages = row["messages"][:-1] if kind == "demonstration" else row["prompt"]
    said: list[Messages] = {
        "demonstration": lambda: [row["messages"][-1:]],
        "pair": lambda: [row["chosen"], row["rejected"]],
        "label": lambda: [row["completion"]],
    }[kind]()
    return Example(
        kind,
        split,
        row["interaction_id"],
        row["subject"],
        tuple(
            text for message in messages for text in (message["role"], plain(message["content"]))
        ),
        tuple(message["content"] for message in messages if message["role"] == "user"),
        tuple(message["content"] for answer in said for message in answer),
    )


def _in_several(placed: Iterable[tuple[str, str]]) -> int:
    """Return how many names are in more than one split."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for name, split in placed:
        splits[name].add(split)
    return sum(len(own) > 1 for own in splits.values())


def prompt_splits(examples: Iterable[Example]) -> dict[tuple[str, ...], set[str]]:
    """Return the distinct prompts, each with the splits that it is in."""
    found: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for one in examples:
        found[one.prompt].add(one.split)
    return found


def near_leaks(prompts: Mapping[tuple[str, ...], set[str]], pairs: int) -> tuple[int, int, int]:
    """Return the near duplicates in two splits, how many pairs were compared singly, and theirs."""
    splits = [min(own) for own in prompts.values()]
    whole = numbered("\n".join(prompt) for prompt in prompts)
    own = without_common(whole)
    leaks = sum(
        splits[one] != splits[other]
        and overlap(own[one], own[other]) >= THRESHOLD
        and overlap(whole[one], whole[other]) >= THRESHOLD
        for one, other in candidate_pairs(own, THRESHOLD)
    )
    random = Random(1)
    held = _sample([n for n, split in enumerate(splits) if split != "train"], pairs, random)
    train = _sample([n for n, split in enumerate(splits) if split == "train"], pairs, random, 5)
    alike = near_by_counting(held, train, whole) & near_by_counting(held, train, own)
    return leaks, len(held) * len(train), len(alike)


def without_common(rows: Sequence[Numbers]) -> list[Numbers]:
    """Return the rows without what many hold; one that holds nothing else stays whole."""
    spread = np.bincount(np.concatenate([*rows, np.empty(0, np.int64)]))
    common = spread > COMMON_SHARE * len(rows)
    return [rest if len(rest := row[~common[row]]) else row for row in rows]


def _sample(numbers: list[int], pairs: int, random: Random, times: int = 1) -> list[int]:
    """Return so many that held-out ones by five times as many of train make `pairs`."""
    size = round((pairs / 5) ** 0.5) * times
    return random.sample(numbers, min(size, len(numbers)))


def near_by_counting(
    held: Sequence[int], train: Sequence[int], rows: Sequence[Numbers]
) -> set[tuple[int, int]]:
    """Return the near pairs of `held` and `train`, all compared: what they share is counted."""
    if not held or not train:
        return set()
    flat = np.concatenate([rows[number] for number in train])
    sizes = np.array([len(rows[number]) for number in train])
    owner = np.repeat(np.arange(len(train)), sizes)
    order = np.argsort(flat, kind="stable")
    flat, owner = flat[order], owner[order]
    found: set[tuple[int, int]] = set()
    for number in held:
        mine = rows[number]
        starts, ends = np.searchsorted(flat, mine), np.searchsorted(flat, mine, side="right")
        holders = [owner[start:end] for start, end in zip(starts, ends, strict=True)]
        shared = np.bincount(np.concatenate(holders), minlength=len(train))
        similar = shared / (len(mine) + sizes - shared) >= THRESHOLD
        found.update((number, train[at]) for at in np.flatnonzero(similar).tolist())
    return found


def evaluation_leaks(examples: Sequence[Example], items: Sequence[str]) -> int:
    """Return how many texts hold an item of the suite, or nearly ask one."""
    asked = [plain(item) for item in items]
    texts = {text for one in examples for text in (*one.questions, *one.answers)}
    found = {text for text in texts if _holds(plain(text), asked)}
    questions = sorted({question for one in examples for question in one.questions})
    rows = numbered([*items, *questions])
    for one, other in candidate_pairs(rows, EVALUATION_SIMILARITY):
        if one < len(items) <= other and (overlap(rows[one], rows[other]) >= EVALUATION_SIMILARITY):
            found.add(questions[other - len(items)])
    return len(found)


def _holds(text: str, items: Sequence[str]) -> bool:
    return any(item in text for item in items)


def plants_left(examples: Iterable[Example], plants: Iterable[Plant]) -> dict[str, dict[str, Any]]:
    """Return of each kind of plant how many there were, and how many came out as they should.

    Of what must go, those that are no demonstrations; of copies, those of which not both are, and
    of similar ones those of which both are; of personal data, those whose value is in no text; of
    damaged encodings those that are mended, and of broken texts those without a broken sign.
    """
    shown: defaultdict[str, list[Example]] = defaultdict(list)
    for one in examples:
        shown[one.interaction].append(one)
    taught = {id_ for id_, own in shown.items() if any(one.kind == "demonstration" for one in own)}
    count, right = Counter[str](), Counter[str]()
    for plant in plants:
        names = [plant.kind, f"{plant.kind} {plant.entity}"] if plant.entity else [plant.kind]
        count.update(names)
        if _is_right(plant, shown.get(plant.id, []), taught):
            right.update(names)
    return {
        name: {"planted": count[name], "right": right[name], "share": right[name] / count[name]}
        for name in sorted(count)
    }


def _is_right(plant: Plant, shown: Sequence[Example], taught: set[str]) -> bool:
    if plant.kind in DROPPED:
        return plant.id not in taught
    texts = [text for one in shown for text in (*one.questions, *one.answers)]
    if plant.kind == "broken":
        return not any(BROKEN.search(text) for text in texts)
    if plant.value is not None:
        return not any(plant.value in text for text in texts)
    if plant.mended is not None:
        return not texts or any(plant.mended in text for text in texts)
    both = plant.id in taught and plant.of in taught
    return both if plant.kind == "similar" else not both


def clean_kept(examples: Iterable[Example], corpus: Corpus) -> float:
    """Return which share of the praised interactions without a plant became demonstrations."""
    planted = {plant.id for plant in corpus.plants()}
    planted |= {plant.of for plant in corpus.plants() if plant.of}
    taught = {one.interaction for one in examples if one.kind == "demonstration"}
    with closing(sqlite3.connect(corpus.folder / "store.db")) as database:
        praised = {
            id_
            for (id_,) in database.execute(
                "SELECT f.interaction_id FROM feedback f JOIN interaction i "
                "ON i.id = f.interaction_id WHERE f.kind = 'thumbs' AND f.thumbs "
                "AND f.anomaly IS NULL AND i.finish_reason = 'stop' "
                "GROUP BY 1 HAVING count(*) = 1"
            )
        } - planted
    return len(praised & taught) / max(1, len(praised))
