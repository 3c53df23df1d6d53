"""What would stop a run later is looked for now, before any compute.

A job and the settings go in; an error that names the value and the mend comes out, or nothing.
Reads the headers of files only.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from core.errors import DataError, TrainingError
from core.settings import Settings
from retrain.parallel.rules import parallel_faults
from retrain.recipe import Recipe
from retrain.recipe_rules import HOT_SERVED
from retrain.runs.devices import find_devices, wanted
from retrain.runs.ranks import shared
from retrain.runs.spec import JobSpec

# A checkpoint holds the adapter and two moments of each of its numbers.
COPIES_PER_CHECKPOINT = 3
BYTES_PER_WEIGHT = 4
SMALL_RANK = 16
SPARE_BYTES = 200 << 20  # logs, reports, the adapter's own copies. Our choice


def check_before_run(spec: JobSpec, recipe: Recipe, settings: Settings) -> None:
    """Return if nothing is known that would stop the run.

    Raises: DataError for a dataset that cannot be learnt from; TrainingError for a recipe whose
    adapter could not be served, processes that cannot share its work, or a disk without room.
    """
    _check_dataset(Path(spec.dataset), recipe)
    limit = settings.engine.max_lora_rank
    if recipe.method in HOT_SERVED and recipe.rank is not None and recipe.rank > limit:
        raise TrainingError(
            f"recipe {recipe.name}: rank is {recipe.rank}, and the engine serves at most {limit}: "
            "lower it, or raise engine.max_lora_rank"
        )
    if settings.retrain.launcher == "local":
        wanted(spec.parallel.processes, find_devices())
        _check_installed(spec)
    check_parallel(spec, recipe)
    _check_room(spec, recipe, settings)


def check_parallel(spec: JobSpec, recipe: Recipe) -> None:
    """Return if the job's processes can share this recipe's work, as far as was tried.

    Raises: TrainingError.
    """
    if faults := parallel_faults(spec.parallel, shared(recipe, spec.parallel.processes)):
        raise TrainingError(f"recipe {recipe.name}: {'; '.join(faults)}")


def _check_installed(spec: JobSpec) -> None:
    if spec.parallel.by_deepspeed and find_spec("deepspeed") is None:
        raise TrainingError(
            f"launchers.strategy is {spec.parallel.strategy}, and DeepSpeed is not installed: "
            "`DS_BUILD_OPS=0 pip install ratchet-llm[deepspeed]`, or set it to fsdp or ddp"
        )


def _check_dataset(folder: Path, recipe: Recipe) -> None:
    path = folder / "train.parquet"
    if recipe.trainer != "sft":
        return  # its own reader looks at pairs and labels before the model is loaded
    if not path.is_file():
        raise DataError(f"{path} is missing: the dataset version is incomplete, curate it again")
    file = parquet.ParquetFile(path)
    columns: list[str] = file.schema_arrow.names
    if "messages" not in columns and not {"prompt", "completion"} <= set(columns):
        raise DataError(
            f"{path} has no column 'messages', nor 'prompt' and 'completion' (it has {columns}): "
            "curate it again"
        )
    if file.metadata.num_rows == 0:
        raise DataError(f"{path} is empty: collect more ratings, or lower what curation leaves out")


def _check_room(spec: JobSpec, recipe: Recipe, settings: Settings) -> None:
    folder = settings.folder("runs")
    free = shutil.disk_usage(folder).free
    needed = needed_bytes(Path(spec.base_model), recipe)
    if free < needed:
        raise TrainingError(
            f"{folder} has {free / 1e9:.1f} GB free, and a run with recipe {recipe.name} may need "
            f"{needed / 1e9:.1f} GB for {recipe.keep_checkpoints + 1} checkpoints: make room, or "
            "lower keep_checkpoints"
        )


def needed_bytes(base_model: Path, recipe: Recipe) -> int:
    """Return how many bytes the run's folder may grow to, from above."""
    config = json.loads((base_model / "config.json").read_text())
    if recipe.method == "full":
        files = base_model.glob("*.safetensors")
        weights = sum(file.stat().st_size for file in files) // BYTES_PER_WEIGHT
    else:  # what has no rank is smaller than a LoRA of that
        weights = lora_weights(config, recipe.rank or SMALL_RANK)
    checkpoint = weights * BYTES_PER_WEIGHT * COPIES_PER_CHECKPOINT
    return checkpoint * (recipe.keep_checkpoints + 1) + SPARE_BYTES


def lora_weights(config: Mapping[str, Any], rank: int) -> int:
    """Return how many numbers a LoRA on all linear layers has: rank times both sides of each.

    Four matrices of the attention are at most hidden by hidden, three of the MLP hidden by inner.
    """
    hidden = int(config.get("hidden_size", 4096))
    inner = int(config.get("intermediate_size", 4 * hidden))
    return int(config.get("num_hidden_layers", 32)) * rank * (8 * hidden + 3 * (hidden + inner))
