"""What the command line tells of a dataset version, as plain values: its row and what came of it.

Reads the store and the version's own files; draws nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from sqlmodel import Session, col, select

from core.errors import NotFoundError
from curation.examples import find_version, parts_of, read_part
from curation.history import SAFETY
from feedback.tables import Adapter, DatasetVersion, Erasure, Run
from feedback.versions import version_number

Facts = dict[str, Any]

_ROW = ("id", "application", "parent", "path", "content_hash", "new_rows")
_TOLD = ("lineage", "stages", "coverage", "settings", "settings_hash", "code_hash")


def list_versions(
    session: Session, application: str | None, known: Sequence[str]
) -> list[DatasetVersion]:
    """Return the versions of an application or of all, the oldest of each first.

    Raises: NotFoundError for an application that neither settings nor store know.
    """
    query = select(DatasetVersion)
    if application is not None:
        query = query.where(DatasetVersion.application == application)
    versions = sorted(session.exec(query), key=lambda v: (v.application, version_number(v)))
    if application is not None and not versions and application not in known:
        names = ", ".join(known) or "none"
        raise NotFoundError(f"no application {application!r}; the settings name: {names}")
    return versions


def brief(version: DatasetVersion) -> Facts:
    """Return a version as a list shows it."""
    return {
        "id": version.id,
        "application": version.application,
        "parent": version.parent,
        "created_at": version.created_at.isoformat(),
        "kinds": kinds(version),
        "new_rows": version.new_rows,
        "content_hash": version.content_hash,
    }


def kinds(version: DatasetVersion) -> dict[str, dict[str, int]]:
    """Return the examples of each kind in each split."""
    splits = {
        "train": version.train_rows,
        "validation": version.validation_rows,
        "test": version.test_rows,
    }
    return version.manifest.get("kinds") or {"demonstration": splits}


def describe(session: Session, dataset_id: str) -> Facts:
    """Return all that is known of a version but its examples.

    Raises: NotFoundError.
    """
    version = find_version(session, dataset_id)
    runs = session.exec(
        select(Run).where(Run.dataset_id == dataset_id).order_by(col(Run.started_at))
    )
    adapters = session.exec(
        select(Adapter).where(Adapter.dataset_id == dataset_id).order_by(col(Adapter.created_at))
    )
    children = session.exec(select(DatasetVersion.id).where(DatasetVersion.parent == dataset_id))
    return {
        **{name: getattr(version, name) for name in _ROW},
        "created_at": version.created_at.isoformat(),
        "kinds": kinds(version),
        **{name: version.manifest[name] for name in _TOLD if name in version.manifest},
        "children": sorted(children),
        "runs": [{"id": run.id, "status": run.status, "mode": run.mode} for run in runs],
        "adapters": [
            {"name": own.name, "status": own.status, "tainted_by": own.tainted_by}
            for own in adapters
        ],
        "erasures": _erasures(session, version),
    }


def sample(
    version: DatasetVersion, number: int, split: str | None, kind: str | None
) -> list[Facts]:
    """Return the first examples of a split and kind, or of all.

    Raises: NotFoundError when the version has no such split or kind; DataError.
    """
    parts = [
        part
        for part in parts_of(version)
        if split in (None, part.split) and kind in (None, part.kind)
    ]
    if not parts:
        there = ", ".join(f"{part.kind} {part.split}" for part in parts_of(version))
        raise NotFoundError(
            f"dataset {version.id} has no {kind or 'example'} in {split or 'any split'}: it has "
            f"{there} (safety tests are in the split {SAFETY})"
        )
    found = (
        {"kind": part.kind, "split": part.split, **row}
        for part in parts
        for table in read_part(version, part)
        for row in table.to_pylist()
    )
    return list(islice(found, number))


def _erasures(session: Session, version: DatasetVersion) -> list[Facts]:
    """Return the erasures that changed the version: what its manifest says, and their state."""
    entries: list[Facts] = version.manifest.get("erased", [])
    states = {entry["erasure"]: session.get(Erasure, entry["erasure"]) for entry in entries}
    return [
        {**entry, "state": row.state if (row := states[entry["erasure"]]) else "not here"}
        for entry in entries
    ]
