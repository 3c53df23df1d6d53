"""Supervised fine-tuning with TRL, by any method: the `train` phase of a job.

Examples and a recipe go in; `adapter/` (or `model/`) in the run's folder and a `TrainOutcome`
come out. Goes on from the newest whole checkpoint when there is one. Knows nothing of tables,
gates or names of adapters. Imports torch: only the job imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, set_seed
from trl.trainer.sft_config import SFTConfig

from core.errors import TrainingError
from retrain.examples import Example, load_split, with_replay, without
from retrain.recipe import Recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec, TrainOutcome
from retrain.tokens import Encoded, encode_all, use_template
from retrain.training import sharding, trl_run
from retrain.training.answer_trainer import AnswerTrainer
from retrain.training.material import Material
from retrain.training.methods import base_for, trainable


def train(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> TrainOutcome:
    """Train (or go on training) and leave the adapter in the run's folder, the reporter's.

    Raises: TrainingError when there is nothing to learn from or the loss is not a number.
    """
    set_seed(recipe.seed)
    with reporter.phase("load"):
        tokenizer = use_template(AutoTokenizer.from_pretrained(spec.base_model), recipe.template)
        with sharding.dividing(spec, recipe):
            model = trainable(spec, recipe, base_for(spec, recipe))
    with reporter.phase("tokenize"):
        material = read_material(spec, recipe, tokenizer)
    with reporter.phase("train"):
        divided = sharding.arguments(spec, recipe, reporter.folder)
        trainer = make_trainer(model, tokenizer, material, recipe, reporter.folder, **divided)
        sharding.keep_states(trainer, spec.parallel)
        return trl_run.carry_out(trainer, spec, recipe, reporter, material)


def read_material(spec: JobSpec, recipe: Recipe, tokenizer: Any) -> Material[Encoded]:
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
    material: Material[Encoded],
    recipe: Recipe,
    run_folder: Path,
    **divided: Any,
) -> AnswerTrainer:
    """Return TRL's trainer, set up by the recipe; `divided` is for what divides the model."""
    validates = bool(material.validation)
    return AnswerTrainer(
        model=model,
        args=SFTConfig(
            **trl_run.arguments(recipe, run_folder, validates=validates),
            max_length=recipe.max_length,
            packing=recipe.packing,
            eval_packing=False,
            # `read_material` has tokenised and filtered already; only packing is left to TRL
            dataset_kwargs=None if recipe.packing else {"skip_prepare_dataset": True},
            **divided,
        ),
        train_dataset=_dataset(material.train),
        eval_dataset=_dataset(material.validation) if validates else None,
        processing_class=tokenizer,
    )


def _dataset(examples: Sequence[Encoded]) -> Dataset:
    return Dataset.from_list(
        [{"input_ids": example.input_ids, "labels": example.labels} for example in examples]
    )
