"""What of a recipe, its data and its model decides memory and time. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from retrain.estimate import Plan
from retrain.recipe import Recipe

ANSWER_SHARE = 0.5  # of positions with a label when only answers are learnt. Our choice
PAIRED = frozenset({"dpo", "reward"})  # trainers that compute two answers of each example
# What `retrain.training.lean_model` and `answer_trainer` have short cuts for
LEAN_MODELS = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})
PROMPTED = frozenset({"prefix", "prompt"})  # methods that put tokens before the batch


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many sequences there are to learn from, and how many tokens they have."""

    rows: int
    mean: float
    longest: int
    answer_share: float = ANSWER_SHARE  # of tokens
    watched_rows: int = 0  # that validate


@dataclass(frozen=True, slots=True)
class Place:
    """What computes, as far as it decides what is kept in memory."""

    cpu: bool = False
    bfloat16: bool = False  # whether it multiplies that: then `auto` is 16 bits
    processes: int = 1
    zero: int = 0


def plan_of(recipe: Recipe, lengths: Lengths, place: Place, model_type: str = "") -> Plan:
    """Return the plan of a process that trains by a recipe, which is the process's own."""
    sixteen = recipe.dtype == "bfloat16" or (recipe.dtype == "auto" and place.bfloat16)
    longest = min(lengths.longest, recipe.max_length)
    return Plan(
        method=recipe.method,
        rank=recipe.rank or 0,
        layers=recipe.layers if isinstance(recipe.layers, int) else None,
        batch=recipe.batch_size * (2 if recipe.trainer in PAIRED else 1),
        accumulation=recipe.gradient_accumulation,
        tokens=longest,
        mean_tokens=longest if recipe.packing else min(lengths.mean, longest),
        bits=16 if sixteen else 32,
        checkpointing=recipe.gradient_checkpointing,
        dropout=bool(recipe.dropout),
        label_share=lengths.answer_share if recipe.assistant_only_loss else 1.0,
        processes=place.processes,
        zero=place.zero,
        cpu=place.cpu,
        lean=place.cpu and _takes_rows(recipe, place, model_type),
    )


def tokens_of(recipe: Recipe, lengths: Lengths) -> tuple[float, float]:
    """Return how many tokens a whole run learns from, and how many it is watched on."""
    passes = lengths.rows * recipe.epochs
    steps = passes / (recipe.batch_size * recipe.gradient_accumulation)
    looks = max(1.0, steps / recipe.eval_every_steps)
    each = lengths.mean * (2 if recipe.trainer in PAIRED else 1)
    return passes * each, lengths.watched_rows * looks * each


def _takes_rows(recipe: Recipe, place: Place, model_type: str) -> bool:
    return (
        recipe.trainer == "sft"
        and model_type in LEAN_MODELS
        and place.processes == 1
        and not recipe.packing
        and not recipe.gradient_checkpointing
        and recipe.method not in PROMPTED
    )
