"""DETECT: features as Parquet, one row an interaction; no text is ever in there.

Features, topics, distances and embeddings go in, a table and its file come out, and back. Every
column is null where there is nothing to tell. The embedding may say something of what was written:
whoever is erased goes out of these files too (`forgetting`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import DataError
from core.files import write_atomic
from monitoring.windows.features import Features
from monitoring.windows.topics import Topics

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Table = Any  # pyarrow's, which tells no types

COLUMNS: tuple[tuple[str, Any], ...] = (
    ("interaction_id", pa.string()),
    ("started_at", pa.timestamp("us", tz="UTC")),
    ("prompt_chars", pa.int64()),
    ("answer_chars", pa.int64()),
    ("prompt_tokens", pa.int64()),
    ("answer_tokens", pa.int64()),
    ("language", pa.string()),
    ("topic", pa.int32()),
    ("refusal", pa.bool_()),
    ("format_valid", pa.bool_()),
    ("novelty", pa.float32()),
    ("latency_s", pa.float64()),
    ("ttft_s", pa.float64()),
    ("cost", pa.float64()),
    ("error", pa.bool_()),
    ("rating", pa.int8()),
)
TOPICS_FILE = "topics.npz"  # beside a reference's features


@dataclass(frozen=True, eq=False)
class Located:
    """Of some rows of a table, by their places, what their embeddings tell."""

    places: Places  # of the rows with text
    vectors_M_D: Floats
    topics: Places | None = None
    novelty: Floats | None = None


def table_of(features: Sequence[Features], located: Located) -> Table:
    """Return the features as a table, in their order."""
    rows = [asdict(row) for row in features]
    extra = {"topic": located.topics, "novelty": located.novelty}
    columns: list[Any] = []
    for name, kind in COLUMNS:
        if name in extra:
            columns.append(_spread(extra[name], located.places, len(rows), kind))
        else:
            columns.append(pa.array([row[name] for row in rows], kind))
    size = located.vectors_M_D.shape[1]
    vectors = _spread(list(located.vectors_M_D), located.places, len(rows),
                      pa.list_(pa.float32(), size))  # fmt: skip
    names = [name for name, _ in COLUMNS]
    return pa.table([*columns, vectors], names=[*names, "embedding"])


def embeddings(table: Table) -> tuple[Places, Floats]:
    """Return the places of the rows that have an embedding, and these: M × D."""
    column = table["embedding"].combine_chunks()
    places = np.flatnonzero(np.asarray(column.is_valid()))
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    return places, flat.astype(np.float32).reshape(len(places), column.type.list_size)


def write_features(path: Path, table: Table) -> None:
    """Put the table at `path`, whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def read_features(path: Path) -> Table:
    """Return the table. Raises: DataError when it is not there, or is no such file."""
    try:
        return pq.ParquetFile(path).read()
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path} cannot be read ({error}): restore it, or delete the row that names it"
        ) from error


def write_topics(features: Path, topics: Topics) -> None:
    """Put the topics beside the features that they were fitted on."""
    sink = pa.BufferOutputStream()
    np.savez(sink, centres_K_D=topics.centres_K_D, far=topics.far)
    write_atomic(features.with_name(TOPICS_FILE), sink.getvalue().to_pybytes())


def read_topics(features: Path) -> Topics | None:
    """Return the topics that were fitted on these features; None if none were."""
    path = features.with_name(TOPICS_FILE)
    if not path.is_file():
        return None
    with np.load(path) as stored:
        return Topics(stored["centres_K_D"], float(stored["far"]))


def _spread(values: Any, places: Places, rows: int, kind: Any) -> Any:
    """Return a column with the values at their places, and nothing elsewhere."""
    spread: list[Any] = [None] * rows
    if values is not None:
        for place, value in zip(places.tolist(), values, strict=True):
            spread[place] = value
    return pa.array(spread, kind)
