"""A reward model from pairs with TRL: the `train` phase of a job, and how the result is judged.

Pairs of a dataset version go in; out comes `adapter/`, a LoRA with the head that gives one number
to a conversation, which the recipes of `rloo` and `grpo` name. Its evaluation is how often it
prefers what people preferred, on the pairs of the test split.
Source: the fine-tuning guide, "RLHF", phase 2; Ouyang et al. 2022, arXiv 2203.02155.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer

from core.errors import DataError, TrainingError
from retrain.examples import Message, sample
from retrain.gate.verdict import Evaluation
from retrain.preference_examples import Pair
from retrain.recipe import Recipe
from retrain.registry.servable import CONFIG_FILE, WEIGHTS_FILE, read_config
from retrain.runs.progress import Reporter, TrainProgress
from retrain.runs.spec import ADAPTER_FOLDER, Comparison, Examined, JobSpec, TrainOutcome
from retrain.training import trl_run
from retrain.training.material import Material
from retrain.training.methods import lora_config, resolve_dtype, upper_layers
from retrain.training.preferences import (
    Row,
    chosen_pairs,
    conversation,
    fitting,
    held_out_pairs,
)
from retrain.training.trl_run import Tuned

HEAD = "score"  # transformers' name for what turns the last token's state into the reward
COIN = Evaluation(loss=math.log(2.0), task_score=0.5, examples=0)  # what knows nothing of pairs
BATCH = 16  # conversations scored at once


class RewardTuner(Tuned, RewardTrainer):
    """TRL's trainer, with checkpoints as ours are."""


def train(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> TrainOutcome:
    """Train (or go on training) and leave the reward model in the run's folder, the reporter's.

    Raises: DataError for pairs that are missing, too few or malformed; TrainingError when none
    fits the recipe, the loss is not a number, or the mode is incremental.
    """
    values = recipe.reward
    assert values is not None  # the recipe's own check
    if spec.mode == "incremental":
        raise TrainingError("a reward model continues no adapter: train it in mode full")
    set_seed(recipe.seed)
    with reporter.phase("tokenize"):  # first: bad data stop before any compute
        tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
        material = read_material(spec, recipe, tokenizer)
    with reporter.phase("load"):
        base = load_headed(spec.base_model, resolve_dtype(recipe.dtype), tokenizer)
        upper = upper_layers(recipe, base.config.num_hidden_layers)
        # the head is random in the base, so it must be learnt whole
        shape = lora_config(recipe, upper, task="SEQ_CLS", modules_to_save=[HEAD])
        model = get_peft_model(base, shape)
    with reporter.phase("train"):
        validates = bool(material.validation)
        trainer = RewardTuner(
            model=model,
            args=RewardConfig(
                **trl_run.arguments(recipe, reporter.folder, validates=validates),
                center_rewards_coefficient=values.center or None,
                max_length=recipe.max_length,
            ),
            train_dataset=Dataset.from_list(material.train),
            eval_dataset=Dataset.from_list(material.validation) if validates else None,
            processing_class=tokenizer,
        )
        return trl_run.carry_out(trainer, spec, recipe, reporter, material)


def evaluate(spec: JobSpec, recipe: Recipe, reporter: Reporter) -> Examined:
    """Return the saved reward model against a coin, on the test split's pairs.

    The loss is the mean negative log-likelihood of people's choice, the task score the share of
    pairs in which it prefers what people preferred.
    Raises: DataError.
    """
    with reporter.phase("evaluate"):
        pairs = sample(held_out_pairs(Path(spec.dataset)), spec.gate_examples)
        if not pairs:
            return Examined({})
        tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
        model = load_reward(spec, reporter.folder / ADAPTER_FOLDER, resolve_dtype(recipe.dtype))
        margins: list[float] = []
        for start in range(0, len(pairs), BATCH):
            margins += _margins(model, tokenizer, pairs[start : start + BATCH])
            reporter.tell(TrainProgress("evaluate", step=len(margins), total_steps=len(pairs)))
    loss = sum(math.log1p(math.exp(-abs(m))) + max(-m, 0.0) for m in margins) / len(margins)
    accuracy = sum(margin > 0.0 for margin in margins) / len(margins)
    worse = sorted(pair.key for pair, m in zip(pairs, margins, strict=True) if m <= 0.0)
    candidate = Evaluation(loss, accuracy, len(margins), accuracy)
    return Examined({"test": Comparison(candidate, coin(len(margins)), tuple(worse))})


def coin(pairs: int) -> Evaluation:
    """Return how a coin does on so many pairs."""
    return Evaluation(COIN.loss, COIN.task_score, pairs, COIN.task_score)


def read_material(spec: JobSpec, recipe: Recipe, tokenizer: Any) -> Material[Row]:
    """Return the pairs to learn from and to be watched on, as ids of whole conversations.

    Raises: DataError; TrainingError when no pair fits.
    """
    assert recipe.reward is not None
    chosen = chosen_pairs(spec, recipe, recipe.reward.ai_pairs)

    def row(pair: Pair) -> Row:
        better, worse = (
            whole_ids(tokenizer, conversation(pair.prompt, answer).messages)
            for answer in (pair.chosen, pair.rejected)
        )
        return {"chosen_ids": better, "rejected_ids": worse}

    def length(row: Row) -> int:
        return max(len(row["chosen_ids"]), len(row["rejected_ids"]))

    return fitting(chosen, row, length, recipe, spec)


def whole_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Return a conversation's ids to the template's very end, as TRL's reinforcement scores it."""
    text: str = tokenizer.apply_chat_template(list(messages), tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def load_headed(folder: str, dtype: torch.dtype, tokenizer: Any) -> Any:
    """Return the base model with a fresh head of one number, on the GPU when there is one.

    Raises: TrainingError when the folder holds no model.
    """
    try:
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=1, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{folder} holds no model that can be given a reward head ({error}): "
            "use a model whose architecture transformers can classify sequences with"
        ) from error
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def load_reward(spec: JobSpec, folder: Path, dtype: torch.dtype) -> Any:
    """Return the reward model of a run, merged into its base, ready to score.

    `folder` holds a LoRA with its head, or a whole model that gives one number.

    Raises: DataError when it holds neither; TrainingError when it grew on another base model.
    """
    tokenizer = AutoTokenizer.from_pretrained(spec.base_model)
    if (folder / CONFIG_FILE).is_file():
        _require_reward(spec, folder)
        headed = load_headed(spec.base_model, dtype, tokenizer)
        model: Any = PeftModel.from_pretrained(headed, str(folder)).merge_and_unload()
    elif (folder / "model.safetensors").is_file():
        model = load_headed(str(folder), dtype, tokenizer)
    else:
        raise DataError(
            f"{folder} holds no reward model (neither {WEIGHTS_FILE} nor model.safetensors): "
            "train one with recipe reward-lora and name its adapter or its folder"
        )
    return model.eval().requires_grad_(False)


def _require_reward(spec: JobSpec, folder: Path) -> None:
    config = read_config(folder)
    if config.get("task_type") != "SEQ_CLS" or HEAD not in (config.get("modules_to_save") or ()):
        raise DataError(
            f"{folder} is an adapter that answers, not a reward model: "
            "train one with recipe reward-lora and name that"
        )
    base = str(config.get("base_model_name_or_path"))
    if Path(base).name != Path(spec.base_model_name).name:
        raise TrainingError(
            f"the reward model in {folder} grew on {base}, this run trains on "
            f"{spec.base_model_name}: train a reward model on that one"
        )


@torch.inference_mode()
def _margins(model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> list[float]:
    """Return by how much the chosen answer of each pair is rewarded over the rejected one."""
    answers = [(p.prompt, p.chosen) for p in pairs] + [(p.prompt, p.rejected) for p in pairs]
    rows = [
        {"input_ids": whole_ids(tokenizer, conversation(prompt, answer).messages)}
        for prompt, answer in answers
    ]
    batch = tokenizer.pad(rows, padding=True, padding_side="right", return_tensors="pt")
    rewards_B = model(**batch.to(model.device)).logits[:, 0].float()
    better, worse = rewards_B.chunk(2)
    return (better - worse).tolist()
