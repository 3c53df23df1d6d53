"""Direct preference optimisation on pairs with TRL: the `train` phase of a job.

Pairs of a dataset version go in; `adapter/` in the run's folder and a `TrainOutcome` come out. The
reference is what training starts from: the live adapter in mode incremental, else the base model.
Source: the fine-tuning guide, "Alternatives to Full RLHF"; Rafailov et al. 2023, arXiv 2305.18290.
"""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, set_seed
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from retrain.preference_examples import Pair
from retrain.recipe import Recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec, TrainOutcome
from retrain.tokens import encode
from retrain.training import trl_run
from retrain.training.material import Material
from retrain.training.methods import base_for, trainable
from retrain.training.preferences import Row, chosen_pairs, conversation, fitting
from retrain.training.trl_run import Tuned


class PairTuner(Tuned, DPOTrainer):
    """TRL's trainer, on rows that have their ids already."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


def train(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> TrainOutcome:
    """Train (or go on training) and leave the adapter in the run's folder, the reporter's.

    Raises: DataError for pairs that are missing, too few or malformed; TrainingError when none
    fits the recipe or the loss is not a number.
    """
    values = recipe.dpo
    assert values is not None  # the recipe's own check
    set_seed(recipe.seed)
    with reporter.phase("tokenize"):  # first: bad data stop before any compute
        tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
        material = read_material(spec, recipe, tokenizer)
    with reporter.phase("load"):
        model = trainable(spec, recipe, base_for(spec, recipe))
    with reporter.phase("train"):
        validates = bool(material.validation)
        trainer = PairTuner(
            model=model,
            args=DPOConfig(
                **trl_run.arguments(recipe, reporter.folder, validates=validates),
                beta=values.beta,
                loss_type=[values.loss],
                label_smoothing=values.label_smoothing,
                max_length=recipe.max_length,
            ),
            train_dataset=Dataset.from_list(material.train),
            eval_dataset=Dataset.from_list(material.validation) if validates else None,
            processing_class=tokenizer,
        )
        trl_run.without_copied_base(trainer, spec)
        return trl_run.carry_out(trainer, spec, recipe, reporter, material)


def read_material(spec: JobSpec, recipe: Recipe, tokenizer: Any) -> Material[Row]:
    """Return the pairs to learn from and to be watched on, as ids.

    Raises: DataError; TrainingError when no pair fits.
    """
    assert recipe.dpo is not None
    chosen = chosen_pairs(spec, recipe, recipe.dpo.ai_pairs)

    def row(pair: Pair) -> dict[str, Any]:
        better, worse = (
            encode(tokenizer, conversation(pair.prompt, answer))
            for answer in (pair.chosen, pair.rejected)
        )
        return {
            "prompt_ids": better.prompt_ids,
            "chosen_ids": better.answer_ids,
            "rejected_ids": worse.answer_ids,
        }

    def length(row: dict[str, Any]) -> int:
        return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))

    return fitting(chosen, row, length, recipe, spec)
