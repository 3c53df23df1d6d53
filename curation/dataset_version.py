"""CURATE, last stage: a dataset version, whole and immutable or not there at all.

    application--dN/  train.parquet  validation.parquet  test.parquet  manifest.json  README.md

Examples come in; a folder and its rows (DatasetVersion, DatasetMember) go out together. The files
are written beside their place and renamed inside the transaction that inserts the rows: a crash
leaves no version, at most a folder that no row names and the next build replaces. Retrain reads
the folder by its columns. Knows nothing of how examples were chosen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from core.errors import ConflictError, DataError
from core.files import folder_sha256, json_sha256, write_atomic
from curation.candidates import Candidate
from curation.card import dataset_card
from curation.history import SPLITS, Split
from feedback.store import Store
from feedback.tables import DatasetMember, DatasetVersion

MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"
NOT_HASHED = frozenset({MANIFEST_FILE, CARD_FILE})  # they name the hash
READ_ONLY = 0o444

EXAMPLE_SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("interaction_id", pa.string()),
        ("subject", pa.string()),
        ("source", pa.string()),  # thumbs_up | correction
        ("is_new", pa.bool_()),  # the parent did not have it
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
    ]
)


class Identity(NamedTuple):
    """What makes an example the same in two versions; `is_new` depends on the version."""

    example_id: str
    interaction_id: str
    split: Split


@dataclass(frozen=True, slots=True)
class Example:
    """A candidate that was accepted into a split; `id` names its content."""

    id: str
    candidate: Candidate
    split: Split
    is_new: bool

    @property
    def identity(self) -> Identity:
        """Equal for the same example of two versions."""
        return Identity(self.id, self.candidate.interaction_id, self.split)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is not written yet. `facts` go into the manifest as they are."""

    id: str
    application: str
    parent: str | None
    examples: Sequence[Example]
    facts: Mapping[str, Any]
    created_at: datetime

    @property
    def split_rows(self) -> dict[str, int]:
        """The number of examples in each split."""
        return {split: sum(e.split == split for e in self.examples) for split in SPLITS}

    @property
    def new_rows(self) -> int:
        """The number of examples that the parent did not have."""
        return sum(example.is_new for example in self.examples)


def example_id(candidate: Candidate) -> str:
    """Return 32 hex characters, equal for equal messages."""
    return json_sha256(msgspec.to_builtins(candidate.messages))[:32]


def write_dataset(store: Store, folder: Path, draft: Draft) -> DatasetVersion:
    """Return the row of the new version in `folder`/`draft.id`, files and rows written as one.

    Raises: ConflictError when another build has taken the same version.
    """
    with scratch_folder(folder, draft.id) as scratch:
        content_hash = _write_files(scratch, draft)
        manifest = _manifest(draft, content_hash)
        seal(scratch, manifest)
        path = folder / draft.id
        row = DatasetVersion(
            id=draft.id,
            application=draft.application,
            parent=draft.parent,
            path=str(path),
            content_hash=content_hash,
            **{f"{split}_rows": count for split, count in draft.split_rows.items()},
            new_rows=draft.new_rows,
            manifest=manifest,
            created_at=draft.created_at,
        )
        _publish(store, row, draft, scratch)
    return row


def read_identities(version: DatasetVersion) -> set[Identity]:
    """Return the identities of the examples that `version` holds.

    Raises: DataError when its files are missing or changed.
    """
    verify_dataset(version)
    identities: set[Identity] = set()
    for split in SPLITS:
        columns = ["example_id", "interaction_id"]
        table = pq.read_table(Path(version.path) / f"{split}.parquet", columns=columns)
        rows = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
        identities.update(Identity(id_, interaction_id, split) for id_, interaction_id in rows)
    return identities


def verify_dataset(version: DatasetVersion) -> None:
    """Check that the files of `version` are still those that were written.

    Raises: DataError that says what is missing or changed.
    """
    folder = Path(version.path)
    missing = [
        f"{split}.parquet" for split in SPLITS if not (folder / f"{split}.parquet").is_file()
    ]
    if missing:
        raise DataError(
            f"dataset {version.id} lacks {', '.join(missing)} in {folder}: "
            "restore the folder from a backup"
        )
    found = folder_sha256(folder, ignore=NOT_HASHED)
    if found != version.content_hash:
        raise DataError(
            f"dataset {version.id} in {folder} was changed: its hash is {found[:12]}…, "
            f"written was {version.content_hash[:12]}…; restore the folder from a backup"
        )


@contextmanager
def scratch_folder(folder: Path, name: str) -> Generator[Path]:
    """Give a folder beside a version's place, to be renamed there or to vanish."""
    scratch = folder / f".{name}.{uuid4().hex}.partial"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # gone already if it was published


def _write_files(scratch: Path, draft: Draft) -> str:
    for split in SPLITS:
        rows = [_row(example) for example in draft.examples if example.split == split]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=EXAMPLE_SCHEMA), sink, compression="zstd")
        write_atomic(scratch / f"{split}.parquet", sink.getvalue().to_pybytes())
    return folder_sha256(scratch, ignore=NOT_HASHED)


def _row(example: Example) -> dict[str, Any]:
    candidate = example.candidate
    return {
        "example_id": example.id,
        "interaction_id": candidate.interaction_id,
        "subject": candidate.subject,
        "source": candidate.source,
        "is_new": example.is_new,
        "messages": msgspec.to_builtins(candidate.messages),
    }


def _manifest(draft: Draft, content_hash: str) -> dict[str, Any]:
    return {
        "id": draft.id,
        "application": draft.application,
        "parent": draft.parent,
        "content_hash": content_hash,
        "created_at": draft.created_at.isoformat(),
        "splits": draft.split_rows,
        "new_rows": draft.new_rows,
        **draft.facts,
    }


def seal(scratch: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest and card, and make the files read-only and durable."""
    pretty = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    write_atomic(scratch / MANIFEST_FILE, pretty + b"\n")
    write_atomic(scratch / CARD_FILE, dataset_card(manifest))
    for path in scratch.iterdir():
        path.chmod(READ_ONLY)
    sync_folder(scratch)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk: no row may outlive the files that it names."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(store: Store, row: DatasetVersion, draft: Draft, scratch: Path) -> None:
    """Put the folder in its place and commit its rows: without rows a folder is no version."""
    place = Path(row.path)
    with store.session() as session:
        session.add(row)
        try:
            session.flush()  # from here on nobody else can take this version
        except IntegrityError as error:
            raise ConflictError(
                f"another build has written dataset {row.id} meanwhile: build again"
            ) from error
        session.exec(insert(DatasetMember), params=_member_rows(draft))
        if place.exists():  # a crash before the commit left it: no row names it
            shutil.rmtree(place)
        scratch.rename(place)
        sync_folder(place.parent)
        session.commit()  # if it fails the folder stays: nobody can tell whether the rows do


def _member_rows(draft: Draft) -> list[dict[str, Any]]:
    return [
        {
            "dataset_id": draft.id,
            "interaction_id": example.candidate.interaction_id,
            "subject": example.candidate.subject,
            "split": example.split,
        }
        for example in draft.examples
    ]
