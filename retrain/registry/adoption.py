"""An adapter that was made elsewhere → a candidate of this registry.

A folder from outside goes in; after every check a row comes out, `candidate` and without a gate's
word: nothing that others say of it lets it near traffic. Its own manifest tells where it is from,
if a trusted key signed it; otherwise it counts as of unknown origin, and says so.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sqlmodel import Session

from core.clock import utc_now
from core.errors import DataError
from core.files import folder_sha256
from core.settings import Settings
from feedback.tables import Adapter
from retrain.registry import ledger, manifest
from retrain.registry.servable import check_servable
from retrain.registry.shelf import refuse_pickles
from retrain.registry.signing import open_signer

ADOPTED = "adopted"  # as run and dataset of what was not made here
ORIGIN_FILE = "origin.json"  # the manifest that it came with


def adopt_adapter(
    session: Session, settings: Settings, source: Path, application: str, origin: str
) -> Adapter:
    """Copy the adapter in `source` to a name of its own and register it as a candidate.

    Raises: DataError for no adapter or one whose trusted manifest does not fit its files;
    AdapterRefused for pickles and for what the engine could not serve.
    """
    refuse_pickles(source)
    rank = check_servable(source, settings.engine).rank
    signed = _origin(settings, source)
    place = ledger.reserve_folder(session, application, settings.folder("adapters"))
    for path in source.iterdir():
        if path.is_file() and path.name not in ledger.UNHASHED and not path.name.startswith("."):
            shutil.copyfile(path, place / path.name)
    if signed is not None:
        shutil.copyfile(source / manifest.FILE, place / ORIGIN_FILE)
    metadata = _metadata(place.name, settings, origin, signed)
    adapter = Adapter(
        name=place.name,
        application=application,
        base_model=str(settings.engine.model),
        path=str(place),
        content_hash=folder_sha256(place, ignore=ledger.UNHASHED),
        run_id=ADOPTED,
        dataset_id=metadata["training_data"]["version"],
        rank=rank,
        gate={"decision": "none", "reasons": [f"it came from {origin}: `ratchet gate run`"]},
        model_metadata=metadata,
        created_by=metadata["trained_by"],
    )
    ledger.write_card(adapter)
    ours = manifest.sign_folder(
        place, _manifest(adapter), open_signer(settings), ignore=ledger.UNHASHED
    )
    adapter.manifest = ours.as_dict()
    return ledger.register(session, adapter)


def _origin(settings: Settings, source: Path) -> manifest.Signed | None:
    """Return the manifest that it came with, if a trusted key signed it.

    Raises: DataError when it is trusted, and the files are others.
    """
    signed = manifest.read_manifest(source)
    trusted = {open_signer(settings).public, *settings.registry.trusted_keys}
    if signed is None or signed.public_key not in trusted:
        return None
    found = manifest.faults(source, signed, trusted, ignore=ledger.UNHASHED)
    if found:
        raise DataError(
            f"the adapter {signed.manifest.adapter} is not what was signed: {'; '.join(found)}: "
            "fetch it again, or ask whoever made it"
        )
    return signed


def _metadata(
    name: str, settings: Settings, origin: str, signed: manifest.Signed | None
) -> dict[str, Any]:
    """Return the guide's metadata, as far as it is known of what others made."""
    made = signed.manifest.made if signed else None
    known = f"{signed.manifest.adapter} of {origin}" if signed else f"{origin}, unsigned"
    return {
        "model_id": name,
        "base_model": str(settings.engine.model),
        "training_data": {
            "version": made.dataset if made else ADOPTED,
            "size": None,
            "hash": f"sha256:{made.dataset_hash}" if made else None,
        },
        "hyperparameters": {},
        "metrics": {},
        "created_at": utc_now().isoformat(timespec="seconds"),
        "trained_by": made.created_by if made else "unknown",
        "production_status": "candidate",
        "application": name.rpartition("--v")[0],
        "adopted_from": known,
        "run": {
            "id": made.run if made else ADOPTED,
            "mode": "adopted",
            "recipe": made.recipe if made else ADOPTED,
            "reason": f"adopted from {known}",
            "continues": made.parent if made else None,
            "seconds": {},
        },
    }


def _manifest(adapter: Adapter) -> manifest.Manifest:
    """Return what this installation can vouch for: the files, and where it had them from."""
    run = adapter.model_metadata["run"]
    made = manifest.Made(
        base_model=adapter.base_model,
        method=adapter.method,
        dataset=adapter.dataset_id,
        dataset_hash=(adapter.model_metadata["training_data"]["hash"] or "").removeprefix(
            "sha256:"
        ),
        run=run["id"],
        recipe=run["recipe"],
        recipe_hash="",
        settings_hash="",
        parent=run["continues"],
        gate="none",
        created_at=adapter.model_metadata["created_at"],
        created_by=adapter.created_by,
    )
    return manifest.Manifest(
        adapter=adapter.name,
        application=adapter.application,
        made=made,
        code={"adopted_from": adapter.model_metadata["adopted_from"]},
        files={},
    )
