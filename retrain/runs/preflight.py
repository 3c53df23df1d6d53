"""What would stop a run later is looked for now, before any compute.

A job and the settings go in; an error that names the value and the mend comes out, or what the run
is expected to take. Reads the dataset and the headers of other files only.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from core.errors import DataError, TrainingError
from core.settings import Settings
from retrain.examples import load_split
from retrain.parallel.rules import parallel_faults
from retrain.recipe import Recipe
from retrain.recipe_rules import HOT_SERVED
from retrain.runs.devices import find_devices, wanted
from retrain.runs.disk import require_disk
from retrain.runs.fitting import Expected, expect, require_fit
from retrain.runs.ranks import shared
from retrain.runs.spec import JobSpec


def check_before_run(
    spec: JobSpec, recipe: Recipe, settings: Settings, tokens_per_s: float | None = None
) -> Expected | None:
    """Return what the run will take if nothing is known that would stop it.

    None for a model whose shape is unknown. `tokens_per_s`: of the last run.

    Raises: DataError for a dataset that cannot be learnt from; TrainingError for a recipe whose
    adapter could not be served, processes that cannot share its work, a disk without room, or what
    does not fit into memory.
    """
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
    _require_test_split(spec, recipe)
    require_disk(spec, recipe, settings)
    expected = expect(spec, recipe, settings, tokens_per_s)
    if expected is not None and not spec.even_if_it_may_not_fit:
        require_fit(expected, recipe)
    return expected


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


def _require_test_split(spec: JobSpec, recipe: Recipe) -> None:
    """Look at what the gate will ask: its faults would show only after the training."""
    if not spec.evaluated or recipe.trainer == "reward":
        return
    folder = Path(spec.dataset)
    if not load_split(folder, "test"):
        raise DataError(
            f"{folder / 'test.parquet'} is empty, and the gate judges by it: collect more ratings, "
            "or raise curation.test_share, and curate again"
        )
