"""What is compared: some rows of features as plain arrays, one value a row.

DETECT's numbers. Numbers and flags (0 or 1) are floats and missing ones NaN; labels are texts and
missing ones empty; the embedding has one row an interaction. Knows no file and no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.str_]
Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Sample:
    """Columns of one window or reference, rows in order of time."""

    numbers: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    flags: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    labels: Mapping[str, Labels] = field(default_factory=dict[str, Labels])
    embedding: Vectors | None = None

    @property
    def rows(self) -> int:
        """How many interactions it has."""
        columns: list[NDArray[Any]] = [
            *self.numbers.values(),
            *self.flags.values(),
            *self.labels.values(),
        ]
        if self.embedding is not None:
            columns.append(self.embedding)
        return len(columns[0]) if columns else 0


def present(values: Floats) -> Floats:
    """Return the values that are there."""
    return values[~np.isnan(values)]


def thinned(vectors: Vectors, rows: int, generator: np.random.Generator) -> Vectors:
    """Return at most `rows` of the vectors, drawn without order."""
    if len(vectors) <= rows:
        return vectors
    return vectors[generator.choice(len(vectors), rows, replace=False)]
