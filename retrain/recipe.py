"""RETRAIN's training configuration: a TOML file goes in, a frozen `Recipe` comes out.

Every value is written in the file, with its source: a recipe has no hidden defaults. The
table `[incremental]` overrides values for runs that continue the live adapter. Knows nothing
of torch. Recipes are in `retrain/recipes`; a path to a TOML file is as good as a name.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from core.errors import SettingsError
from core.sections import Section
from retrain.policy import Mode

FOLDER = Path(__file__).parent / "recipes"

# What an incremental run inherits from the adapter that it continues, or must share with it.
_FIXED_BY_PARENT = frozenset(
    {"trainer", "method", "rank", "alpha", "dropout", "target_modules", "layers", "use_rslora"}
)

Positive = Annotated[int, Field(ge=1)]


class Recipe(Section):
    """How to train one adapter. The meaning and source of each value is in its recipe file."""

    name: str
    trainer: Literal["sft"]
    method: Literal["lora"]

    rank: Positive
    alpha: Positive
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)]
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)]
    layers: Literal["all"] | Positive  # a number: only so many upper layers
    use_rslora: bool

    learning_rate: Annotated[float, Field(gt=0.0, lt=1.0)]
    epochs: Annotated[float, Field(gt=0.0)]
    batch_size: Positive
    gradient_accumulation: Positive
    warmup_ratio: Annotated[float, Field(ge=0.0, le=0.5)]
    schedule: Literal["cosine", "linear", "constant_with_warmup"]
    weight_decay: Annotated[float, Field(ge=0.0)]
    max_grad_norm: Annotated[float, Field(gt=0.0)]

    max_length: Annotated[int, Field(ge=16)]
    packing: bool
    assistant_only_loss: bool
    replay_share: Annotated[float, Field(ge=0.0, lt=1.0)]

    save_every_steps: Positive
    keep_checkpoints: Annotated[int, Field(ge=2)]  # one may be half written
    eval_every_steps: Positive
    early_stopping_patience: Annotated[int, Field(ge=0)]  # 0: off

    seed: int
    dtype: Literal["auto", "float32", "bfloat16"]
    gradient_checkpointing: bool

    incremental: dict[str, Any] = Field(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.save_every_steps % self.eval_every_steps:
            raise ValueError(
                f"save_every_steps ({self.save_every_steps}) must be a multiple of "
                f"eval_every_steps ({self.eval_every_steps}), so that the best step can be kept"
            )
        fixed = sorted(_FIXED_BY_PARENT & self.incremental.keys())
        if fixed:
            raise ValueError(
                f"[incremental] cannot change {', '.join(fixed)}: "
                "the adapter that is continued decides them"
            )
        return self

    def for_mode(self, mode: Mode) -> Recipe:
        """Return the values that hold in `mode`, without overrides left to apply.

        Raises: pydantic.ValidationError if the overrides do not fit.
        """
        overrides = self.incremental if mode == "incremental" else {}
        values = self.model_dump(mode="json", exclude={"incremental"})
        return Recipe.model_validate(values | overrides)

    def differences(self, adapter_config: Mapping[str, Any]) -> list[str]:
        """Return how an adapter's PEFT configuration differs from what this recipe would make.

        An adapter can only be continued as what it is: a difference asks for a full training.
        """
        layers = adapter_config.get("layers_to_transform")
        found = {
            "rank": adapter_config.get("r"),
            "alpha": adapter_config.get("lora_alpha"),
            "dropout": adapter_config.get("lora_dropout"),
            "target_modules": sorted(adapter_config.get("target_modules") or ()),
            "layers": len(layers) if layers else "all",
            "use_rslora": adapter_config.get("use_rslora", False),
        }
        wanted = self.model_dump() | {"target_modules": sorted(self.target_modules)}
        return [
            f"{name} is {value}, the recipe says {wanted[name]}"
            for name, value in found.items()
            if value != wanted[name]
        ]

    def hyperparameters(self) -> dict[str, Any]:
        """Return plain values for the run's and the adapter's metadata."""
        return self.model_dump(mode="json", exclude={"incremental", "name"})


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
