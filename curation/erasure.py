"""CURATE, backwards: a person's examples out of a dataset version, in its folder and its rows.

The one change that an immutable version takes. Files are written anew beside their place and
renamed inside the transaction that changes the row; the manifest says when, by which erasure, and
how many. Broken off at any point it is done again: what is in the folder counts.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import delete
from sqlmodel import Session, col

from core.clock import utc_now
from core.errors import DataError
from core.files import folder_sha256, write_atomic
from curation.dataset_version import NOT_HASHED, scratch_folder, seal, sync_folder
from curation.history import SPLITS
from feedback.store import Store
from feedback.tables import DatasetMember, DatasetVersion

Table = Any  # pyarrow's, which has no types


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Whose examples go: those of a subject, and those of these interactions."""

    erasure_id: str
    subject: str
    interactions: Set[str]


def erase_examples(store: Store, dataset_id: str, unwanted: Unwanted) -> int:
    """Take the examples out of a version; return how many they were.

    Raises: DataError when its files are missing.
    """
    with store.session() as session:
        version = session.get_one(DatasetVersion, dataset_id)
        place = Path(version.path)
        tables = {split: _read(version, place / f"{split}.parquet") for split in SPLITS}
        kept = {split: _without_theirs(table, unwanted) for split, table in tables.items()}
        gone = sum(tables[split].num_rows - kept[split].num_rows for split in SPLITS)
        with scratch_folder(place.parent, dataset_id) as scratch:
            _write(scratch, kept)
            _describe(version, scratch, kept, unwanted, gone)
            seal(scratch, version.manifest)
            session.add(version)
            _forget_members(session, dataset_id, unwanted)
            session.flush()
            _swap(place, scratch)
            session.commit()
    shutil.rmtree(_old(place), ignore_errors=True)
    return gone


def _read(version: DatasetVersion, path: Path) -> Table:
    if not path.is_file():
        old = _old(path.parent)
        if old.is_dir() and not path.parent.is_dir():  # broken off between two renames
            old.rename(path.parent)
        else:
            raise DataError(
                f"dataset {version.id} lacks {path}: restore the folder, or delete the version"
            )
    return pq.read_table(path)


def _without_theirs(table: Table, unwanted: Unwanted) -> Table:
    subjects = table.column("subject").to_pylist()
    interactions = table.column("interaction_id").to_pylist()
    kept = [
        subject != unwanted.subject and interaction not in unwanted.interactions
        for subject, interaction in zip(subjects, interactions, strict=True)
    ]
    return table.filter(pa.array(kept, pa.bool_()))


def _write(scratch: Path, tables: Mapping[str, Table]) -> None:
    for split, table in tables.items():
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write_atomic(scratch / f"{split}.parquet", sink.getvalue().to_pybytes())


def _describe(
    version: DatasetVersion,
    scratch: Path,
    kept: Mapping[str, Table],
    unwanted: Unwanted,
    gone: int,
) -> None:
    """Let the row and its manifest say what is in the folder now."""
    rows = {split: table.num_rows for split, table in kept.items()}
    new_rows = sum(sum(table.column("is_new").to_pylist()) for table in kept.values())
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
