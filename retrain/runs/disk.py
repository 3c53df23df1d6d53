"""Is there room on the disk for what a run will write? Asked before any compute.

A job and its recipe go in; an error that names folder, bytes and mend comes out, or nothing. Sizes
are those of `retrain.estimate`. Reads the headers of files only.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from core.errors import DataError, TrainingError
from core.settings import Settings
from retrain.estimate import BYTES_32, Plan, Shape, trained_weights
from retrain.model_shape import read_shape
from retrain.recipe import Recipe
from retrain.runs.spec import JobSpec

COPIES_PER_CHECKPOINT = 3  # what is trained, and two moments of each of its numbers
RESULTS = 2  # the run's own, and the registry's copy
SMALL_RANK = 16  # what has no rank is smaller than a LoRA of that
SPARE_BYTES = 200 << 20  # logs, reports, trackers, the store. Our choice
# Of a model of 7 thousand million weights: what is not known is taken to be as large.
LARGE = Shape(parameters=6_738_415_616, layers=32, hidden=4096, inner=11008, vocabulary=32000)


def require_disk(spec: JobSpec, recipe: Recipe, settings: Settings) -> None:
    """Return if the disk has room for the run.

    Raises: TrainingError.
    """
    folder = settings.folder("runs")
    free = shutil.disk_usage(folder).free
    needed = needed_bytes(Path(spec.base_model), recipe)
    if free < needed:
        raise TrainingError(
            f"{folder} has {free / 1e9:.2f} GB free, and a run with recipe {recipe.name} may need "
            f"{needed / 1e9:.2f} GB: {recipe.keep_checkpoints + 1} checkpoints of "
            f"{checkpoint_bytes(Path(spec.base_model), recipe) / 1e9:.2f} GB and the result twice; "
            "make room, lower keep_checkpoints, or set data_dir to a larger disk"
        )


def needed_bytes(base_model: Path, recipe: Recipe) -> int:
    """Return how many bytes a run may write that stay until its end, from above.

    While a checkpoint is written, `keep_checkpoints` older ones are still there.
    """
    checkpoint = checkpoint_bytes(base_model, recipe)
    result = trained_numbers(base_model, recipe) * BYTES_32
    return checkpoint * (recipe.keep_checkpoints + 1) + RESULTS * result + SPARE_BYTES


def checkpoint_bytes(base_model: Path, recipe: Recipe) -> int:
    """Return how many bytes a checkpoint has, from above; each holds the tokenizer, too."""
    weights = trained_numbers(base_model, recipe)
    tokenizer = sum(file.stat().st_size for file in base_model.glob("tokenizer*"))
    return weights * BYTES_32 * COPIES_PER_CHECKPOINT + tokenizer


def trained_numbers(base_model: Path, recipe: Recipe) -> int:
    """Return how many numbers are trained; of an unknown model, by the size of its files."""
    layers = recipe.layers if isinstance(recipe.layers, int) else None
    plan = Plan(method=recipe.method, rank=recipe.rank or SMALL_RANK, layers=layers)
    try:
        return trained_weights(read_shape(base_model), plan)
    except DataError:  # of another architecture
        files = base_model.glob("*.safetensors")
        whole = sum(file.stat().st_size for file in files) // BYTES_32
        return whole if recipe.method == "full" else trained_weights(LARGE, plan)
