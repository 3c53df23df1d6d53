"""RETRAIN's training configuration: a TOML file goes in, a frozen `Recipe` comes out.

Every value that counts is written in the file, with its source; what a method or a trainer does
not have is left out (`retrain.recipe_rules` says which). The table `[incremental]` overrides
values for runs that continue the live adapter. Knows nothing of torch. Recipes are in
`retrain/recipes`; a path to a TOML file is as good as a name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from core.errors import SettingsError
from core.sections import Section
from retrain.adapter_shape import differences
from retrain.policy import Mode
from retrain.recipe_rules import Method, Trainer, complaints, serving_faults
from retrain.recipe_sections import (
    Dpo,
    Ia3,
    Kto,
    Oft,
    Peanut,
    Prefix,
    Prompt,
    Qlora,
    Reinforce,
    Reward,
)

FOLDER = Path(__file__).parent / "recipes"

Count = Annotated[int, Field(ge=1)]


class Recipe(Section):
    """How to train one adapter. The meaning and source of each value is in its recipe file."""

    name: str
    trainer: Trainer
    method: Method

    # What shapes the adapter; None where the method has no such thing (`recipe_rules.SHAPE`).
    rank: Count | None = None
    alpha: Count | None = None
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    layers: Literal["all"] | Count | None = None  # a number: only so many upper layers
    use_rslora: bool | None = None

    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)]
    epochs: Annotated[float, Field(gt=0.0)]
    batch_size: Count
    gradient_accumulation: Count
    warmup_ratio: Annotated[float, Field(ge=0.0, le=0.5)]
    schedule: Literal["cosine", "linear", "constant_with_warmup"]
    weight_decay: Annotated[float, Field(ge=0.0)]
    max_grad_norm: Annotated[float, Field(gt=0.0)]
    adapt_to_size: bool = False  # `retrain.defaults` fits some of these to data and model

    max_length: Annotated[int, Field(ge=16)]
    packing: bool
    assistant_only_loss: bool
    learnt_turns: Literal["last", "all"] = "last"  # of the assistant's, in a conversation
    template: Literal["chat", "instruction"] = "chat"  # instruction: `retrain.tokens`
    replay_share: Annotated[float, Field(ge=0.0, lt=1.0)]

    save_every_steps: Count
    checkpoint_every_minutes: Annotated[float, Field(gt=0.0)] | None = None  # also, beside steps
    keep_checkpoints: Annotated[int, Field(ge=2)]  # one may be half written
    eval_every_steps: Count
    early_stopping_patience: Annotated[int, Field(ge=0)]  # 0: off

    seed: int
    dtype: Literal["auto", "float32", "bfloat16"]
    gradient_checkpointing: bool

    qlora: Qlora | None = None
    ia3: Ia3 | None = None
    oft: Oft | None = None
    peanut: Peanut | None = None
    prefix: Prefix | None = None
    prompt: Prompt | None = None

    kto: Kto | None = None
    dpo: Dpo | None = None
    reward: Reward | None = None
    reinforce: Reinforce | None = None

    incremental: dict[str, Any] = Field(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = complaints(self)
        if found:
            raise ValueError("; ".join(found))
        return self

    def for_mode(self, mode: Mode) -> Recipe:
        """Return the values that hold in `mode`, without overrides left to apply.

        Raises: pydantic.ValidationError if the overrides do not fit.
        """
        overrides = self.incremental if mode == "incremental" else {}
        values = self.model_dump(mode="json", exclude={"incremental"}, exclude_none=True)
        return Recipe.model_validate(_merged(values, overrides))

    def serving_faults(self, max_lora_rank: int) -> list[str]:
        """Return why an engine with this limit could not hot-load the result; [] when it can."""
        return serving_faults(self, max_lora_rank)

    def differences(self, adapter_config: Mapping[str, Any]) -> list[str]:
        """Return how an adapter's PEFT configuration differs from what this recipe would make.

        An adapter can only be continued as what it is: a difference asks for a full training.
        """
        return differences(self, adapter_config)

    def hyperparameters(self) -> dict[str, Any]:
        """Return plain values for the run's and the adapter's metadata."""
        return self.model_dump(mode="json", exclude={"incremental", "name"}, exclude_none=True)


def _merged(values: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with `overrides`; of a table only the values that are overridden."""
    tables = {
        name: values[name] | value
        for name, value in overrides.items()
        if isinstance(value, dict) and isinstance(values.get(name), dict)
    }
    return values | dict(overrides) | tables


def load_recipe(name: str | Path) -> Recipe:
    """Return the recipe called `name` in `retrain/recipes`, or that of the TOML file `name`.

    Raises: SettingsError that names the file and each wrong key.
    """
    path = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise SettingsError(f"no recipe {str(name)!r}: use {known} or a .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"recipe {path} is not valid TOML: {error}") from error
    try:
        recipe = Recipe.model_validate({"name": path.stem} | values)
        recipe.for_mode("incremental")
    except ValidationError as error:
        raise SettingsError(f"recipe {path}: {_told(error)}") from error
    return recipe


def _told(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in issue['loc']) or 'recipe'}: {issue['msg']}"
        + ("" if issue["type"] in {"missing", "value_error"} else f" (got {issue['input']!r})")
        for issue in error.errors()
    )
