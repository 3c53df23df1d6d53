"""Supervised fine-tuning with TRL, by any method: the `train` phase of a job.

Examples and a recipe go in; `adapter/` (or `model/`) in the run's folder and a `TrainOutcome`
come out. Goes on from the newest whole checkpoint when there is one. Knows nothing of tables,
gates or names of adapters. Imports torch: only the job imports this module.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, EarlyStoppingCallback, PrinterCallback, set_seed
from trl.trainer.sft_config import SFTConfig

from core.errors import TrainingError
from retrain.examples import Example, load_split, with_replay, without
from retrain.recipe import Recipe
from retrain.runs.checkpoints import newest_complete, remove_incomplete
from retrain.runs.progress import Reporter, TrainProgress
from retrain.runs.spec import CHECKPOINT_FOLDER, JobSpec, TrainOutcome
from retrain.tokens import Encoded, encode_all, use_template
from retrain.training.answer_trainer import AnswerTrainer
from retrain.training.checkpointing import EveryMinutes
from retrain.training.methods import base_for, resolve_dtype, save_trained, trainable
from retrain.training.watch import Watch


@dataclass(frozen=True)
class Material:
    """What a run learns from and is watched on, as ids."""

    train: list[Encoded]
    validation: list[Encoded]
    new_examples: int
    skipped_too_long: int


def train(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> TrainOutcome:
    """Train (or go on training) and leave the adapter in the run's folder, the reporter's.

    Raises: TrainingError when there is nothing to learn from or the loss is not a number.
    """
    set_seed(recipe.seed)
    with reporter.phase("load"):
        tokenizer = use_template(AutoTokenizer.from_pretrained(spec.base_model), recipe.template)
        model = trainable(spec, recipe, base_for(spec, recipe))
    with reporter.phase("tokenize"):
        material = read_material(spec, recipe, tokenizer)
    with reporter.phase("train"):
        trainer = make_trainer(model, tokenizer, material, recipe, reporter)
        resumed = _resume_point(reporter)
        started = time.monotonic()
        result = trainer.train(resume_from_checkpoint=resumed)
        elapsed_s = time.monotonic() - started
        save_trained(trainer.model, spec, reporter.folder, tokenizer)
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
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
    )


def read_material(spec: JobSpec, recipe: Recipe, tokenizer: Any) -> Material:
    """Return what the run learns from and is watched on.

    Raises: DataError; TrainingError when no example fits.
    """
    folder = Path(spec.dataset)
    train_examples = load_split(folder, "train")
    seen = load_split(Path(spec.seen_dataset), "train") if spec.seen_dataset else []
    new = without(train_examples, seen)
    chosen: list[Example] = train_examples
    if spec.mode == "incremental":
        chosen = with_replay(train_examples, seen, share=recipe.replay_share, seed=recipe.seed)
    train, skipped = encode_all(
        tokenizer,
        chosen,
        max_length=recipe.max_length,
        answer_only=recipe.assistant_only_loss,
        turns=recipe.learnt_turns,
    )
    validation, _ = encode_all(
        tokenizer, load_split(folder, "validation"), max_length=recipe.max_length
    )
    if not train:
        raise TrainingError(
            f"dataset {folder.name} has no example of at most {recipe.max_length} tokens "
            f"({skipped} are longer): raise max_length in recipe {recipe.name}"
        )
    return Material(train, validation, len(new), skipped)


def make_trainer(
    model: Any,
    tokenizer: Any,
    material: Material,
    recipe: Recipe,
    reporter: Reporter,
) -> AnswerTrainer:
    """Return TRL's trainer, set up by the recipe and watched."""
    trainer = AnswerTrainer(
        model=model,
        args=_arguments(recipe, reporter.folder, validates=bool(material.validation)),
        train_dataset=_dataset(material.train),
        eval_dataset=_dataset(material.validation) if material.validation else None,
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Watch(trainer, reporter, recipe))
    if material.validation and recipe.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(recipe.early_stopping_patience))
    if recipe.checkpoint_every_minutes is not None:
        trainer.add_callback(EveryMinutes(recipe.checkpoint_every_minutes))
    return trainer


def _dataset(examples: list[Encoded]) -> Dataset:
    return Dataset.from_list(
        [{"input_ids": example.input_ids, "labels": example.labels} for example in examples]
    )


def _arguments(recipe: Recipe, run_folder: Path, *, validates: bool) -> SFTConfig:
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(run_folder / CHECKPOINT_FOLDER),
        learning_rate=recipe.learning_rate,
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.warmup_ratio,  # below 1: a share of all steps
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        max_length=recipe.max_length,
        packing=recipe.packing,
        eval_packing=False,
        # `read_material` has tokenised and filtered already; only packing is left to TRL
        dataset_kwargs=None if recipe.packing else {"skip_prepare_dataset": True},
        gradient_checkpointing=recipe.gradient_checkpointing,
        bf16=resolve_dtype(recipe.dtype) is torch.bfloat16,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        save_strategy="steps",
        save_steps=recipe.save_every_steps,
        save_total_limit=recipe.keep_checkpoints,
        eval_strategy="steps" if validates else "no",
        eval_steps=recipe.eval_every_steps,
        load_best_model_at_end=validates,
        metric_for_best_model="eval_loss" if validates else None,
        greater_is_better=False if validates else None,
        restore_callback_states_from_checkpoint=True,  # early stopping keeps its patience
        logging_steps=1,
        logging_nan_inf_filter=False,  # show a loss that is not a number
        disable_tqdm=True,
        report_to="none",
        seed=recipe.seed,
        data_seed=recipe.seed,
    )


def _resume_point(reporter: Reporter) -> str | None:
    folder = reporter.folder / CHECKPOINT_FOLDER
    remove_incomplete(folder)
    newest = newest_complete(folder)
    if newest is None:
        return None
    path, step = newest
    reporter.tell(TrainProgress("train", step=step, resumed_from=step))
    return str(path)
