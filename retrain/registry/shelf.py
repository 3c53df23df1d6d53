"""A trained folder → the folder of an adapter: weights, recipe, evaluation, card, signed manifest.

What a finished run left and what is known of it go in; the row of a complete adapter comes out,
not yet registered. Only safetensors are taken: a pickle runs code when it is opened.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from core.errors import AdapterRefused
from core.files import json_sha256, write_atomic
from feedback.tables import Adapter
from retrain.registry import ledger, manifest
from retrain.registry.record import FinishedRun, adapter_row
from retrain.registry.servable import PICKLES
from retrain.registry.signing import Signer

RECIPE_FILE = "recipe.json"
EVALUATION_FILES = ("evaluation.json", "evaluation.md")  # left in the run's folder by the gate


def shelve(place: Path, trained: Path, finished: FinishedRun, signer: Signer) -> Adapter:
    """Fill the reserved folder `place` with what was trained, and return the adapter's row.

    Raises: AdapterRefused when there is a pickle among the files.
    """
    refuse_pickles(trained)
    shutil.copytree(trained, place, dirs_exist_ok=True)
    recipe = finished.run.hyperparameters | {"name": finished.run.recipe}
    write_atomic(place / RECIPE_FILE, json.dumps(recipe, indent=2, sort_keys=True) + "\n")
    for name in EVALUATION_FILES:
        report = Path(finished.run.folder) / name
        if report.is_file():
            shutil.copyfile(report, place / name)
    adapter = adapter_row(place, finished)
    ledger.write_card(adapter)
    signed = manifest.sign_folder(
        place, _manifest(adapter, finished), signer, ignore=ledger.UNHASHED
    )
    adapter.manifest = signed.as_dict()
    return adapter


def refuse_pickles(folder: Path) -> None:
    """Return if no file below `folder` would run code when it is opened.

    Raises: AdapterRefused that names the files.
    """
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in PICKLES
    )
    if found:
        raise AdapterRefused(
            f"{folder} holds {', '.join(found)}: a pickle runs code when it is opened; save the "
            "weights as safetensors"
        )


def _manifest(adapter: Adapter, finished: FinishedRun) -> manifest.Manifest:
    metadata: dict[str, Any] = adapter.model_metadata
    made = manifest.Made(
        base_model=adapter.base_model,
        method=str(finished.run.hyperparameters.get("method", "lora")),
        dataset=finished.dataset.id,
        dataset_hash=finished.dataset.content_hash,
        run=finished.run.id,
        recipe=finished.run.recipe,
        recipe_hash=json_sha256(finished.run.hyperparameters),
        settings_hash=finished.settings_hash,
        parent=adapter.parent_adapter,
        gate=str(adapter.gate["decision"]),
        created_at=metadata["created_at"],
        created_by=adapter.created_by,
    )
    return manifest.Manifest(
        adapter=adapter.name,
        application=adapter.application,
        made=made,
        code=manifest.code_facts(),
        files={},
    )
