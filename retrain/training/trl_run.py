"""What a run with any of TRL's trainers has in common: from arguments to what is saved.

A trainer that is set up goes in; it trains (or goes on training), `adapter/` (or `model/`) in the
run's folder and a `TrainOutcome` come out. Knows neither losses nor data. Imports torch.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback
from trl.trainer import utils as trl_utils

from retrain.recipe import Recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import CHECKPOINT_FOLDER, JobSpec, TrainOutcome
from retrain.training.agreement import is_first, wait_for_all
from retrain.training.checkpointing import EveryMinutes, resume_point
from retrain.training.material import Material
from retrain.training.methods import resolve_dtype, save_trained
from retrain.training.sharding import gathered, size
from retrain.training.watch import Watch
from retrain.watching.system import peak_bytes

REFERENCE = "ref"  # TRL's name for a frozen copy of the adapter that training starts from
LEAST_GAIN = 0.001  # of the validation loss, to count as better. Guide, Prevention Techniques
EDGE = 0.1  # of the steps: how many count as a run's beginning and end


class Tuned:
    """Mixed into TRL's trainers, before them: checkpoints that can be resumed, no model cards."""

    _total_train_tokens: int

    @property
    def tokens_seen(self) -> int:
        """Return how many tokens this process has trained on."""
        return int(self._total_train_tokens)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none into checkpoints: the registry writes the adapter's card."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Leave the reference out of checkpoints.

        It is made anew from what the run starts with, and transformers (5.19) would load nothing
        but adapters in subfolders if there are any, so that a resumed run would start afresh.
        """
        super()._save(output_dir, state_dict)  # type: ignore[misc]
        shutil.rmtree(Path(output_dir or self.args.output_dir) / REFERENCE, ignore_errors=True)  # type: ignore[attr-defined]


def arguments(recipe: Recipe, run_folder: Path, *, validates: bool) -> dict[str, Any]:
    """Return what every TRL configuration is given; `validates`: there are validation rows."""
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(run_folder / CHECKPOINT_FOLDER),
        "learning_rate": recipe.learning_rate,
        "num_train_epochs": recipe.epochs,
        "per_device_train_batch_size": recipe.batch_size,
        "per_device_eval_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_ratio,  # below 1: a share of all steps
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "bf16": resolve_dtype(recipe.dtype) is torch.bfloat16,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "save_strategy": "steps",
        "save_steps": recipe.save_every_steps,
        "save_total_limit": recipe.keep_checkpoints,
        "eval_strategy": "steps" if validates else "no",
        "eval_steps": recipe.eval_every_steps,
        "load_best_model_at_end": validates,
        "metric_for_best_model": "eval_loss" if validates else None,
        "greater_is_better": False if validates else None,
        "restore_callback_states_from_checkpoint": True,  # early stopping keeps its patience
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # show a loss that is not a number
        "disable_tqdm": True,
        "report_to": "none",
        "seed": recipe.seed,
        "data_seed": recipe.seed,
    }


def score_labels_only() -> None:
    """Let TRL's vocabulary matrix meet only positions with a label, on CPU as it does on GPUs.

    Elsewhere than under Triton TRL 1.16 multiplies every position by it and throws most products
    away, since other accelerators compile anew for each shape. Log-probabilities are the same
    to rounding. Measured on two cores with pairs of 30 tokens each: five times as fast.
    """

    def always(_: Any) -> bool:
        return True

    trl_utils._use_triton = always  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def carry_out(
    trainer: Any, spec: JobSpec, recipe: Recipe, reporter: Reporter, material: Material[Any]
) -> TrainOutcome:
    """Train, from the newest whole checkpoint if there is one, and save what was trained.

    Raises: TrainingError when a loss or a weight is not a number.
    """
    trainable = sum(size(p) for p in trainer.model.parameters() if p.requires_grad)
    score_labels_only()
    _watch(trainer, recipe, reporter)
    resumed = resume_point(reporter)
    started = time.monotonic()
    result = trainer.train(resume_from_checkpoint=resumed)
    elapsed_s, peak = time.monotonic() - started, peak_bytes()
    weights = gathered(trainer, spec.parallel)
    if is_first():
        save_trained(trainer.model, spec, reporter.folder, trainer.processing_class, weights)
    wait_for_all()
    state = trainer.state
    return TrainOutcome(
        steps=state.global_step,
        epochs=round(float(state.epoch or 0.0), 3),
        train_loss=result.training_loss,
        best_validation_loss=state.best_metric,
        stopped_early=state.global_step < state.max_steps,
        train_examples=len(material.train),
        new_examples=material.new_examples,
        skipped_too_long=material.skipped_too_long,
        tokens_per_s=trainer.tokens_seen / elapsed_s if elapsed_s > 0 else None,
        trainable_parameters=trainable,
        measures=measures(state.log_history),
        peak_bytes=peak,
    )


def without_copied_base(trainer: Any, spec: JobSpec) -> None:
    """Drop the reference of a fresh adapter: the base model without any adapter is the same.

    TRL copies whatever adapter it is given; a live one that is continued is needed as it was.
    """
    if spec.mode == "full" and REFERENCE in trainer.model.peft_config:
        trainer.model.delete_adapter(REFERENCE)


def measures(history: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return what TRL measured of preferences, at a run's begin (`…_start`) and end.

    Each is a mean over a tenth of the steps; those of validation (`eval_…`) are the last ones.
    """
    found: dict[str, float] = {}
    for name in ("rewards/margins", "rewards/accuracies", "accuracy", "margin", "reward", "kl"):
        values = [entry[name] for entry in history if entry.get(name) is not None]
        if values:
            edge = max(1, round(len(values) * EDGE))
            found[f"{name}_start"] = sum(values[:edge]) / edge
            found[name] = sum(values[-edge:]) / edge
        held_out = [entry[f"eval_{name}"] for entry in history if f"eval_{name}" in entry]
        if held_out:
            found[f"eval_{name}"] = held_out[-1]
    return found


def _watch(trainer: Any, recipe: Recipe, reporter: Reporter) -> None:
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Watch(trainer, reporter, recipe))
    if recipe.checkpoint_every_minutes is not None:
        trainer.add_callback(EveryMinutes(recipe.checkpoint_every_minutes))
    if trainer.args.load_best_model_at_end and recipe.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(recipe.early_stopping_patience, LEAST_GAIN))
