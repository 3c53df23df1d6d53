"""CURATE, inwards: a dataset version that was written elsewhere becomes one of this store.

A folder as `dataset_version` writes them comes in, from a backup or from the Hub: nothing in it is
believed. Its files must have the hash that its manifest names and hold what the manifest counts,
nothing may be in two splits or in another split than here, and nobody who was erased may come back.
Then the version is written as one that was built here, or a broken folder is replaced. Knows
nothing of networks.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pyarrow as pa
from sqlmodel import Session, select

from core.clock import as_utc
from core.errors import ConflictError, DataError, NotFoundError, PermissionDeniedError
from core.files import folder_sha256
from core.ids import subject_digest
from curation.card import dataset_card
from curation.dataset_files import KINDS, MESSAGES_FOLDER, example_files
from curation.dataset_version import (
    CARD_FILE,
    MANIFEST_FILE,
    Draft,
    scratch_folder,
    seal,
    sync_folder,
    verify_dataset,
    write_dataset,
)
from curation.examples import count_rows, parts_of, read_table
from curation.history import SAFETY, SPLITS, read_history
from curation.leaks import find_leaks
from curation.table import Table, with_column
from feedback.store import Store
from feedback.tables import DatasetVersion, Erasure

How = Literal["added", "present", "restored"]

_NUMBERED = re.compile(r"--d[1-9]\d*")
_COUNTED = ("content_hash", "splits", "new_rows")  # anew, of the files


class Adopted(NamedTuple):
    """The version, and whether it is new here, was here already, or had its folder replaced."""

    version: DatasetVersion
    how: How


class _Manifest(msgspec.Struct):
    """What a manifest must say so that card, history and checks can be made of it."""

    id: str
    application: str
    parent: str | None
    content_hash: str
    created_at: datetime
    kinds: dict[Literal["demonstration", "pair", "label", "safety"], dict[str, int]]
    settings_hash: str
    stages: list[dict[str, Any]]
    lineage: dict[str, Any]


def version_files(kinds: Collection[str] = KINDS) -> list[Path]:
    """Return the files of a version with examples of these kinds, below its folder."""
    lines = [Path(MESSAGES_FOLDER) / f"{split}.jsonl" for split in SPLITS]
    examples = [file for _, _, file in example_files(kinds)]
    return [*examples, *lines, Path(MANIFEST_FILE), Path(CARD_FILE)]


def adopt_version(
    store: Store, datasets: Path, source: Path, applications: Collection[str]
) -> Adopted:
    """Return the version in the folder `source`, once it is one of this store.

    `datasets` is the folder of versions, `applications` are those of the settings.

    Raises: DataError when the folder is not what its manifest says, or leaks; NotFoundError for an
    application that is not known here; ConflictError when the store holds another version of that
    id or other splits; PermissionDeniedError when it holds people who were erased here.
    """
    manifest = _read_manifest(source)
    found = _foreign(manifest, source)
    if found.application not in applications:
        known = ", ".join(applications) or "none"
        raise NotFoundError(
            f"dataset {found.id} is of the application {found.application!r}, and the settings "
            f"name: {known}; add [applications.{found.application}] to them"
        )
    with scratch_folder(datasets, found.id) as clean:
        _copy(source, clean, list(found.manifest["kinds"]))
        _check(found, clean)
        members = _members(found)
        with store.session() as session:
            held = session.get(DatasetVersion, found.id)
            _check_erased(session, found, members)
            if held is None:
                _check_splits(session, found, members)
        if held is not None:
            return Adopted(held, _restore(held, found, clean))
        return Adopted(_write(store, datasets, found, members), "added")


def _read_manifest(source: Path) -> dict[str, Any]:
    path = source / MANIFEST_FILE
    if not path.is_file():
        raise DataError(f"{MANIFEST_FILE} is missing: this is no dataset version of Ratchet")
    try:
        raw: dict[str, Any] = msgspec.json.decode(path.read_bytes())
        told = msgspec.convert(raw, _Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DataError(
            f"{MANIFEST_FILE} is not as Ratchet writes it ({error}): push the version again"
        ) from error
    try:
        dataset_card(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # whatever somebody wrote
        raise DataError(
            f"no card can be made of {MANIFEST_FILE} ({error!r}): push the version again"
        ) from error
    number = told.id.removeprefix(told.application)
    if not _NUMBERED.fullmatch(number) or Path(told.id).name != told.id:
        raise DataError(
            f"{MANIFEST_FILE} names dataset {told.id!r} of application {told.application!r}: an id "
            "is the application's name, --d and a number; push the version again"
        )
    return raw


def _foreign(manifest: Mapping[str, Any], source: Path) -> DatasetVersion:
    """Return the version as a row that is not in the store, at the folder that was given."""
    shown = manifest["kinds"].get("demonstration", {})
    return DatasetVersion(
        id=manifest["id"],
        application=manifest["application"],
        parent=manifest["parent"],
        path=str(source),
        content_hash=manifest["content_hash"],
        **{f"{split}_rows": shown.get(split, 0) for split in SPLITS},
        new_rows=manifest.get("new_rows", 0),
        manifest=dict(manifest),
        created_at=as_utc(datetime.fromisoformat(manifest["created_at"])),
    )


def _copy(source: Path, target: Path, kinds: Collection[str]) -> None:
    """Copy the files that a version has, and no others."""
    for file in version_files(kinds):
        if not (source / file).is_file():
            raise DataError(f"{file} is missing in the copy: push the version again")
        (target / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / file, target / file)


def _check(found: DatasetVersion, clean: Path) -> None:
    """Check that the files are those of the manifest, and that no split leaks into another."""
    found.path = str(clean)
    hashed = folder_sha256(clean, ignore=frozenset({MANIFEST_FILE, CARD_FILE}))
    if hashed != found.content_hash:
        raise DataError(
            f"the copy of dataset {found.id} was changed: its hash is {hashed[:12]}…, written was "
            f"{found.content_hash[:12]}…; push the version again"
        )
    for part in parts_of(found):
        said = found.manifest["kinds"].get(part.kind, {}).get(part.split, 0)
        rows = count_rows(found, part)
        if rows != said:
            raise DataError(
                f"the copy of dataset {found.id} holds {rows} examples ({part.kind}, "
                f"{part.split}), and its manifest says {said}: push the version again"
            )
    leaks = find_leaks(found)
    if leaks:
        raise DataError(f"the copy of dataset {found.id} leaks: {leaks[0]}; curate it again")


def _members(found: DatasetVersion) -> Table:
    """Return what the store notes of each example."""
    tables: list[Table] = []
    for part in parts_of(found):
        table = read_table(found, part, ["interaction_id", "subject", "is_new", "seeds"])
        table = with_column(table, "kind", [part.kind] * table.num_rows, pa.string())
        tables.append(with_column(table, "split", [part.split] * table.num_rows, pa.string()))
    return pa.concat_tables(tables)


def _check_erased(session: Session, found: DatasetVersion, members: Table) -> None:
    """Check that nobody is in it who was erased after it was made."""
    query = select(Erasure.subject_digest, Erasure.requested_at)
    rows = session.exec(query.where(Erasure.application == found.application))
    erased = {digest for digest, at in rows if as_utc(at) >= as_utc(found.created_at)}
    people = members["subject"].unique().drop_null().to_pylist()
    back = sum(subject_digest(subject) in erased for subject in people)
    if back:
        raise PermissionDeniedError(
            f"dataset {found.id} holds {back} people who were erased here since it was made: push "
            "it again from where they are erased, and delete the older copy"
        )


def _check_splits(session: Session, found: DatasetVersion, members: Table) -> None:
    """Check that what is in a split of a version here is in the same split there."""
    history = read_history(session, found.application)
    for interaction, subject, split in _placed(members):
        held = history.interactions.get(interaction)
        held = held or (history.subjects.get(subject) if subject is not None else None)
        if held is not None and held != split:
            raise ConflictError(
                f"dataset {found.id} has interaction {interaction} in {split}, and a version here "
                f"has it, or its subject, in {held}: it comes from another history; curate here, "
                "or pull into a data_dir of its own"
            )


def _placed(members: Table) -> Iterator[tuple[str, str | None, str]]:
    """Yield each interaction that examples in splits are of, or were made from by a model."""
    names = ("interaction_id", "subject", "seeds", "split")
    columns = [members[name].to_pylist() for name in names]
    for interaction, subject, seeds, split in zip(*columns, strict=True):
        if split != SAFETY:
            yield interaction, subject, split
            yield from ((seed, None, split) for seed in seeds or ())


def _write(store: Store, datasets: Path, found: DatasetVersion, members: Table) -> DatasetVersion:
    kinds = list(found.manifest["kinds"])

    def write(folder: Path) -> dict[str, Any]:
        _copy(Path(found.path), folder, kinds)
        # kinds as they are told and checked: one may have files, and by erasure no examples
        return {name: value for name, value in found.manifest.items() if name not in _COUNTED}

    draft = Draft(
        id=found.id,
        application=found.application,
        parent=found.parent,
        members=members,
        write=write,
        created_at=found.created_at,
    )
    return write_dataset(store, datasets, draft)


def _restore(held: DatasetVersion, found: DatasetVersion, clean: Path) -> How:
    """Put the files in the place of broken ones; the store's row stays."""
    if held.content_hash != found.content_hash:
        raise ConflictError(
            f"dataset {held.id} is here with another content ({held.content_hash[:12]}…, the copy "
            f"has {found.content_hash[:12]}…): what is here stays; pull the copy into a data_dir "
            "of its own"
        )
    try:
        verify_dataset(held)
    except DataError:  # which is why it is restored
        pass
    else:
        return "present"
    seal(clean, held.manifest)
    place = Path(held.path)
    broken = place.with_name(f".{place.name}.broken")
    shutil.rmtree(broken, ignore_errors=True)
    if place.exists():
        place.rename(broken)
    clean.rename(place)
    sync_folder(place.parent)
    shutil.rmtree(broken, ignore_errors=True)
    return "restored"
