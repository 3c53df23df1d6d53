"""RLHF's reinforcement phase, whatever the algorithm: prompts and rewards in, a better adapter out.

The model answers prompts of a dataset version, a reward model or rules say what the answers are
worth, and a KL penalty keeps it near what it started from: the live adapter in mode incremental,
else the base model. `rloo` and `grpo` differ in how they turn rewards into gradients. TRL 1.16 has
no PPO trainer. Source: the fine-tuning guide, "RLHF", phase 3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, set_seed
from trl.trainer.utils import RepeatSampler

from core.errors import DataError, TrainingError
from retrain.examples import Message
from retrain.preference_examples import load_prompts
from retrain.recipe import Recipe
from retrain.recipe_rules import reward_faults
from retrain.recipe_sections import Reinforce
from retrain.rewards import length_rewards, pattern_rewards
from retrain.runs.progress import Reporter
from retrain.runs.spec import JobSpec, TrainOutcome
from retrain.training import reward, trl_run
from retrain.training.material import Material
from retrain.training.methods import base_for, resolve_dtype, trainable
from retrain.training.preferences import Row
from retrain.training.trl_run import Tuned

VALIDATION_PROMPTS = 32  # answered at each evaluation: the reward's standard error is then 0.18 sd


@dataclass(frozen=True)
class Rewards:
    """What TRL is given: functions or models, how much each counts, and models' tokenizers."""

    functions: list[Any]
    weights: list[float]
    tokenizers: list[Any]


class EpochSampler(RepeatSampler):
    """TRL's sampler, but an epoch's order follows from its number: a resumed run has it too."""

    def set_epoch(self, epoch: int) -> None:
        """Take the order of that epoch."""
        self.generator.manual_seed((self.seed or 0) + epoch)


class Reinforced(Tuned):
    """Mixed into TRL's RLOO and GRPO trainers."""

    @property
    def tokens_seen(self) -> int:
        """Return how many tokens were read and written."""
        return int(self.state.num_input_tokens_seen)  # type: ignore[attr-defined]

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler: Any = super()._get_train_sampler(dataset)  # type: ignore[misc]
        return EpochSampler(
            data_source=sampler.data_source,
            mini_repeat_count=sampler.mini_repeat_count,
            batch_size=sampler.batch_size,
            repeat_count=sampler.repeat_count,
            shuffle=sampler.shuffle,
            seed=sampler.seed,
        )


def train_with(
    trainer_class: Callable[..., Any],
    config_class: Callable[..., Any],
    spec: JobSpec,
    recipe: Recipe,
    reporter: Reporter,
) -> TrainOutcome:
    """Train (or go on training) and leave the adapter in the run's folder, the reporter's.

    Raises: DataError for missing or too few prompts, or what is no reward model; TrainingError
    when nothing rewards, batches do not fit, or a loss is not a number.
    """
    values = _values(recipe)
    set_seed(recipe.seed)
    dtype = resolve_dtype(recipe.dtype)
    with reporter.phase("tokenize"):  # first: bad data stop before any compute
        tokenizer = AutoTokenizer.from_pretrained(spec.base_model, padding_side="left")
        material = read_material(spec, recipe, tokenizer)
    with reporter.phase("load"):
        rewards = load_rewards(spec, recipe, dtype)
        model = trainable(spec, recipe, base_for(spec, recipe))
    with reporter.phase("train"):
        validates = bool(material.validation)
        arguments = trl_run.arguments(recipe, reporter.folder, validates=validates)
        if validates:  # a loss of this kind says nothing: the reward does
            arguments |= {"metric_for_best_model": "eval_reward", "greater_is_better": True}
        trainer = trainer_class(
            model=model,
            reward_funcs=rewards.functions,
            reward_processing_classes=rewards.tokenizers,
            args=config_class(
                **arguments,
                beta=values.beta,
                epsilon=values.epsilon,
                num_generations=values.generations,
                num_generations_eval=1,
                max_completion_length=values.max_new_tokens,
                temperature=values.temperature,
                mask_truncated_completions=values.mask_truncated,
                reward_weights=rewards.weights,
            ),
            train_dataset=Dataset.from_list(material.train),
            eval_dataset=Dataset.from_list(material.validation) if validates else None,
            processing_class=tokenizer,
        )
        trl_run.without_copied_base(trainer, spec)
        return trl_run.carry_out(trainer, spec, recipe, reporter, material)


def read_material(spec: JobSpec, recipe: Recipe, tokenizer: Any) -> Material[Row]:
    """Return the prompts to answer, and at most `VALIDATION_PROMPTS` to be watched on.

    Raises: DataError when there are too few; TrainingError when batches hold no whole groups.
    """
    values, folder = _values(recipe), Path(spec.dataset)
    room = recipe.max_length - values.max_new_tokens
    answers = recipe.batch_size * recipe.gradient_accumulation
    if answers % values.generations:
        raise TrainingError(
            f"batch_size * gradient_accumulation is {answers} in recipe {recipe.name}, which is no "
            f"multiple of reinforce.generations ({values.generations}): change one of them"
        )
    found = load_prompts(folder, "train")
    train = [{"prompt": list(prompt)} for prompt in found if _length(tokenizer, prompt) <= room]
    if len(train) < answers // values.generations:
        raise DataError(
            f"dataset {folder.name} has {len(train)} prompts of at most {room} tokens "
            f"({len(found) - len(train)} are longer), and one step needs "
            f"{answers // values.generations}: gather more, raise max_length or lower "
            f"gradient_accumulation in recipe {recipe.name}"
        )
    held_out = load_prompts(folder, "validation")
    validation = [{"prompt": list(p)} for p in held_out if _length(tokenizer, p) <= room]
    return Material(train, validation[:VALIDATION_PROMPTS], len(train), len(found) - len(train))


def load_rewards(spec: JobSpec, recipe: Recipe, dtype: torch.dtype) -> Rewards:
    """Return what the recipe rewards by: a reward model, rules, or both.

    Raises: TrainingError when it is nothing; DataError for what is no reward model.
    """
    if faults := reward_faults(recipe):
        raise TrainingError(faults[0])
    values = _values(recipe)
    rewards = Rewards([], [], [])
    if spec.reward_model is not None:
        model = reward.load_reward(spec, Path(spec.reward_model), dtype)
        tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
        _add(rewards, model, values.reward_weight, tokenizer)
    if values.length_chars is not None:
        _add(rewards, _by_length(values.length_chars), values.length_weight)
    if values.pattern is not None:
        _add(rewards, _by_pattern(recipe, values.pattern), values.pattern_weight)
    return rewards


def _add(rewards: Rewards, function: Any, weight: float, tokenizer: Any = None) -> None:
    rewards.functions.append(function)
    rewards.weights.append(weight)
    rewards.tokenizers.append(tokenizer)


def _by_length(bounds: tuple[int, int]) -> Callable[..., list[float]]:
    def length(completions: list[list[Message]], **_: Any) -> list[float]:
        return length_rewards([completion[0]["content"] for completion in completions], bounds)

    return length


def _by_pattern(recipe: Recipe, text: str) -> Callable[..., list[float]]:
    try:
        re.compile(text)
    except re.error as error:
        raise TrainingError(
            f"reinforce.pattern is {text!r} in recipe {recipe.name}: {error}"
        ) from error

    def pattern(completions: list[list[Message]], **_: Any) -> list[float]:
        return pattern_rewards([completion[0]["content"] for completion in completions], text)

    return pattern


def _length(tokenizer: Any, prompt: tuple[Message, ...]) -> int:
    text: str = tokenizer.apply_chat_template(
        list(prompt), add_generation_prompt=True, tokenize=False
    )
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _values(recipe: Recipe) -> Reinforce:
    assert recipe.reinforce is not None  # the recipe's own check
    return recipe.reinforce
