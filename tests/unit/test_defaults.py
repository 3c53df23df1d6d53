"""The guide's table of rates, epochs and regularisation, by the size of data and model."""

from __future__ import annotations

import pytest

from retrain.defaults import Size, adapted, epochs_for, learning_rate_factor
from retrain.recipe import load_recipe

SMALL_MODEL, LARGE_MODEL = 135_000_000, 70_000_000_000


@pytest.mark.parametrize(
    ("examples", "weights", "low", "high"),
    [
        (5_000, SMALL_MODEL, 1.0, 1.0),
        (999, SMALL_MODEL, 1 / 3, 1 / 2),
        (5_000, LARGE_MODEL, 1 / 5, 1 / 2),
        (999, LARGE_MODEL, 1 / 15, 1 / 4),
    ],
)
def test_rate_is_lower_for_few_examples_and_large_models(
    examples: int, weights: int, low: float, high: float
) -> None:
    """The factors lie within the guide's."""
    assert low <= learning_rate_factor(Size(examples, weights)) <= high


@pytest.mark.parametrize(
    ("examples", "usual", "expected"),
    [(500, 3, 5), (500, 8, 8), (1_000, 3, 3), (10_000, 3, 3), (10_001, 3, 2), (10_001, 1, 1)],
)
def test_epochs_follow_the_number_of_examples(examples: int, usual: float, expected: float) -> None:
    """More for few, fewer for many, and what the recipe says between."""
    assert epochs_for(examples, usual) == expected


def test_few_examples_are_regularised() -> None:
    """Dropout, decay and early stopping are made stronger, never weaker; once fitted it is done."""
    recipe = load_recipe("sft-by-size").model_copy(update={"early_stopping_patience": 0})
    found = adapted(recipe, Size(300, SMALL_MODEL))
    assert (found.dropout, found.weight_decay) == (0.2, 0.1)
    assert found.early_stopping_patience == 3
    assert found.learning_rate == pytest.approx(recipe.learning_rate / 2.5)
    assert adapted(found, Size(300, SMALL_MODEL)) == found
    strong = recipe.model_copy(update={"dropout": 0.3, "weight_decay": 0.2})
    assert adapted(strong, Size(300, SMALL_MODEL)).dropout == 0.3
    assert adapted(strong, Size(300, SMALL_MODEL)).weight_decay == 0.2


def test_enough_examples_keep_the_recipe_s_values() -> None:
    """In the middle of the table nothing changes but the mark that it was fitted."""
    recipe = load_recipe("sft-by-size")
    assert adapted(recipe, Size(5_000, SMALL_MODEL)) == recipe.model_copy(
        update={"adapt_to_size": False}
    )


def test_method_without_dropout_gets_none() -> None:
    """What an (IA)3 does not have is not made up."""
    recipe = load_recipe("sft-ia3").model_copy(update={"adapt_to_size": True})
    found = adapted(recipe, Size(300, SMALL_MODEL))
    assert found.dropout is None
    assert found.weight_decay == 0.1


def test_recipe_that_does_not_ask_is_left_alone() -> None:
    """The default recipe means what it says, whatever the size."""
    recipe = load_recipe("sft-lora")
    assert adapted(recipe, Size(10, LARGE_MODEL)) is recipe
