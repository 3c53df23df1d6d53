"""An adapter that no engine can hot-load → a base model of its own: what is checked, and noted.

An adapter's row and a folder's name go in; a `Merge` comes out when there is something to do. The
folder is whole or absent, and says in `lineage.json` what it was made of. `retrain.training.merge`
does the arithmetic; this module needs no torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.clock import utc_now
from core.errors import AdapterRefused, DataError, StateError
from core.files import json_sha256, write_atomic
from core.settings import EngineSettings
from feedback.tables import Adapter
from retrain.adapter_shape import method_of
from retrain.recipe_rules import MERGEABLE
from retrain.registry import ledger, manifest
from retrain.registry.servability import FULL, check_model
from retrain.registry.servable import CONFIG_FILE, read_adapter_config, same_model

LINEAGE_FILE = "lineage.json"
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Merge:
    """What becomes one model: folders that are there, and the one that is to be."""

    adapter: str
    trained: Path  # the adapter's folder; of full fine-tuning a model
    method: str
    base_model: Path
    into: Path
    made_of: dict[str, Any]  # goes into the lineage
    instruction_template: bool  # the new model's tokenizer gets the guide's template


@dataclass(frozen=True, slots=True)
class Merged:
    """A model that is ready to be served as `engine.model`."""

    folder: Path
    lineage: dict[str, Any]
    fresh: bool  # False: it was there already, and is whole


def plan_merge(adapter: Adapter, into: Path, engine: EngineSettings) -> Merge:
    """Return what is to be done, after everything that can be checked before any compute.

    Raises: DataError when the adapter's files or the base model are not what they were;
    AdapterRefused for a method that cannot be merged, or another base model; StateError for an
    adapter that learnt from erased data; GateError for one that did not pass the gate.
    """
    if adapter.tainted_at is not None:
        raise StateError(
            f"adapter {adapter.name} is tainted: it learnt from data that were erased since; "
            "`ratchet retrain` makes one without them"
        )
    ledger.require_gate(adapter)
    ledger.verify(adapter)
    trained = Path(adapter.path)
    own_model = not (trained / CONFIG_FILE).is_file()
    method = FULL if own_model else method_of(read_adapter_config(trained))
    if method != FULL and method not in MERGEABLE:
        raise AdapterRefused(
            f"adapter {adapter.name} cannot be merged: method {method} learns tokens, which no "
            "weight of the model can hold: train with method lora to serve it"
        )
    base = _base(adapter, engine)
    check_model(trained if own_model else base)
    made_of = {
        "adapter": adapter.name,
        "adapter_hash": adapter.content_hash,
        "method": adapter.method,
        "base_model": adapter.base_model,
        "base_config_hash": json_sha256(json.loads((base / "config.json").read_text())),
        "dataset": adapter.dataset_id,
        "run": adapter.run_id,
        "gate": adapter.gate.get("decision"),
    }
    template = adapter.model_metadata.get("hyperparameters", {}).get("template")
    return Merge(
        adapter.name, trained, method, base, into.resolve(), made_of, template == "instruction"
    )


def merged_already(asked: Merge) -> Merged | None:
    """Return the model when this very merge was done before and its files are still whole.

    Raises: StateError when the folder holds something else; DataError when a file of it changed.
    """
    if not asked.into.exists() or not any(asked.into.iterdir()):
        return None
    path = asked.into / LINEAGE_FILE
    if not path.is_file():
        raise StateError(f"{asked.into} is not empty: name a folder that does not exist yet")
    lineage: dict[str, Any] = json.loads(path.read_text())
    if lineage.get("adapter_hash") != asked.made_of["adapter_hash"]:
        raise StateError(
            f"{asked.into} holds a merge of {lineage.get('adapter')}: name another folder for "
            f"{asked.adapter}"
        )
    found = manifest.file_hashes(asked.into, {LINEAGE_FILE})
    if found != lineage["files"]:
        changed = sorted(dict(found.items() ^ lineage["files"].items()))
        raise DataError(
            f"{asked.into} is no longer what was merged ({', '.join(changed)}): delete it and "
            "merge again"
        )
    return Merged(asked.into, lineage, fresh=False)


def carry_out(asked: Merge, write: Callable[[Merge, Path], dict[str, Any]]) -> Merged:
    """Let `write` fill a folder beside the wanted one, note the lineage, and put it in place.

    `write` returns what it measured. A merge that is killed leaves nothing at `asked.into`.
    """
    done = merged_already(asked)
    if done is not None:
        return done
    asked.into.parent.mkdir(parents=True, exist_ok=True)
    partial = asked.into.with_name(f".{asked.into.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        measured = write(asked, partial)
        lineage = {
            "schema": 1,
            **asked.made_of,
            **measured,
            "merged_at": utc_now().isoformat(timespec="seconds"),
            "code": manifest.code_facts(),
            "files": manifest.file_hashes(partial, {LINEAGE_FILE}),
        }
        write_atomic(partial / LINEAGE_FILE, json.dumps(lineage, indent=2) + "\n")
        if asked.into.exists():
            asked.into.rmdir()  # empty: `merged_already` has seen to it
        partial.rename(asked.into)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Merged(asked.into, lineage, fresh=True)


def _base(adapter: Adapter, engine: EngineSettings) -> Path:
    """Return the folder of the base model that the adapter was trained on.

    Raises: AdapterRefused when the engine has gone on to another; DataError when it is not here.
    """
    named = Path(adapter.base_model)
    if named.is_dir():
        return named.resolve()
    if not same_model(adapter.base_model, engine.model):
        raise AdapterRefused(
            f"adapter {adapter.name} was trained on {adapter.base_model!r}, which is not here; "
            f"engine.model is {str(engine.model)!r}: fetch the base model that it was trained on"
        )
    if not engine.model.is_dir():
        raise DataError(f"engine.model {engine.model} is no folder: fetch the base model")
    return engine.model.resolve()
