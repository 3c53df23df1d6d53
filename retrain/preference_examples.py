"""RETRAIN's input for preferences: a dataset version's folder goes in, pairs and labels come out.

    pairs/<split>.parquet     prompt, chosen, rejected    one answer was preferred to another
    labels/<split>.parquet    prompt, completion, label   an answer was wanted, or was not

A pair that an AI judge decided has the source "judge" (RLAIF). Also gives the prompts of a split,
of whatever kind, to answer anew. Knows nothing of how people were asked, nor of tokens.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from core.errors import DataError
from retrain.examples import Message, Split, load_split

PAIRS, LABELS = "pairs", "labels"
AI_JUDGE = "judge"  # the source of what a model decided
MIN_LEARNT = 8  # examples to learn from: the guide's smallest effective batch ("Batch Size": 8-128)

_COLUMNS = {PAIRS: ("prompt", "chosen", "rejected"), LABELS: ("prompt", "completion", "label")}
_OPTIONAL = ("weight", "source")
_MEND = {
    PAIRS: "pairs come of corrections, preferences and answers that were asked for again",
    LABELS: "labels come of thumbs and ratings",
}


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, of which the first was preferred."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str | None = None

    @property
    def by_ai(self) -> bool:
        """Whether a model decided it, not a person."""
        return self.source == AI_JUDGE

    @property
    def key(self) -> str:
        """Equal pairs have equal keys, in any dataset version; 64 hex characters."""
        return _key(self.prompt, self.chosen, self.rejected)


@dataclass(frozen=True)
class Label:
    """One answer to a prompt, and whether people wanted it."""

    prompt: tuple[Message, ...]
    completion: str
    wanted: bool
    weight: float = 1.0  # inverse exposure of the adapter that answered: 1 on average

    @property
    def key(self) -> str:
        """Equal labels have equal keys, in any dataset version; 64 hex characters."""
        return _key(self.prompt, self.completion, str(self.wanted))


def load_pairs(folder: Path, split: Split) -> list[Pair]:
    """Return the pairs of one split, in the order of the file.

    Raises: DataError that names file, row and mend.
    """
    return [_pair(row, where) for row, where in _rows(folder, PAIRS, split)]


def load_labels(folder: Path, split: Split) -> list[Label]:
    """Return the labels of one split, in the order of the file.

    Raises: DataError that names file, row and mend.
    """
    return [_label(row, where) for row, where in _rows(folder, LABELS, split)]


def load_prompts(folder: Path, split: Split) -> list[tuple[Message, ...]]:
    """Return every prompt of a split once: of demonstrations, pairs and labels, in this order.

    Raises: DataError.
    """
    found = [tuple(example.prompt) for example in load_split(folder, split)]
    if has_kind(folder, PAIRS):
        found += [pair.prompt for pair in load_pairs(folder, split)]
    if has_kind(folder, LABELS):
        found += [label.prompt for label in load_labels(folder, split)]
    return list({_key(prompt): prompt for prompt in found}.values())


def has_kind(folder: Path, kind: str) -> bool:
    """Return whether the version holds examples of this kind at all: `PAIRS` or `LABELS`."""
    return (folder / kind).is_dir()


def require_enough(found: Sequence[object], folder: Path, kind: str) -> None:
    """Check that there are `MIN_LEARNT` examples to learn from.

    Raises: DataError.
    """
    if len(found) < MIN_LEARNT:
        raise DataError(
            f"dataset {folder.name} has {len(found)} {kind} to learn from, and {MIN_LEARNT} are "
            f"needed: {_MEND[kind]}; gather more of them and curate again"
        )


def require_both(labels: Sequence[Label], folder: Path) -> None:
    """Check that some answers were wanted and some were not: one kind alone teaches no difference.

    Raises: DataError.
    """
    wanted = sum(label.wanted for label in labels)
    if wanted in (0, len(labels)):
        lacking = "wanted" if wanted == 0 else "unwanted"
        raise DataError(
            f"dataset {folder.name} has {len(labels)} labels and none of them says {lacking}: "
            "gather thumbs of both kinds, or train on demonstrations with recipe sft-lora"
        )


def _rows(folder: Path, kind: str, split: Split) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each row with the words that name it in an error."""
    path = folder / kind / f"{split}.parquet"
    if not has_kind(folder, kind):
        raise DataError(f"dataset {folder.name} has no {kind} ({path} is missing): {_MEND[kind]}")
    if not path.is_file():
        raise DataError(f"{path} is missing: the dataset version is incomplete, curate it again")
    try:
        there = parquet.read_schema(path).names
        columns = [*_COLUMNS[kind], *(name for name in _OPTIONAL if name in there)]
        lacking = [name for name in _COLUMNS[kind] if name not in there]
        if lacking:
            raise DataError(
                f"{path} has no column {lacking[0]!r} (it has {there}): curate it again"
            )
        rows: list[dict[str, Any]] = parquet.read_table(path, columns=columns).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path} cannot be read ({reason}): restore it from a backup") from error
    for index, row in enumerate(rows):
        yield row, f"{path}, row {index}"


def _pair(row: dict[str, Any], where: str) -> Pair:
    chosen = _answer(row["chosen"], "chosen", where)
    rejected = _answer(row["rejected"], "rejected", where)
    if chosen == rejected:
        raise DataError(f"{where}: chosen and rejected are the same text: leave the pair out")
    return Pair(_prompt(row["prompt"], where), chosen, rejected, row.get("source"))


def _label(row: dict[str, Any], where: str) -> Label:
    wanted, weight = row["label"], row.get("weight")
    if not isinstance(wanted, bool):
        raise DataError(f"{where}: label is {wanted!r}, it must be true (wanted) or false")
    weight = 1.0 if weight is None else weight
    if not (isinstance(weight, float) and math.isfinite(weight) and weight > 0.0):
        raise DataError(f"{where}: weight is {weight!r}, it must be a number over 0")
    completion = _answer(row["completion"], "completion", where)
    return Label(_prompt(row["prompt"], where), completion, wanted, weight)


def _prompt(value: Any, where: str) -> tuple[Message, ...]:
    match value:
        case [*turns] if turns and all(_is_message(turn) for turn in turns):
            return tuple({"role": turn["role"], "content": turn["content"]} for turn in turns)
        case _:
            raise DataError(f"{where}: prompt must be a list of {{role, content}} texts")


def _answer(value: Any, column: str, where: str) -> str:
    match value:
        case [{"role": "assistant", "content": str(text)}] if text:
            return text
        case _:
            raise DataError(
                f"{where}: {column} must be one message of the assistant that says something"
            )


def _is_message(turn: Any) -> bool:
    return (
        isinstance(turn, dict)
        and isinstance(turn.get("role"), str)
        and isinstance(turn.get("content"), str)
    )


def _key(prompt: Sequence[Message], *answers: str) -> str:
    turns = [[message["role"], message["content"]] for message in prompt]
    return hashlib.sha256(json.dumps([turns, *answers]).encode()).hexdigest()
