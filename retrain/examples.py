"""RETRAIN's input: a dataset version's folder goes in, examples to learn from come out.

A split is `<folder>/<split>.parquet` with a column `messages`, a list of {role, content}
that ends with the assistant's answer; or, for completions, with two columns of texts, `prompt`
and `completion`. Also says which examples are new to an adapter, and mixes old ones in. Knows
nothing of how examples were chosen, nor of tokens. Source of the formats: fine-tuning guide,
"Data Formatting and Structuring".
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import pyarrow.parquet as parquet

from core.errors import DataError

Split = Literal["train", "validation", "test"]
Message = dict[str, str]
# The roles of a completion's two texts: no chat template knows them.
PROMPT, COMPLETION = "prompt", "completion"


class Keyed(Protocol):
    """What is told apart, in any dataset version, by its key."""

    @property
    def key(self) -> str: ...


K = TypeVar("K", bound=Keyed)


@dataclass(frozen=True)
class Example:
    """One conversation or completion; its last message is what is learnt."""

    messages: tuple[Message, ...]

    @property
    def prompt(self) -> list[Message]:
        """The messages before the answer."""
        return list(self.messages[:-1])

    @property
    def answer(self) -> str:
        """The reference answer."""
        return self.messages[-1]["content"]

    @property
    def is_completion(self) -> bool:
        """Whether this is a text and how it goes on, rather than a conversation."""
        return self.messages[-1]["role"] == COMPLETION

    @property
    def key(self) -> str:
        """Equal conversations have equal keys, in any dataset version; 64 hex characters."""
        turns = [[message["role"], message["content"]] for message in self.messages]
        return hashlib.sha256(json.dumps(turns).encode()).hexdigest()


def load_split(folder: Path, split: Split) -> list[Example]:
    """Return the examples of one split, in the order of the file.

    Raises: DataError that names the file and the row.
    """
    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise DataError(f"{path} is missing: the dataset version is incomplete, curate it again")
    table = parquet.read_table(path)
    if "messages" in table.column_names:
        rows: list[Any] = table.column("messages").to_pylist()
        return [_example(row, f"{path}, row {index}") for index, row in enumerate(rows)]
    if {PROMPT, COMPLETION} <= set(table.column_names):
        rows = table.select([PROMPT, COMPLETION]).to_pylist()
        return [_completion(row, f"{path}, row {index}") for index, row in enumerate(rows)]
    raise DataError(
        f"{path} has no column 'messages' (it has {table.column_names}), nor 'prompt' and "
        "'completion': name its columns so"
    )


def without(examples: Sequence[K], others: Sequence[K]) -> list[K]:
    """Return the examples that do not occur among `others`."""
    keys = {example.key for example in others}
    return [example for example in examples if example.key not in keys]


def with_replay(train: Sequence[K], seen: Sequence[K], *, share: float, seed: int) -> list[K]:
    """Return what is new in `train`, plus old examples so that they are `share` of the result.

    Old ones are a sample of those of `train` that are in `seen` too: what was taken out of the
    data since (erased, spoiled) is never replayed. Without anything new, all of `train` returns.
    Source: Ibrahim et al. 2024, "Simple and scalable strategies to continually pre-train".
    """
    new = without(train, seen)
    if not new:
        return list(train)
    old = without(train, new)
    wanted = round(len(new) * share / (1.0 - share))
    return new + random.Random(seed).sample(old, min(wanted, len(old)))


def sample(examples: Sequence[K], count: int) -> list[K]:
    """Return at most `count` examples, always the same ones, whatever their order."""
    return sorted(examples, key=lambda example: example.key)[:count]


def _example(row: Any, where: str) -> Example:
    match row:
        case [*turns] if turns and all(_is_message(turn) for turn in turns):
            pass
        case _:
            raise DataError(f"{where}: messages must be a list of {{role, content}} texts")
    messages = tuple({"role": turn["role"], "content": turn["content"]} for turn in row)
    if len(messages) < 2 or messages[-1]["role"] != "assistant" or not messages[-1]["content"]:
        raise DataError(f"{where}: a prompt must come first and the assistant's answer last")
    return Example(messages)


def _completion(row: dict[str, Any], where: str) -> Example:
    for name in (PROMPT, COMPLETION):
        if not isinstance(row[name], str) or not row[name]:
            raise DataError(f"{where}: {name} must be a text with something in it")
    return Example(tuple({"role": name, "content": row[name]} for name in (PROMPT, COMPLETION)))


def _is_message(turn: Any) -> bool:
    return (
        isinstance(turn, dict)
        and isinstance(turn.get("role"), str)
        and isinstance(turn.get("content"), str)
    )
