"""CURATE, read again: demonstrations of a dataset version as candidates.

A version comes in; tables of candidates go out, at most so many rows, drawn by hash. What a version
does not keep (votes, times) is null. Knows nothing of what they are read for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset_files import example_file
from curation.draw import drawn
from curation.history import Split
from curation.table import CANDIDATES, Table, pc
from feedback.tables import DatasetVersion

BATCH_ROWS = 2_000  # read at a time


def demonstrations(
    version: DatasetVersion, split: Split, limit: int, purpose: str
) -> Iterator[Table]:
    """Yield the demonstrations of a split, without those that a model wrote."""
    for part in _drawn(version, split, limit, purpose):
        names = part.column_names
        seeds = pc.list_value_length(part["seeds"]) if "seeds" in names else pa.nulls(len(part))
        part = part.filter(pc.equal(pc.fill_null(seeds, 0), 0))
        yield _candidates(part)


def _drawn(version: DatasetVersion, split: Split, limit: int, purpose: str) -> Iterator[Table]:
    file = pq.ParquetFile(Path(version.path) / example_file("demonstration", split))
    ids = file.read(["example_id"]).rename_columns(["candidate_id"])
    chosen = drawn(ids, limit, purpose)["candidate_id"].combine_chunks()
    for batch in file.iter_batches(BATCH_ROWS):
        table = pa.Table.from_batches([batch])
        yield table.filter(pc.is_in(table["example_id"], value_set=chosen))


def _candidates(part: Table) -> Table:
    """Return rows of a version's file in the columns of candidates."""
    ids = [f"{id_}:demonstration" for id_ in part["interaction_id"].to_pylist()]
    columns: dict[str, Any] = {name: pa.nulls(len(ids), type_) for name, type_ in _fields()}
    columns |= {name: part[name] for name in part.column_names if name in columns}
    columns["candidate_id"] = pa.array(ids, pa.string())
    columns["kind"] = pa.array(["demonstration"] * len(ids), pa.string())
    return pa.table(columns).select(CANDIDATES.names).cast(CANDIDATES)


def _fields() -> list[tuple[str, Any]]:
    return [(field.name, field.type) for field in CANDIDATES]
