"""Is an adapter what a recipe would make? Asked before an adapter is continued.

A recipe and PEFT's configuration of an adapter go in, the differences come out, in the recipe's
words. Pure; knows neither files nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from retrain.recipe_rules import SHAPE

if TYPE_CHECKING:
    from retrain.recipe import Recipe

# PEFT's name of each kind of adapter, and Ratchet's.
METHOD_OF_TYPE = {
    "LORA": "lora",
    "IA3": "ia3",
    "OFT": "oft",
    "PEANUT": "peanut",
    "PREFIX_TUNING": "prefix",
    "PROMPT_TUNING": "prompt",
}


def method_of(adapter_config: Mapping[str, Any]) -> str:
    """Return the method that made an adapter, by PEFT's configuration of it.

    A LoRA of a quantised base model is a LoRA. What Ratchet does not train keeps PEFT's name.
    """
    if adapter_config.get("use_dora"):
        return "dora"
    kind = str(adapter_config.get("peft_type", "LORA"))
    return METHOD_OF_TYPE.get(kind, kind.lower())


def differences(recipe: Recipe, adapter_config: Mapping[str, Any]) -> list[str]:
    """Return how an adapter's configuration differs from what `recipe` would make."""
    found, wanted = method_of(adapter_config), recipe.method
    if found != ("lora" if wanted == "qlora" else wanted):
        return [f"method is {found}, the recipe says {wanted}"]
    pairs = {**_flat(recipe, adapter_config), **_tables(recipe, adapter_config)}
    return [
        f"{name} is {value}, the recipe says {asked}"
        for name, (value, asked) in pairs.items()
        if value != asked
    ]


def _flat(recipe: Recipe, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    layers = config.get("layers_to_transform")
    found = {
        "rank": config.get("r"),
        "alpha": config.get("lora_alpha"),
        "dropout": config.get("module_dropout" if recipe.method == "oft" else "lora_dropout"),
        "target_modules": sorted(config.get("target_modules") or ()),
        "layers": len(layers) if layers else "all",
        "use_rslora": config.get("use_rslora", False),
    }
    wanted = recipe.model_dump() | {"target_modules": sorted(recipe.target_modules or ())}
    return {
        name: (value, wanted[name]) for name, value in found.items() if name in SHAPE[recipe.method]
    }


def _tables(recipe: Recipe, config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    if recipe.ia3 is not None:
        modules = sorted(config.get("feedforward_modules") or ())
        found["ia3.feedforward_modules"] = (modules, sorted(recipe.ia3.feedforward_modules))
    if recipe.oft is not None:
        found["oft.block_size"] = (config.get("oft_block_size"), recipe.oft.block_size)
    if recipe.peanut is not None:
        found["peanut.depth"] = (config.get("depth"), recipe.peanut.depth)
        found["peanut.activation"] = (config.get("act_fn"), recipe.peanut.activation)
        found["peanut.scaling"] = (config.get("scaling"), recipe.peanut.scaling)
    for name, table in (("prefix", recipe.prefix), ("prompt", recipe.prompt)):
        if table is not None:
            tokens = (config.get("num_virtual_tokens"), table.num_virtual_tokens)
            found[f"{name}.num_virtual_tokens"] = tokens
    return found
