"""What a search may vary, what it was asked for, and the recipes of its trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import NotFoundError, RequestError, SettingsError, StateError
from retrain.recipe import load_recipe
from retrain.search.plan import SearchPlan, free_name, known_plans, read_plan, settle
from retrain.search.recipe_file import as_toml
from retrain.search.space import ORDER, Space, load_space
from retrain.search.values import evaluate_every, recipe_values, trial_recipe

RECIPE = load_recipe("sft-lora")
SPACE = load_space("default")
PLAN = SearchPlan(
    name="desk--s1",
    application="desk",
    dataset_id="desk--d1",
    recipe=RECIPE.model_dump(mode="json", exclude_none=True),
    space=SPACE.model_dump(mode="json", exclude_none=True),
    strategy="tpe",
    pruning="median",
    trials=4,
    seconds=None,
    seed=1,
    created_by="ann",
)


def test_the_shipped_space_is_in_the_guides_order() -> None:
    """Learning rate, batch, epochs, warm-up, weight decay, rank; every value fits the recipe."""
    assert tuple(SPACE.ranges()) == ORDER[:6]
    for name, one in SPACE.ranges().items():
        for value in (*one.values, *one.choices):
            trial_recipe(RECIPE, SPACE, {name: value}, 100)


def test_only_what_matters_most_is_varied_when_asked() -> None:
    """The first two; a grid takes as many as its budget holds, and one at least."""
    assert list(SPACE.top(2).ranges()) == ["learning_rate", "effective_batch"]
    assert list(SPACE.within(9).ranges()) == ["learning_rate", "effective_batch"]
    assert list(SPACE.within(2).ranges()) == ["learning_rate"]
    assert SPACE.within(1000).ranges() == SPACE.ranges()
    assert SPACE.top(2).grid_size() == 9


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[learning_rate]\nlow = 1e-4", "give either choices, or both low and high"),
        ("[learning_rate]\nlow = 1\nhigh = 2\nchoices = [1]", "give either choices"),
        ("[learning_rate]\nlow = 2\nhigh = 1", r"low \(2\) must be below high \(1\)"),
        ("[learning_rate]\nlow = 0.0\nhigh = 1.0\nlog = true", "must be above 0"),
        ("[rank]\nchoices = [8, 0]", "rank takes whole numbers from 1 on"),
        ("[rank]\nlow = 1.5\nhigh = 8.0", "rank takes whole numbers"),
        ("[speed]\nchoices = [1]", "speed"),
        ("evaluations_per_epoch = 2", "nothing varies: name at least one of learning_rate"),
        ("[learning_rate", "is not valid TOML"),
    ],
)
def test_a_wrong_space_is_refused_by_its_words(tmp_path: Path, text: str, told: str) -> None:
    """The error names the file and what is wrong in it."""
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=told):
        load_space(path)


def test_an_unknown_space_names_those_there_are() -> None:
    """Or a TOML file."""
    with pytest.raises(SettingsError, match=r"no space 'mine': use default or a \.toml file"):
        load_space("mine")


def test_a_batch_is_split_into_steps_that_fit_the_device() -> None:
    """The recipe's batch stays what one step holds; more are joined, fewer are fewer."""
    recipe = RECIPE.model_copy(update={"batch_size": 8})
    for batch, device, joined in ((32, 8, 4), (8, 8, 1), (4, 4, 1), (12, 6, 2), (7, 7, 1)):
        values = recipe_values(recipe, {"effective_batch": batch})
        assert (values["batch_size"], values["gradient_accumulation"]) == (device, joined)


def test_alpha_keeps_its_ratio_to_the_rank() -> None:
    """Twice the rank in the recipe, twice the rank in a trial; other methods have neither."""
    assert recipe_values(RECIPE, {"rank": 8}) == {"rank": 8, "alpha": 16}
    other = RECIPE.model_copy(update={"rank": None, "alpha": None})
    assert recipe_values(other, {"rank": 8}) == {"rank": 8}


def test_all_trials_are_evaluated_after_as_many_examples() -> None:
    """So that they can be compared on the way, whatever their batch."""
    for batch, steps in ((8, 8), (16, 4), (32, 2)):
        values = recipe_values(RECIPE, {"effective_batch": batch})
        assert evaluate_every(SPACE, RECIPE, values, 128) == steps
        recipe = trial_recipe(RECIPE, SPACE, {"effective_batch": batch}, 128)
        assert (recipe.eval_every_steps, recipe.save_every_steps) == (steps, steps)


def test_a_small_dataset_is_evaluated_once_an_epoch_at_least() -> None:
    """Twenty examples are three steps of eight."""
    values = recipe_values(RECIPE, {"effective_batch": 8})
    assert evaluate_every(SPACE, RECIPE, values, 20) == 3
    assert (
        evaluate_every(Space.model_validate({"name": "s", "rank": {"choices": [4]}}), RECIPE, {}, 1)
        == 1
    )


def test_a_trials_values_are_not_adapted_away() -> None:
    """A recipe that fits its values to the data does not do so in a trial."""
    recipe = RECIPE.model_copy(update={"adapt_to_size": True})
    assert not trial_recipe(recipe, SPACE, {"learning_rate": 1e-4}, 50).adapt_to_size


def test_a_recipe_comes_back_from_its_toml(tmp_path: Path) -> None:
    """With its tables and its strings, and remarks beside the values."""
    path = tmp_path / "best.toml"
    path.write_text(as_toml(RECIPE, remarks={"rank": "found"}, head="one\ntwo"))
    assert load_recipe(path) == RECIPE.model_copy(update={"name": "best"})
    assert path.read_text().startswith("# one\n# two\n\n")
    assert "rank = 16  # found" in path.read_text()


def test_a_search_goes_on_by_its_name_with_another_budget(tmp_path: Path) -> None:
    """The budget may grow; other values are refused, and named."""
    assert settle(PLAN, tmp_path) == PLAN
    grown = replace(PLAN, trials=9, seconds=60.0, created_by="bob")
    assert settle(grown, tmp_path) == replace(grown, created_by="ann")
    assert read_plan(tmp_path / "desk--s1").trials == 9
    with pytest.raises(StateError, match="begun with another strategy, seed: go on"):
        settle(replace(PLAN, strategy="grid", seed=2), tmp_path)
    with pytest.raises(RequestError, match="is no name for a search"):
        settle(replace(PLAN, name="../x"), tmp_path)


def test_searches_are_listed_and_named_in_order(tmp_path: Path) -> None:
    """The next free name of an application; what is no search is left out."""
    assert free_name(tmp_path, "desk") == "desk--s1"
    settle(PLAN, tmp_path)
    (tmp_path / "other").mkdir()
    assert free_name(tmp_path, "desk") == "desk--s2"
    assert [plan.name for plan in known_plans(tmp_path)] == ["desk--s1"]
    with pytest.raises(NotFoundError, match="no search 'nowhere'"):
        read_plan(tmp_path / "nowhere")
