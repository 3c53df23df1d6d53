"""Features and texts as they are stored, read for a comparison.

DETECT's edge to the files: a Parquet file of features comes in, a `Features` goes out whose rows
are in order of time; texts of interactions come from the store as they are there: redacted, or
none where an application stores none. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlmodel import Session, col, select

from core.errors import DataError
from feedback.tables import Interaction
from monitoring.drift.columns import COLUMNS
from monitoring.drift.sample import Floats, Labels, Sample, Vectors
from monitoring.windows.features import prompt_of
from monitoring.windows.topics import label

STREAMED = ("rating", "error")  # the flags of a horizon's windows
Table = Any  # pyarrow's, which tells no types
AT_ONCE = 500  # ids in one query


@dataclass(frozen=True, eq=False)
class Features:
    """The rows of one file: what is compared, and whose they are."""

    sample: Sample
    interaction_ids: tuple[str, ...]
    embedded_ids: tuple[str, ...] = ()  # of the embedding's rows: those that have one


def read_features(path: Path) -> Features:
    """Return the rows of a file of features.

    Raises: DataError when it is not there or cannot be read.
    """
    table = _table(path, None)
    ids = table.column("interaction_id").to_pylist() if _has(table, "interaction_id") else []
    named = {
        kind: [one.name for one in COLUMNS if one.kind == kind and _has(table, one.name)]
        for kind in ("number", "flag", "label")
    }
    flags = {name: _floats(table, name) for name in named["flag"]}
    if "rating" in flags:
        flags["rated"] = 1.0 - np.isnan(flags["rating"])
    sample = Sample(
        numbers={name: _floats(table, name) for name in named["number"]},
        flags=flags,
        labels={name: _labels(table, name) for name in named["label"]},
        embedding=_vectors(table),
    )
    return Features(sample, tuple(str(one) for one in ids), _embedded(table, ids))


def read_streams(paths: Sequence[Path]) -> list[Sample]:
    """Return ratings and errors of several windows, the oldest first.

    Raises: DataError.
    """
    tables = [_table(path, ["started_at", *STREAMED]) for path in paths]
    return [
        Sample(flags={name: _floats(table, name) for name in STREAMED if _has(table, name)})
        for table in tables
    ]


def _table(path: Path, columns: list[str] | None) -> Table:
    try:
        names = pq.read_schema(path).names
        wanted = names if columns is None else [name for name in columns if name in names]
        table = pq.read_table(path, columns=wanted)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"cannot read the features in {path}: {error}; remove that window's row, or restore it"
        ) from error
    return table.sort_by("started_at") if _has(table, "started_at") else table


def _has(table: Table, name: str) -> bool:
    return name in table.column_names


def _floats(table: Table, name: str) -> Floats:
    column = table.column(name).cast(pa.float64())
    return pc.fill_null(column, float("nan")).to_numpy().astype(np.float64)


def _labels(table: Table, name: str) -> Labels:
    values = table.column(name).to_pylist()
    return np.array(["" if value is None else label(value) for value in values], dtype=np.str_)


def _embedded(table: Table, ids: Sequence[Any]) -> tuple[str, ...]:
    if not ids or not _has(table, "embedding"):
        return ()
    there = table.column("embedding").is_valid().to_pylist()
    return tuple(str(one) for one, has in zip(ids, there, strict=True) if has)


def _vectors(table: Table) -> Vectors | None:
    """Return the rows that have an embedding; None where none has."""
    if not _has(table, "embedding"):
        return None
    rows = [row for row in table.column("embedding").to_pylist() if row is not None]
    return np.array(rows, dtype=np.float32) if rows else None


@dataclass(frozen=True)
class Texts:
    """What was asked and answered in one interaction, as it is stored."""

    prompt: str
    answer: str


def read_texts(session: Session, interaction_ids: Sequence[str]) -> dict[str, Texts]:
    """Return the texts of those interactions that are there and have any, in the order of ids."""
    found: dict[str, Texts] = {}
    for start in range(0, len(interaction_ids), AT_ONCE):
        some = list(interaction_ids[start : start + AT_ONCE])
        wanted = select(Interaction.id, Interaction.messages, Interaction.answer).where(
            col(Interaction.id).in_(some)
        )
        for identity, messages, answer in session.exec(wanted):
            prompt = prompt_of(messages)
            if prompt:
                found[identity] = Texts(prompt, answer)
    return {one: found[one] for one in interaction_ids if one in found}
