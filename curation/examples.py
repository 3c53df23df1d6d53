"""CURATE: the examples of a written dataset version, read again in batches.

A version's row comes in, Arrow tables of its files go out, a few thousand rows at a time, with
`messages` built from the parts of pairs and labels where a reader wants conversations. A file that
is missing or broken becomes an error that names it. Knows nothing of what is done with examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from sqlmodel import Session

from core.errors import DataError, NotFoundError
from curation.dataset_files import KINDS, SCHEMAS, example_files
from curation.dataset_version import kinds_of
from curation.table import Table
from feedback.tables import DatasetVersion

READ_ROWS = 2_000  # at a time: of large conversations some 100 MB

LATER = ("seeds", "judge", "rubric")  # columns that versions of old do not have

Message = dict[str, str]


class Part(NamedTuple):
    """The examples of one kind in one split: where they are, below the version's folder."""

    kind: str
    split: str
    file: Path


def find_version(session: Session, dataset_id: str) -> DatasetVersion:
    """Return the version of that id.

    Raises: NotFoundError.
    """
    version = session.get(DatasetVersion, dataset_id)
    if version is None:
        raise NotFoundError(f"no dataset {dataset_id!r}: `ratchet dataset list` shows them")
    return version


def parts_of(version: DatasetVersion) -> list[Part]:
    """Return the files of examples that a version has.

    Raises: DataError when its manifest names a kind that is none.
    """
    kinds = kinds_of(version)
    strange = sorted(set(kinds) - set(KINDS))
    if strange:
        raise DataError(
            f"dataset {version.id} holds examples of the kinds {', '.join(strange)}, which this "
            f"release does not know (it knows {', '.join(KINDS)}): use a newer one"
        )
    return [Part(*found) for found in example_files(kinds)]


def count_rows(version: DatasetVersion, part: Part) -> int:
    """Return how many examples a file holds, without reading them.

    Raises: DataError.
    """
    with _opened(version, part) as file:
        return file.metadata.num_rows


def read_part(
    version: DatasetVersion, part: Part, columns: Sequence[str] | None = None
) -> Iterator[Table]:
    """Yield the rows of a file in their order, by batches, with these columns or all.

    Raises: DataError that names the file and says how to mend it.
    """
    with _opened(version, part) as file:
        there = file.schema_arrow.names
        names = columns or SCHEMAS[part.kind].names
        wanted = [name for name in names if name in there or name not in LATER]
        lacking = [name for name in wanted if name not in there]
        if lacking:
            raise DataError(f"{_named(version, part)} has no column {lacking[0]!r}; {_MEND}")
        try:
            for batch in file.iter_batches(READ_ROWS, columns=wanted):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowInvalid, OSError) as error:
            raise _broken(version, part, error) from error


def read_table(version: DatasetVersion, part: Part, columns: Sequence[str]) -> Table:
    """Return some columns of a file, of all its rows; one that it does not have yet is null.

    Raises: DataError.
    """
    schema = pa.schema([SCHEMAS[part.kind].field(name) for name in columns])
    found = list(read_part(version, part, columns))
    return pa.concat_tables([schema.empty_table(), *found], promote_options="default")


def prompt_of(row: Mapping[str, Any]) -> list[Message]:
    """Return what the model saw of an example of any kind."""
    return row["prompt"] if "prompt" in row else row["messages"][:-1]


def answer_of(row: Mapping[str, Any]) -> list[Message]:
    """Return the answer of an example of any kind, as messages; of a pair the chosen one."""
    if "messages" in row:
        return row["messages"][-1:]
    return row["chosen"] if "chosen" in row else row["completion"]


def text_columns(kind: str) -> list[str]:
    """Return the columns that hold an example's texts."""
    if kind == "pair":
        return ["prompt", "chosen", "rejected"]
    return ["prompt", "completion"] if kind == "label" else ["messages"]


def _opened(version: DatasetVersion, part: Part) -> Any:
    path = Path(version.path) / part.file
    if not path.is_file():
        raise DataError(f"{_named(version, part)} is missing; {_MEND}")
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _broken(version, part, error) from error


def _broken(version: DatasetVersion, part: Part, error: Exception) -> DataError:
    reason = str(error).partition("\n")[0].rstrip(".")
    return DataError(f"{_named(version, part)} cannot be read ({reason}); {_MEND}")


def _named(version: DatasetVersion, part: Part) -> str:
    return f"dataset {version.id}: {Path(version.path) / part.file}"


_MEND = "restore the folder from a backup, or with `ratchet dataset pull` if it was pushed"
