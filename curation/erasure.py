"""CURATE, backwards: a person's examples out of a dataset version, in its folder and its rows.

The one change that an immutable version takes. Files are written anew beside their place and
renamed inside the transaction that changes the row; the manifest says when, by which erasure, and
how many. Broken off at any point it is done again: what is in the folder counts.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import delete
from sqlmodel import Session, col

from core.clock import utc_now
from core.errors import DataError
from core.files import folder_sha256, write_atomic
from curation.dataset_files import example_files, write_messages
from curation.dataset_version import NOT_HASHED, kinds_of, scratch_folder, seal, sync_folder
from curation.table import Table
from feedback.store import Store
from feedback.tables import DatasetMember, DatasetVersion


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Whose examples go: those of a subject, and those of these interactions."""

    erasure_id: str
    subject: str
    interactions: frozenset[str]


class Left(NamedTuple):
    """Examples of a kind and split that stay, and those of them that the parent did not have."""

    rows: int
    new: int


def erase_examples(store: Store, dataset_id: str, unwanted: Unwanted) -> int:
    """Take the examples out of a version; return how many they were.

    Raises: DataError when its files are missing.
    """
    with store.session() as session:
        version = session.get_one(DatasetVersion, dataset_id)
        place = Path(version.path)
        files = list(example_files(kinds_of(version)))
        gone: Counter[tuple[str, str]] = Counter()
        left: dict[tuple[str, str], Left] = {}
        with scratch_folder(place.parent, dataset_id) as scratch:
            for kind, split, file in files:
                table = _read(version, place / file)
                kept = _without_theirs(table, unwanted)
                gone[kind, split] = table.num_rows - kept.num_rows
                left[kind, split] = Left(kept.num_rows, sum(kept["is_new"].to_pylist()))
                _write(scratch / file, kept)
                if kind == "demonstration":
                    write_messages(scratch, split, kept)
            _describe(version, scratch, left, unwanted, gone.total())
            seal(scratch, version.manifest)
            session.add(version)
            _forget_members(session, dataset_id, unwanted)
            session.flush()
            _swap(place, scratch)
            session.commit()
    shutil.rmtree(_old(place), ignore_errors=True)
    return gone.total()


def _read(version: DatasetVersion, path: Path) -> Table:
    place = Path(version.path)
    if not path.is_file():
        old = _old(place)
        if old.is_dir() and not place.is_dir():  # broken off between two renames
            old.rename(place)
        else:
            raise DataError(
                f"dataset {version.id} lacks {path}: restore the folder, or delete the version"
            )
    return pq.ParquetFile(path).read()


def _without_theirs(table: Table, unwanted: Unwanted) -> Table:
    rows = zip(
        table["subject"].to_pylist(), table["interaction_id"].to_pylist(), _seeds(table),
        strict=True,
    )  # fmt: skip
    kept = [
        subject != unwanted.subject and unwanted.interactions.isdisjoint((own, *(written or ())))
        for subject, own, written in rows
    ]
    return table.filter(pa.array(kept, pa.bool_()))


def _seeds(table: Table) -> list[list[str] | None]:
    """Return from which interactions each row was made; versions of old do not tell."""
    if "seeds" in table.column_names:
        return table["seeds"].to_pylist()
    return [None] * table.num_rows


def _write(path: Path, table: Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def _describe(
    version: DatasetVersion,
    scratch: Path,
    left: Mapping[tuple[str, str], Left],
    unwanted: Unwanted,
    gone: int,
) -> None:
    """Let the row and its manifest say what is in the folder now."""
    kinds: dict[str, dict[str, int]] = {}
    for (kind, split), counts in left.items():
        kinds.setdefault(kind, {})[split] = counts.rows
    rows = kinds["demonstration"]
    new_rows = sum(counts.new for (kind, _), counts in left.items() if kind == "demonstration")
    version.content_hash = folder_sha256(scratch, ignore=NOT_HASHED)
    version.train_rows, version.validation_rows, version.test_rows = (
        rows[split] for split in ("train", "validation", "test")
    )
    version.new_rows = new_rows
    manifest = dict(version.manifest)
    erased: list[dict[str, Any]] = list(manifest.get("erased", []))
    if gone:
        erased.append(
            {"erasure": unwanted.erasure_id, "at": utc_now().isoformat(), "examples": gone}
        )
    version.manifest = manifest | {
        "content_hash": version.content_hash,
        "splits": rows,
        "kinds": kinds,
        "new_rows": new_rows,
        "stages": [_without(stage, unwanted) for stage in manifest.get("stages", [])],
        "erased": erased,
    }


def _without(stage: Mapping[str, Any], unwanted: Unwanted) -> dict[str, Any]:
    """Return a stage's account without samples of the person."""
    samples = [
        sample
        for sample in stage.get("samples", [])
        if sample.get("interaction_id") not in unwanted.interactions
    ]
    return {**stage, "samples": samples}


def _forget_members(session: Session, dataset_id: str, unwanted: Unwanted) -> None:
    of_version = col(DatasetMember.dataset_id) == dataset_id
    session.exec(
        delete(DatasetMember).where(of_version, col(DatasetMember.subject) == unwanted.subject)
    )


def _swap(place: Path, scratch: Path) -> None:
    shutil.rmtree(_old(place), ignore_errors=True)
    place.rename(_old(place))
    scratch.rename(place)
    sync_folder(place.parent)


def _old(place: Path) -> Path:
    return place.with_name(f".{place.name}.erased")
