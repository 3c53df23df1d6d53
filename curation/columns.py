"""CURATE: columns of a table of candidates as numpy arrays, for whole-table stages. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curation.table import Table, pc

Booleans = NDArray[np.bool_]
Codes = NDArray[np.int64]
Keys = NDArray[np.uint64]


def is_kind(table: Table, kind: str) -> Booleans:
    """Return which rows are of that kind."""
    return pc.equal(table["kind"], kind).to_numpy()


def is_source(table: Table, source: str) -> Booleans:
    """Return which rows come from that source."""
    return pc.equal(table["source"], source).to_numpy()


def is_wanted(table: Table) -> Booleans:
    """Return which rows are labels of a wanted answer."""
    return pc.fill_null(table["label"], False).to_numpy()


def keys(table: Table, name: str) -> Keys:
    """Return a column of keys."""
    return table[name].to_numpy()


def instants(table: Table) -> Codes:
    """Return when the rows' interactions started, in microseconds."""
    return table["started_at"].cast(pa.int64()).to_numpy()


def people(table: Table) -> Codes:
    """Return who stands behind each row: its subject, or the interaction where none is known."""
    return codes(pc.coalesce(table["subject"], table["interaction_id"]))


def codes(column: Any) -> Codes:
    """Return small numbers, equal for equal values of a column; nulls have one of their own."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.dictionary_encode(null_encoding="encode")
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def together(*columns: Codes | Keys) -> Codes:
    """Return small numbers, equal for rows that are equal in all of these columns."""
    result = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        _, numbers = np.unique(column, return_inverse=True)
        combined = result * np.int64(numbers.max(initial=0) + 1) + numbers
        _, result = np.unique(combined, return_inverse=True)
    return result.astype(np.int64)


def place_in_group(groups: Codes | Keys) -> Codes:
    """Return the place of each row in its group, from 0, given rows sorted by group."""
    if len(groups) == 0:
        return np.empty(0, np.int64)
    begins = np.flatnonzero(np.concatenate([[True], groups[1:] != groups[:-1]]))
    sizes = np.diff(np.concatenate([begins, [len(groups)]]))
    return np.arange(len(groups)) - np.repeat(begins, sizes)
