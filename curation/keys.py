"""CURATE: by what a candidate is told from others, as columns, so that its texts can stay on disk.

A row stage: after it, the stages that compare candidates with each other need no text. Keys are 64
bits of a hash, equal for texts that are equal once normalised. Knows nothing of those stages.

    prompt      all that the model saw          example_id  the very content, 32 hex characters
    answer      the answer to learn             turns       each beginning of the conversation that
    lost        the answer that a pair beat                 ends in an answer, without a subject
    numbers     all numbers in prompt and answers, in their order
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from core.files import json_sha256
from curation.similarity import conversation_text, key_of, normalised
from curation.table import Outcome, Table, conversations, roles, sieve, with_column

_NUMBER = re.compile(r"\d+")

PROMPT_TEXT = "prompt_text"  # normalised; a column for the stage that follows, not to be kept

KEYS = {
    "prompt": pa.uint64(),
    "answer": pa.uint64(),
    "lost": pa.uint64(),
    "numbers": pa.uint64(),
    "example_id": pa.string(),
    "turns": pa.list_(pa.uint64()),
    PROMPT_TEXT: pa.string(),
}


@dataclass(frozen=True, slots=True)
class AddKeys:
    """Row stage: adds the columns of `KEYS`."""

    def __call__(self, table: Table) -> Outcome:
        """Return all rows, none dropped."""
        rows = [
            _keys(names, texts, loner)
            for names, texts, loner in zip(
                roles(table), conversations(table), table["subject"].is_null().to_pylist(),
                strict=True,
            )
        ]  # fmt: skip
        for place, (name, type_) in enumerate(KEYS.items()):
            table = with_column(table, name, [row[place] for row in rows], type_)
        return sieve(table, [None] * table.num_rows)


def prompt_text(names: Sequence[str], texts: Sequence[str]) -> str:
    """Return the normalised prompt of a row: all messages but the last."""
    end = len(names) - 1
    return conversation_text(zip(names[:end], texts[:end], strict=True))


def answer_text(names: Sequence[str], texts: Sequence[str]) -> str:
    """Return the normalised answers of a row: the last message, and what a pair lost."""
    return "\n".join(map(normalised, texts[max(0, len(names) - 1) :]))


def _keys(names: Sequence[str], texts: Sequence[str], loner: bool) -> tuple[object, ...]:
    messages = [*zip(names, texts, strict=False)]
    lost = texts[len(names) :]
    prompt, answer = prompt_text(names, texts), answer_text(names, texts)
    return (
        key_of(prompt),
        key_of(normalised(texts[len(names) - 1]) if names else ""),
        key_of(normalised(lost[0])) if lost else 0,
        key_of(" ".join(_NUMBER.findall(f"{prompt}\n{answer}"))),
        example_id(messages, lost),
        _turns(messages) if loner else [],
        prompt,
    )


def example_id(messages: Sequence[tuple[str, str]], lost: Sequence[str] = ()) -> str:
    """Return 32 hex characters, equal for equal content."""
    content: list[object] = [{"role": role, "content": text} for role, text in messages]
    return json_sha256([*content, *({"lost": text} for text in lost)])[:32]


def _turns(messages: Sequence[tuple[str, str]]) -> list[int]:
    return [
        key_of(conversation_text(messages[:end]))
        for end, (role, _) in enumerate(messages, start=1)
        if role == "assistant"
    ]
