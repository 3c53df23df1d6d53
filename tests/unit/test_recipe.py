"""Recipes: complete, typed, wrong keys named, and the overrides of incremental runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import SettingsError
from retrain.recipe import FOLDER, load_recipe

SHIPPED = sorted(path.stem for path in FOLDER.glob("*.toml"))


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """Write the shipped recipe with one line changed."""
    text = (FOLDER / "sft-lora.toml").read_text()
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new, 1))
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipe_is_valid_in_both_modes(name: str) -> None:
    """What is in the package can be used as it is."""
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.for_mode("full").incremental == {}
    assert recipe.for_mode("incremental").incremental == {}


def test_incremental_overrides_hold_in_their_mode_only() -> None:
    """The guide's gentler values are used when an adapter is continued, and not otherwise."""
    recipe = load_recipe("sft-lora")
    gentle, full = recipe.for_mode("incremental"), recipe.for_mode("full")
    assert gentle.epochs == 1
    assert gentle.learning_rate < full.learning_rate
    assert gentle.replay_share > 0.0
    assert full.replay_share == 0.0
    assert gentle.rank == full.rank


def test_unknown_key_is_named(tmp_path: Path) -> None:
    """A misspelt key is an error that names it, never silently ignored."""
    path = changed(tmp_path, "epochs = 5", "epochs = 5\nlerning_rate = 1e-4")
    with pytest.raises(SettingsError, match="lerning_rate"):
        load_recipe(path)


def test_unknown_key_among_the_overrides_is_named(tmp_path: Path) -> None:
    """The incremental table is checked just as strictly."""
    path = changed(tmp_path, "[incremental]", "[incremental]\nepoch = 1")
    with pytest.raises(SettingsError, match=r"mine\.toml: epoch:"):
        load_recipe(path)


def test_missing_key_is_named(tmp_path: Path) -> None:
    """There are no hidden defaults: a key that is left out is asked for."""
    path = changed(tmp_path, 'trainer = "sft"', "")
    with pytest.raises(SettingsError, match="trainer: Field required"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("rank = 16", "rank = 0", r"rank: .*got 0"),
        ('trainer = "sft"', 'trainer = "ppo"', r"trainer: .*got 'ppo'"),
        ('layers = "all"', 'layers = "some"', r"layers.*got 'some'"),
        ("keep_checkpoints = 2", "keep_checkpoints = 1", r"keep_checkpoints: .*got 1"),
        ("save_every_steps = 40", "save_every_steps = 30", "multiple of eval_every_steps"),
        ("[incremental]", "[incremental]\nrank = 8", r"\[incremental\] cannot change rank"),
        ('method = "lora"', "method = ", "not valid TOML"),
    ],
)
def test_wrong_value_is_named(tmp_path: Path, old: str, new: str, told: str) -> None:
    """Errors name the file, the key, the value and what would do."""
    with pytest.raises(SettingsError, match=told):
        load_recipe(changed(tmp_path, old, new))


def test_unknown_recipe_names_those_that_exist() -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(SettingsError, match=r"no recipe 'ppo-lora': use .*sft-full, .*sft-lora, "):
        load_recipe("ppo-lora")


def test_adapter_of_the_same_shape_can_be_continued() -> None:
    """PEFT's configuration of what this recipe makes shows no difference from it."""
    recipe = load_recipe("sft-lora").model_copy(update={"layers": 2})
    config = {
        "r": recipe.rank,
        "lora_alpha": recipe.alpha,
        "lora_dropout": recipe.dropout,
        "target_modules": list(reversed(recipe.target_modules or ())),
        "layers_to_transform": [28, 29],
        "use_rslora": False,
    }
    assert recipe.differences(config) == []
    assert recipe.differences(config | {"r": 4}) == [f"rank is 4, the recipe says {recipe.rank}"]
    assert recipe.differences(config | {"layers_to_transform": None}) == [
        "layers is all, the recipe says 2"
    ]
