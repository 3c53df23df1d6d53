"""Is an adapter still what it was registered as? Looked at from all sides, without changing it.

A row and its folder go in, what is wrong comes out, one sentence each: files, manifest, signature,
lineage, and whether the engine can serve it.
"""

from __future__ import annotations

from pathlib import Path

from sqlmodel import Session

from core.errors import DataError, RatchetError
from core.settings import Settings
from feedback.tables import Adapter, DatasetVersion
from retrain.registry import ledger, manifest
from retrain.registry.servable import check_servable
from retrain.registry.shelf import refuse_pickles
from retrain.registry.signing import open_signer


def problems(session: Session, settings: Settings, adapter: Adapter) -> list[str]:
    """Return what is wrong with the adapter; nothing when all is as it was registered."""
    try:
        ledger.verify(adapter)
    except DataError as error:
        return [str(error)]
    folder = Path(adapter.path)
    found = [*_pickles(folder), *_manifest_faults(settings, adapter)]
    found += _lineage_faults(session, adapter)
    if adapter.servable:
        found += _refusals(folder, settings)
    return found


def _pickles(folder: Path) -> list[str]:
    try:
        refuse_pickles(folder)
    except RatchetError as error:
        return [str(error)]
    return []


def _manifest_faults(settings: Settings, adapter: Adapter) -> list[str]:
    folder = Path(adapter.path)
    try:
        signed = manifest.read_manifest(folder)
    except DataError as error:
        return [str(error)]
    if signed is None:
        return [f"it has no {manifest.FILE}: it was made before there were any, train it anew"]
    own = open_signer(settings).public
    trusted = {own, *settings.registry.trusted_keys}
    found = manifest.faults(folder, signed, trusted, ignore=ledger.UNHASHED)
    if adapter.manifest and signed.as_dict() != adapter.manifest:
        found.append(f"{manifest.FILE} is not the one that was registered")
    return found


def _lineage_faults(session: Session, adapter: Adapter) -> list[str]:
    """Return what does not fit between the manifest and the store's row of the dataset."""
    dataset = session.get(DatasetVersion, adapter.dataset_id)
    made = adapter.manifest.get("manifest", {}).get("made", {})
    known = made.get("dataset_hash")
    if dataset is None or not known or known == dataset.content_hash:
        return []  # a pulled adapter's dataset may be elsewhere
    return [
        f"dataset {dataset.id} now has the hash {dataset.content_hash[:12]}, it was trained on "
        f"{known[:12]}"
    ]


def _refusals(folder: Path, settings: Settings) -> list[str]:
    try:
        check_servable(folder, settings.engine)
    except RatchetError as error:
        return [str(error)]
    return []
