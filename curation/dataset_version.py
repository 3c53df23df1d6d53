"""CURATE, last stage: a dataset version, whole and immutable or not there at all.

    application--dN/  example files (see `dataset_files`)  manifest.json  README.md

Files are written beside their place and renamed inside the transaction that inserts the rows
(DatasetVersion, DatasetMember): a crash leaves no version, at most a folder that no row names and
the next build replaces. Retrain reads the folder by its columns. Knows nothing of how examples
were chosen.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from core.errors import ConflictError, DataError
from core.files import folder_sha256, write_atomic
from curation.card import dataset_card
from curation.dataset_files import example_files
from curation.history import BATCH_ROWS, SAFETY, SPLITS
from curation.table import Table, pc
from feedback.store import Store
from feedback.tables import DatasetMember, DatasetVersion

MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"
NOT_HASHED = frozenset({MANIFEST_FILE, CARD_FILE})  # they name the hash
READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class Draft:
    """A version that is not written yet.

    `members` has of each example kind, split, interaction_id, subject and is_new; `write` puts the
    example files into a folder, and gives what the manifest shall tell besides.
    """

    id: str
    application: str
    parent: str | None
    members: Table
    write: Callable[[Path], Mapping[str, Any]]
    created_at: datetime

    @property
    def kinds(self) -> dict[str, dict[str, int]]:
        """The number of examples of each kind that there is, in each split."""
        counted = self.members.group_by(["kind", "split"]).aggregate([([], "count_all")])
        kinds: dict[str, dict[str, int]] = {"demonstration": dict.fromkeys(SPLITS, 0)}
        for row in counted.to_pylist():
            of_kind = kinds.setdefault(
                row["kind"], {} if row["kind"] == "safety" else dict.fromkeys(SPLITS, 0)
            )
            of_kind[row["split"]] = row["count_all"]
        return kinds

    @property
    def split_rows(self) -> dict[str, int]:
        """The number of demonstrations in each split."""
        return self.kinds["demonstration"]

    @property
    def new_rows(self) -> int:
        """The number of demonstrations that the parent did not have."""
        shown = pc.equal(self.members["kind"], "demonstration")
        return pc.sum(pc.and_(self.members["is_new"], shown)).as_py() or 0


def write_dataset(store: Store, folder: Path, draft: Draft) -> DatasetVersion:
    """Return the row of the new version in `folder`/`draft.id`, files and rows written as one.

    Raises: ConflictError when another build has taken the same version.
    """
    with scratch_folder(folder, draft.id) as scratch:
        facts = draft.write(scratch)
        _sync_files(scratch)
        content_hash = folder_sha256(scratch, ignore=NOT_HASHED)
        manifest = {**_manifest(draft, content_hash), **facts}
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


def verify_dataset(version: DatasetVersion) -> None:
    """Check that the files of `version` are still those that were written.

    Raises: DataError that says what is missing or changed.
    """
    folder = Path(version.path)
    files = [file for _, _, file in example_files(kinds_of(version))]
    missing = [str(file) for file in files if not (folder / file).is_file()]
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


def kinds_of(version: DatasetVersion) -> list[str]:
    """Return the kinds of examples that a version has files of."""
    return list(version.manifest.get("kinds", {"demonstration": {}}))


@contextmanager
def scratch_folder(folder: Path, name: str) -> Generator[Path]:
    """Give a folder beside a version's place, to be renamed there or to vanish."""
    scratch = folder / f".{name}.{uuid4().hex}.partial"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # gone already if it was published


def _manifest(draft: Draft, content_hash: str) -> dict[str, Any]:
    return {
        "id": draft.id,
        "application": draft.application,
        "parent": draft.parent,
        "content_hash": content_hash,
        "created_at": draft.created_at.isoformat(),
        "splits": draft.split_rows,
        "kinds": draft.kinds,
        "new_rows": draft.new_rows,
    }


def seal(scratch: Path, manifest: Mapping[str, Any]) -> None:
    """Write manifest and card, and make the files read-only and durable."""
    pretty = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    write_atomic(scratch / MANIFEST_FILE, pretty + b"\n")
    write_atomic(scratch / CARD_FILE, dataset_card(manifest))
    for path in scratch.rglob("*"):
        if path.is_file():
            path.chmod(READ_ONLY)
    for path in (scratch, *(path for path in scratch.rglob("*") if path.is_dir())):
        sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk: no row may outlive the files that it names."""
    _sync(folder)


def _sync_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
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
        for rows in _member_rows(draft):
            session.exec(insert(DatasetMember), params=rows)
        if place.exists():  # a crash before the commit left it: no row names it
            shutil.rmtree(place)
        scratch.rename(place)
        sync_folder(place.parent)
        session.commit()  # if it fails the folder stays: nobody can tell whether the rows do


def _member_rows(draft: Draft) -> Iterator[list[dict[str, Any]]]:
    """Yield a row for each interaction, by batches; a split counts more than a safety test.

    Of an example that a model wrote, all interactions are members that it was made from.
    """
    is_safety = pc.equal(draft.members["split"], SAFETY)
    seen: set[str] = set()
    for part in (draft.members.filter(pc.invert(is_safety)), draft.members.filter(is_safety)):
        names = [
            n for n in ("interaction_id", "subject", "split", "seeds") if n in part.column_names
        ]
        for batch in part.select(names).to_batches(BATCH_ROWS):
            fresh: dict[str, dict[str, Any]] = {}
            for row in batch.to_pylist():
                seeds = row.pop("seeds", None) or ()
                fresh.setdefault(row["interaction_id"], row)
                for seed in seeds:
                    fresh.setdefault(seed, {**row, "interaction_id": seed, "subject": None})
            rows = [row for id_, row in fresh.items() if id_ not in seen]
            seen.update(fresh)
            if rows:
                yield [{"dataset_id": draft.id, **row} for row in rows]
