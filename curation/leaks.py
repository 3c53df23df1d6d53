"""CURATE, checked: whether anything of one split of a dataset version is in another.

The files of a version come in, and nothing else: not the store, not what the build noted. What goes
out says of subjects, interactions, prompts, conversations and near-duplicate prompts how many are
in two splits, with ids of some. Near duplicates are found by an exact join (`similarity_join`), not
by MinHash as the build finds them. Safety tests are in no split. Knows nothing of how splits were
made.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from curation.examples import Part, answer_of, parts_of, prompt_of, read_part, text_columns
from curation.history import SAFETY, SPLITS
from curation.minhash import common_hashes
from curation.similarity import COMMON_SAMPLE, conversation_text, key_of
from curation.similarity_join import SimilarityJoin
from feedback.tables import DatasetVersion

SHOWN = 5  # pairs of interactions that show a leak; all are counted
NEAR = "near duplicate prompt"
GUIDE_SIMILARITY = 0.95  # where a manifest does not say; guide: > 95 % similar are duplicates


class Leak(msgspec.Struct, frozen=True):
    """Something that is in two splits, with a pair of interactions for some of the cases."""

    what: str  # subject | interaction | prompt | conversation | near duplicate prompt
    cases: int
    shown: list[tuple[str, str]]  # "interaction id (split)" twice

    def __str__(self) -> str:
        """Return the leak as one line for people."""
        pairs = "; ".join(" and ".join(pair) for pair in self.shown)
        more = f"; and {self.cases - len(self.shown)} more" if self.cases > len(self.shown) else ""
        return f"the same {self.what} in two splits, {self.cases} times: {pairs}{more}"


class _Prompts(NamedTuple):
    """The different prompts of a version: of each its split, an interaction and its text."""

    splits: list[str]
    interactions: list[str]
    texts: Any  # at last an Arrow array: a third of the memory


def find_leaks(version: DatasetVersion) -> list[Leak]:
    """Return what is in two splits of a version, by its files alone; nothing if all is well.

    Raises: DataError when a file is missing or broken.
    """
    walk = _Walk()
    for part in parts_of(version):
        if part.split != SAFETY:
            for row in _read(version, part):
                walk.pass_by(part.split, row)
    prompts = walk.prompts._replace(texts=pa.array(walk.prompts.texts, pa.large_string()))
    return [*walk.leaks(), *_near_leaks(prompts, similarity_of(version))]


def similarity_of(version: DatasetVersion) -> float:
    """Return from which similarity on two prompts are near duplicates in this version."""
    rules = version.manifest.get("settings", {}).get("curation", {})
    return float(rules.get("near_duplicate_similarity", GUIDE_SIMILARITY))


class _Seen:
    """Where each name was first; counts those that are in two splits."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._first: dict[Hashable, tuple[str, str]] = {}
        self._cases: dict[Hashable, tuple[str, str]] = {}

    def see(self, name: Hashable, interaction: str, split: str) -> None:
        """Note that the name is in a split."""
        first = self._first.setdefault(name, (interaction, split))
        if first[1] != split and name not in self._cases:
            self._cases[name] = (_placed(*first), _placed(interaction, split))

    def leaks(self) -> list[Leak]:
        """Return the one leak, if there is any."""
        cases = list(self._cases.values())
        return [Leak(self.what, len(cases), cases[:SHOWN])] if cases else []


class _Walk:
    """What one walk over all examples gathers."""

    def __init__(self) -> None:
        self.subjects, self.interactions, self.asked, self.said = map(
            _Seen, ("subject", "interaction", "prompt", "conversation")
        )
        self.prompts = _Prompts([], [], [])
        self._known: set[int] = set()
        self._whole: dict[int, tuple[str, str]] = {}
        self._begun: list[tuple[int, str, str]] = []

    def pass_by(self, split: str, row: dict[str, Any]) -> None:
        """Take in one example."""
        interaction, prompt = row["interaction_id"], conversation_text(_texts(prompt_of(row)))
        for source in (interaction, *(row.get("seeds") or ())):  # also of what a model wrote
            self.interactions.see(source, interaction, split)
        if row["subject"] is None:
            self._note_conversation(split, row, prompt)
        else:
            self.subjects.see(row["subject"], interaction, split)
        key = key_of(prompt)
        self.asked.see(key, interaction, split)
        if key not in self._known:
            self._known.add(key)
            self.prompts.splits.append(split)
            self.prompts.interactions.append(interaction)
            self.prompts.texts.append(prompt)

    def leaks(self) -> list[Leak]:
        """Return what is in two splits word for word."""
        for beginning, interaction, split in self._begun:
            if beginning in self._whole:
                self.said.see(beginning, *self._whole[beginning])
                self.said.see(beginning, interaction, split)
        every = (self.subjects, self.interactions, self.asked, self.said)
        return [leak for seen in every for leak in seen.leaks()]

    def _note_conversation(self, split: str, row: dict[str, Any], prompt: str) -> None:
        """Note whole and beginnings of a conversation of nobody: it may go on in another."""
        interaction, said = row["interaction_id"], prompt_of(row)
        answer = conversation_text(_texts(answer_of(row)))
        self._whole.setdefault(key_of(f"{prompt}\n{answer}"), (interaction, split))
        for end, message in enumerate(said, start=1):
            if message["role"] == "assistant":
                beginning = key_of(conversation_text(_texts(said[:end])))
                self._begun.append((beginning, interaction, split))


def _read(version: DatasetVersion, part: Part) -> Iterator[dict[str, Any]]:
    columns = ["interaction_id", "subject", "seeds", *text_columns(part.kind)]
    for table in read_part(version, part, columns):
        yield from table.to_pylist()


def _near_leaks(prompts: _Prompts, threshold: float) -> list[Leak]:
    """Return the near duplicates in two splits; threshold is a Jaccard similarity of 5-grams."""
    every = max(1, len(prompts.splits) // COMMON_SAMPLE)
    common = common_hashes(prompts.texts[::every].to_pylist())
    join = SimilarityJoin(prompts.splits, prompts.texts, common, threshold)
    cases = 0
    shown: list[tuple[str, str]] = []
    for one, other in combinations(SPLITS, 2):
        for pair in join.near(one, other):
            cases += 1
            if len(shown) < SHOWN:
                mine, theirs = (_placed(prompts.interactions[n], prompts.splits[n]) for n in pair)
                shown.append((mine, theirs))
    return [Leak(NEAR, cases, shown)] if cases else []


def _texts(messages: Sequence[dict[str, str]]) -> Iterator[tuple[str, str]]:
    return ((message["role"], message["content"]) for message in messages)


def _placed(interaction: str, split: str) -> str:
    return f"{interaction} ({split})"
