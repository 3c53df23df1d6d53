"""CURATE: the Arrow table that every stage takes and gives, and what a stage says of its work.

A row is one candidate: a conversation that ends in the answer to learn, and for a pair also the
answer that lost. Stages are pure: a table in, an `Outcome` out, rows of any number and order. Texts
are read as Python strings by `conversations` and written back by `with_conversations`. Knows no
stage, no store and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute

Table = Any  # pyarrow's, which has no types
pc: Any = pyarrow.compute  # its functions are made at import: no checker sees them

Kind = Literal["demonstration", "pair", "label", "safety"]
Source = Literal[
    "thumbs_up", "rating", "correction", "preference", "regenerated", "thumbs_down", "flag",
    "reviewer", "paraphrase", "back_translation", "synthetic", "failures", "judge",
]  # fmt: skip

_PARTS = [pa.field("role", pa.string()), pa.field("content", pa.string())]
MESSAGES = pa.list_(pa.struct(_PARTS))
CANDIDATES = pa.schema(
    [
        ("candidate_id", pa.string()),  # of the interaction and what it teaches; unique
        ("interaction_id", pa.string()),
        ("kind", pa.string()),
        ("source", pa.string()),
        ("subject", pa.string()),  # a keyed hash; null where nobody is known
        ("adapter", pa.string()),  # that answered; null: the base model
        ("started_at", pa.timestamp("us", "UTC")),
        ("messages", MESSAGES),  # the prompt, and last the answer (of a pair: the chosen one)
        ("rejected", pa.string()),  # of a pair: the answer that lost
        ("label", pa.bool_()),  # of a label: whether the answer is wanted
        ("category", pa.string()),  # of a safety test: the flag's
        ("votes", pa.int32()),  # subjects who judged it so
        ("weight", pa.float64()),  # inverse exposure: how much it counts, 1 on average
        ("placeholders", pa.list_(pa.string())),  # of the interaction as it was logged
    ]
)
DROPS = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("interaction_id", pa.string()),
        ("reason", pa.string()),  # few words, the same for all like it: they are counted
        ("detail", pa.string()),  # numbers or names, never text of people; may be empty
    ]
)
TAUGHT = ("demonstration", "pair")  # and labels of wanted answers: what a model learns to say


@dataclass(frozen=True, slots=True)
class Why:
    """Why a stage leaves a row out."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage kept (`CANDIDATES`, and columns that stages add), what it dropped (`DROPS`)."""

    kept: Table
    drops: Table
    changed: int = 0  # of the kept, those that it altered


Stage = Callable[[Table], Outcome]


def sieve(table: Table, why: Sequence[Why | None], changed: int = 0) -> Outcome:
    """Return the rows for which there is no reason to go, and the others as drops."""
    gone = [reason is not None for reason in why]
    if not any(gone):
        return Outcome(table, DROPS.empty_table(), changed)
    mask = pa.array(gone, pa.bool_())
    lost = table.filter(mask)
    reasons = [reason for reason in why if reason is not None]
    drops = pa.table(
        {
            "candidate_id": lost["candidate_id"],
            "interaction_id": lost["interaction_id"],
            "reason": pa.array([reason.reason for reason in reasons], pa.string()),
            "detail": pa.array([reason.detail for reason in reasons], pa.string()),
        },
        schema=DROPS,
    )
    return Outcome(table.filter(pc.invert(mask)), drops, changed)


def sieve_where(table: Table, gone: Any, reason: str) -> Outcome:
    """Return the rows but those where `gone` (a numpy array of booleans) is true."""
    why = Why(reason)
    return sieve(table, [why if is_gone else None for is_gone in gone.tolist()])


def conversations(table: Table) -> list[list[str]]:
    """Return of each row its messages' texts in order, and of a pair the lost answer after them."""
    lost = table["rejected"].to_pylist()
    rows = _parts(table, "content")
    return [
        texts if other is None else [*texts, other] for texts, other in zip(rows, lost, strict=True)
    ]


def roles(table: Table) -> list[list[str]]:
    """Return of each row its messages' roles in order."""
    return _parts(table, "role")


def answers(table: Table) -> list[str]:
    """Return of each row the text of its last message, which is the answer; "" without one."""
    return [texts[-1] if texts else "" for texts in _parts(table, "content")]


def with_conversations(table: Table, rows: Sequence[Sequence[str]]) -> Table:
    """Return the table with other texts, in the form of `conversations`; roles stay."""
    messages = _whole(table["messages"])
    is_pair = table["rejected"].is_valid().to_pylist()
    own = [texts[:-1] if pair else texts for texts, pair in zip(rows, is_pair, strict=True)]
    contents = pa.array([text for texts in own for text in texts], pa.string())
    offsets = pa.array([0, *accumulate(len(texts) for texts in own)], pa.int32())
    both = pa.StructArray.from_arrays([messages.flatten().field("role"), contents], fields=_PARTS)
    rejected = [texts[-1] if pair else None for texts, pair in zip(rows, is_pair, strict=True)]
    table = _with(table, "messages", pa.ListArray.from_arrays(offsets, both))
    return _with(table, "rejected", pa.array(rejected, pa.string()))


def with_column(table: Table, name: str, values: Iterable[Any], type_: Any) -> Table:
    """Return the table with a column more, or with other values in it."""
    return _with(table, name, pa.array(list(values), type_))


def is_taught(table: Table) -> Table:
    """Return as a boolean array whether a row's answer is one that a model learns to give."""
    demonstrated = pc.is_in(table["kind"], value_set=pa.array(TAUGHT))
    return pc.or_(demonstrated, pc.fill_null(table["label"], False))


def _parts(table: Table, name: str) -> list[list[str]]:
    """Return of each row its messages' roles or contents; a missing one as ""."""
    messages = _whole(table["messages"])
    flat = [part or "" for part in messages.flatten().field(name).to_pylist()]
    ends = list(accumulate(pc.fill_null(pc.list_value_length(messages), 0).to_pylist()))
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _whole(column: Table) -> Table:
    """Return a column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _with(table: Table, name: str, column: Table) -> Table:
    if name not in table.column_names:
        return table.append_column(name, column)
    return table.set_column(table.column_names.index(name), name, column)
