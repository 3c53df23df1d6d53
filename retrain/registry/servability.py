"""Can what a run made be hot-served, and if not, why? Asked when it is registered.

A folder with an adapter or a model of its own goes in; its method, its rank and the reasons
against come out. What vLLM cannot hot-load is registered all the same, evaluated offline, and
served after `ratchet merge`. Needs neither torch nor an engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import AdapterRefused, DataError
from core.settings import EngineSettings
from retrain.adapter_shape import method_of
from retrain.recipe_rules import HOT_SERVED, MERGEABLE
from retrain.registry.servable import (
    CONFIG_FILE,
    PICKLES,
    check_servable,
    read_adapter_config,
    same_model,
    tensor_shapes,
)

MODEL_CONFIG = "config.json"
FULL = "full"


@dataclass(frozen=True, slots=True)
class Servability:
    """What was found; `reasons` say what to do, and are empty when it can be hot-served."""

    servable: bool
    reasons: tuple[str, ...]
    method: str  # of the recipe: lora, dora, ia3, …, full
    rank: int  # of low-rank adapters; 0 of others


def servability(folder: Path, engine: EngineSettings) -> Servability:
    """Return whether the engine can hot-load what is in `folder`, and if not, why.

    Raises: DataError if the folder holds neither an adapter nor a model, or a damaged one;
    AdapterRefused for what must not be registered at all: pickles, or an adapter of another base.
    """
    _refuse_pickles(folder)
    if not (folder / CONFIG_FILE).is_file() and (folder / MODEL_CONFIG).is_file():
        check_model(folder)
        return Servability(False, (_mend(FULL),), FULL, 0)
    config = read_adapter_config(folder)
    _refuse_other_base(folder, config, engine)
    method, rank = method_of(config), _rank(config)
    if method not in HOT_SERVED:
        _check_weights(folder)
        return Servability(False, (_mend(method),), method, rank)
    try:
        check_servable(folder, engine)
    except AdapterRefused as error:
        return Servability(False, (str(error),), method, rank)
    return Servability(True, (), method, rank)


def check_model(folder: Path) -> None:
    """Return if the folder holds a whole model in safetensors.

    Raises: DataError that names what is missing or damaged.
    """
    for name in (MODEL_CONFIG, "tokenizer_config.json"):
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing: {folder} is no whole model, save it anew")
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    if not any(tensor_shapes(path) for path in sorted(folder.glob("*.safetensors"))):
        raise DataError(f"{folder} holds no weights: save them as safetensors")


def _mend(method: str) -> str:
    if method == FULL:
        return "a fully trained model is a base model: `ratchet merge`, then engine.model"
    if method in MERGEABLE:
        return (
            f"vLLM does not hot-load {method} adapters: `ratchet merge` makes a base model of it, "
            "or train with method lora"
        )
    return (
        f"vLLM does not load {method} adapters, and nothing can merge them: use it for comparison, "
        "and train with method lora to serve"
    )


def _rank(config: dict[str, Any]) -> int:
    rank = config.get("r")  # an OFT's and a PEANuT's is something else
    low_rank = config.get("peft_type", "LORA") == "LORA"
    return rank if low_rank and isinstance(rank, int) else 0


def _refuse_pickles(folder: Path) -> None:
    found = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLES)
    if found:
        raise AdapterRefused(
            f"{folder} holds {', '.join(found)}, which may run code when loaded: "
            "save as safetensors instead"
        )


def _refuse_other_base(folder: Path, config: dict[str, Any], engine: EngineSettings) -> None:
    base = str(config.get("base_model_name_or_path"))
    if not same_model(base, engine.model):
        raise AdapterRefused(
            f"adapter in {folder}: its base model is {base!r}, the engine serves "
            f"{str(engine.model)!r}: train on that one or change engine.model"
        )
