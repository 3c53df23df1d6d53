"""Kahneman-Tversky optimisation on thumbs with TRL: the `train` phase of a job.

Labels of a dataset version go in, each with its weight; `adapter/` in the run's folder and a
`TrainOutcome` come out. The reference is what training starts from: the live adapter in mode
incremental, else the base model. Source: Ethayarajh et al. 2024, arXiv 2402.01306.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, set_seed
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference, KTOTrainer

from core.errors import TrainingError
from retrain.preference_examples import Label
from retrain.recipe import Recipe
from retrain.recipe_sections import Kto
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec, TrainOutcome
from retrain.tokens import encode
from retrain.training import trl_run
from retrain.training.material import Material
from retrain.training.methods import base_for, trainable
from retrain.training.preferences import Row, chosen_labels, conversation, fitting
from retrain.training.trl_run import Tuned


class WeightedLabels(DataCollatorForUnpairedPreference):
    """TRL's batches, with the weight of each label."""

    def torch_call(self, examples: list[Row]) -> dict[str, Any]:
        """Return the batch of these rows."""
        weights = torch.tensor([example["weight"] for example in examples])
        return super().torch_call(examples) | {"weight": weights}


class LabelTuner(Tuned, KTOTrainer):
    """TRL's trainer, on rows that have their ids already, each counting by its weight."""

    wanted_weight = 1.0
    unwanted_weight = 1.0

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss; TRL multiplies each label's by what it finds as its kind's weight."""
        weights_B, wanted_B = inputs["weight"], inputs["label"].bool()
        self.desirable_weight = self.wanted_weight * weights_B[wanted_B]
        self.undesirable_weight = self.unwanted_weight * weights_B[~wanted_B]
        known = {name: value for name, value in inputs.items() if name != "weight"}
        return super().compute_loss(model, known, return_outputs, num_items_in_batch)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*self._signature_columns, "weight"]


def train(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> TrainOutcome:
    """Train (or go on training) and leave the adapter in the run's folder, the reporter's.

    Raises: DataError for labels that are missing, too few, malformed or all of one kind;
    TrainingError when none fits the recipe or the loss is not a number.
    """
    values = recipe.kto
    assert values is not None  # the recipe's own check
    set_seed(recipe.seed)
    with reporter.phase("tokenize"):  # first: bad data stop before any compute
        tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
        material = read_material(spec, recipe, tokenizer)
    with reporter.phase("load"):
        model = trainable(spec, recipe, base_for(spec, recipe))
    with reporter.phase("train"):
        validates = bool(material.validation)
        trainer = LabelTuner(
            model=model,
            args=KTOConfig(
                **trl_run.arguments(recipe, reporter.folder, validates=validates),
                beta=values.beta,
                max_length=recipe.max_length,
            ),
            data_collator=WeightedLabels(tokenizer.pad_token_id, recipe.max_length),
            train_dataset=Dataset.from_list(material.train),
            eval_dataset=Dataset.from_list(material.validation) if validates else None,
            processing_class=tokenizer,
        )
        trainer.wanted_weight, trainer.unwanted_weight = class_weights(material.train, values)
        trl_run.without_copied_base(trainer, spec)
        return trl_run.carry_out(trainer, spec, recipe, reporter, material)


def read_material(spec: JobSpec, recipe: Recipe, tokenizer: Any) -> Material[Row]:
    """Return the labels to learn from and to be watched on, as ids, in batches of their own.

    Raises: DataError; TrainingError when no label fits, or a batch is too small.
    """
    if recipe.batch_size < 2:
        raise TrainingError(
            f"batch_size is {recipe.batch_size} in recipe {recipe.name}: KTO needs at least 2, "
            "since it holds each answer against the other prompts of its batch"
        )

    def row(label: Label) -> Row:
        encoded = encode(tokenizer, conversation(label.prompt, label.completion))
        return {
            "prompt_ids": encoded.prompt_ids,
            "completion_ids": encoded.answer_ids,
            "label": label.wanted,
            "weight": label.weight,
        }

    def length(row: Row) -> int:
        return len(row["prompt_ids"]) + len(row["completion_ids"])

    material = fitting(chosen_labels(spec, recipe), row, length, recipe, spec)
    train = list(material.train)
    random.Random(recipe.seed).shuffle(train)  # once: TRL takes them in the order of the file
    return replace(
        material,
        train=with_strangers(train, recipe.batch_size),
        validation=with_strangers(material.validation, recipe.batch_size),
    )


def with_strangers(rows: Sequence[Row], batch_size: int) -> list[Row]:
    """Return the rows, each with the answer of its neighbour in the batch: the KL is told by them.

    A last row that has no neighbour is left out. Source: arXiv 2402.01306, 4.1.
    """
    found: list[Row] = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        answers = [row["completion_ids"] for row in batch]
        strangers = [answers[-1], *answers[:-1]]
        if len(batch) > 1:
            found += [
                row | {"KL_completion_ids": stranger}
                for row, stranger in zip(batch, strangers, strict=True)
            ]
    return found


def class_weights(rows: Sequence[Row], values: Kto) -> tuple[float, float]:
    """Return how much wanted and unwanted answers count; "balanced": as much in all.

    Source: arXiv 2402.01306, equation 8 and 4.3 (a ratio of 1).
    """
    if values.desirable_weight != "balanced":
        return values.desirable_weight, values.undesirable_weight
    wanted = sum(row["weight"] for row in rows if row["label"])
    unwanted = sum(row["weight"] for row in rows if not row["label"])
    if not wanted or not unwanted:  # all of one kind were too long
        return 1.0, values.undesirable_weight
    return values.undesirable_weight * unwanted / wanted, values.undesirable_weight
