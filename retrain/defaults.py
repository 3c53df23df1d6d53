"""The guide's table: what rate, how long and how much regularisation for so many examples and so
large a model.

A recipe with `adapt_to_size`, the number of examples and of the model's weights go in, the recipe
that fits them comes out. Values of the recipe are for 1,000 to 10,000 examples and up to 30B
weights. Pure. Source: fine-tuning guide, "Learning Rate Guidelines", "Configuring Training
Parameters" (Training Duration) and "Overfitting Prevention" (When to Use Each Technique).
"""

from __future__ import annotations

from dataclasses import dataclass

from retrain.recipe import Recipe

SMALL_DATA = 1_000  # examples; guide, Learning Rate Guidelines: Small Datasets (<1000)
LARGE_DATA = 10_000  # examples; guide, Overfitting Prevention: Large dataset (>10k)
LARGE_MODEL = 30_000_000_000  # weights; guide, Learning Rate Guidelines: Large Models (>30B)

SMALL_DATA_RATE = 1 / 2.5  # guide: lower by 2-3x
LARGE_MODEL_RATE = 1 / 3.0  # guide: lower by 2-5x
SMALL_DATA_EPOCHS = 5.0  # guide: 3-10 for smaller datasets
LARGE_DATA_EPOCHS = 2.0  # guide: 1-5 for large datasets
SMALL_DATA_DROPOUT = 0.2  # guide: 0.2-0.3
SMALL_DATA_DECAY = 0.1  # guide: strong weight decay (0.1)
PATIENCE = 3  # guide, Early Stopping: 2-5


@dataclass(frozen=True, slots=True)
class Size:
    """What a training is fitted to."""

    examples: int
    weights: int  # of the base model


def learning_rate_factor(size: Size) -> float:
    """Return by how much the recipe's rate is multiplied; both causes together multiply."""
    factor = SMALL_DATA_RATE if size.examples < SMALL_DATA else 1.0
    return factor * (LARGE_MODEL_RATE if size.weights > LARGE_MODEL else 1.0)


def epochs_for(examples: int, usual: float) -> float:
    """Return how often the data are gone through: more for few examples, less for many."""
    if examples < SMALL_DATA:
        return max(usual, SMALL_DATA_EPOCHS)
    return min(usual, LARGE_DATA_EPOCHS) if examples > LARGE_DATA else usual


def adapted(recipe: Recipe, size: Size) -> Recipe:
    """Return the recipe fitted to the size, with nothing left to fit; others as they are.

    Regularisation is only ever made stronger, and early stopping switched on, not off.
    """
    if not recipe.adapt_to_size:
        return recipe
    changes: dict[str, object] = {
        "adapt_to_size": False,
        "learning_rate": recipe.learning_rate * learning_rate_factor(size),
        "epochs": epochs_for(size.examples, recipe.epochs),
    }
    if size.examples < SMALL_DATA:
        changes["weight_decay"] = max(recipe.weight_decay, SMALL_DATA_DECAY)
        changes["early_stopping_patience"] = recipe.early_stopping_patience or PATIENCE
        if recipe.dropout is not None:
            changes["dropout"] = max(recipe.dropout, SMALL_DATA_DROPOUT)
    return recipe.model_copy(update=changes)
