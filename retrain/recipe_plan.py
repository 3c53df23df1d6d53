"""What of a recipe decides memory and time. Pure."""

from __future__ import annotations

from retrain.estimate import Plan
from retrain.recipe import Recipe

ANSWER_SHARE = 0.5  # of positions with a label when only answers are learnt. Our choice


def plan_of(recipe: Recipe, tokens: int, *, processes: int = 1, zero: int = 0) -> Plan:
    """Return the plan of a recipe for sequences of so many tokens."""
    return Plan(
        method=recipe.method,
        rank=recipe.rank or 0,
        batch=recipe.batch_size,
        tokens=min(tokens, recipe.max_length),
        bits=16 if recipe.dtype == "bfloat16" else 32,
        checkpointing=recipe.gradient_checkpointing,
        label_share=ANSWER_SHARE if recipe.assistant_only_loss else 1.0,
        processes=processes,
        zero=zero,
    )
