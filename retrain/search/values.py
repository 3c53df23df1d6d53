"""A trial's values → its recipe. PURE.

The batch is split into what one step holds and how many are joined; alpha keeps its ratio to the
rank; all trials are evaluated after as many examples, so that they can be compared on the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from retrain.recipe import Recipe
from retrain.search.space import Number, Space


def trial_recipe(
    recipe: Recipe, space: Space, values: Mapping[str, Number], train_examples: int
) -> Recipe:
    """Return the recipe of a trial with these values, for a dataset of so many examples.

    Raises: pydantic.ValidationError when the values do not fit the recipe's method.
    """
    changed = recipe_values(recipe, values)
    whole = recipe.model_dump(mode="json", exclude_none=True) | changed
    every = evaluate_every(space, recipe, changed, train_examples)
    whole |= {"eval_every_steps": every, "save_every_steps": every, "adapt_to_size": False}
    return Recipe.model_validate(whole)


def recipe_values(recipe: Recipe, values: Mapping[str, Number]) -> dict[str, Any]:
    """Return a trial's values as a recipe names them."""
    changed: dict[str, Any] = dict(values)
    batch = changed.pop("effective_batch", None)
    if batch is not None:
        device = _largest_divisor(int(batch), recipe.batch_size)
        changed |= {"batch_size": device, "gradient_accumulation": int(batch) // device}
    if "rank" in changed and recipe.rank and recipe.alpha:
        changed["alpha"] = max(1, round(changed["rank"] * recipe.alpha / recipe.rank))
    return changed


def evaluate_every(
    space: Space, recipe: Recipe, changed: Mapping[str, Any], train_examples: int
) -> int:
    """Return the steps between two evaluations: after as many examples in every trial.

    So many examples are a multiple of the largest batch, and `evaluations_per_epoch` fit an epoch;
    a small dataset is evaluated once in an epoch at least.
    """
    own = recipe.batch_size * recipe.gradient_accumulation
    batches = space.effective_batch.values if space.effective_batch else ()
    largest = int(max((*batches, own)))
    between = max(1, round(train_examples / space.evaluations_per_epoch / largest)) * largest
    device = changed.get("batch_size", recipe.batch_size)
    batch = device * changed.get("gradient_accumulation", recipe.gradient_accumulation)
    in_an_epoch = math.ceil(train_examples / batch)
    return max(1, min(between // batch, in_an_epoch))


def _largest_divisor(batch: int, at_most: int) -> int:
    return next(size for size in range(min(batch, at_most), 0, -1) if batch % size == 0)
