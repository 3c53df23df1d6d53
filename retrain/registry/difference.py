"""How two adapters differ: what they were made of, how they did, and how far apart they are.

Two rows go in; changes by field, and the distance of the weights, come out. Weights are compared
as what they add to the base model, B·A times the scale: two adapters with equal sums are equal,
whatever their matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError
from feedback.tables import Adapter
from retrain.recipe_rules import HOT_SERVED
from retrain.registry.servable import WEIGHTS_FILE, read_config

Matrices = dict[str, NDArray[np.float32]]

# What people compare; ids and times always differ and say nothing.
COMPARED = ("base_model", "training_data", "hyperparameters", "metrics")
_A, _B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, slots=True)
class Change:
    """A field of the metadata that is not the same; None where one adapter has none."""

    field: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Distance:
    """How far the sums of two LoRAs are apart, over all modules."""

    relative: float  # ‖new - old‖ by ‖old‖, Frobenius; infinite when old is nothing
    cosine: float  # 1: the same direction
    furthest: tuple[str, ...]  # modules by their share of the difference, the largest first


def changes(old: Adapter, new: Adapter) -> list[Change]:
    """Return the fields of the metadata and of the gate's numbers that differ, by name."""
    before, after = (dict(_facts(adapter)) for adapter in (old, new))
    return [
        Change(name, before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def distance(old: Adapter, new: Adapter) -> Distance | None:
    """Return how far apart the weights are; None where one of both is no LoRA.

    Raises: DataError when a file cannot be read as one.
    """
    if not (old.rank and new.rank) or {old.method, new.method} - HOT_SERVED:
        return None
    before, after = _sums(Path(old.path)), _sums(Path(new.path))
    inner, square_old, square_new = 0.0, 0.0, 0.0
    apart: dict[str, float] = {}
    for module in sorted(before.keys() | after.keys()):
        one, other = before.get(module), after.get(module)
        shape = (one if one is not None else other).shape  # type: ignore[union-attr]
        one = np.zeros(shape, np.float32) if one is None else one
        other = np.zeros(shape, np.float32) if other is None else other
        inner += float(np.vdot(one, other))
        square_old += float(np.vdot(one, one))
        square_new += float(np.vdot(other, other))
        apart[module] = float(np.sum((other - one) ** 2))
    total = math.sqrt(sum(apart.values()))
    norms = math.sqrt(square_old * square_new)
    return Distance(
        relative=total / math.sqrt(square_old) if square_old else math.inf,
        cosine=inner / norms if norms else 0.0,
        furthest=tuple(sorted(apart, key=lambda module: -apart[module])[:5]),
    )


def _facts(adapter: Adapter) -> Iterator[tuple[str, Any]]:
    for name in COMPARED:
        yield from _leaves(name, adapter.model_metadata.get(name))
    yield from _leaves("gate.decision", adapter.gate.get("decision"))
    yield from _leaves("gate.numbers", adapter.gate.get("numbers"))


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    else:
        yield name, value


def _sums(folder: Path) -> Matrices:
    """Return what each module of an adapter adds to the base model's matrix."""
    from safetensors.numpy import load_file

    config = read_config(folder)
    root = math.sqrt(config["r"]) if config.get("use_rslora") else config["r"]
    scale = config["lora_alpha"] / root
    try:
        tensors: Matrices = load_file(folder / WEIGHTS_FILE)
    except Exception as error:  # the library raises its own types, and KeyError for bfloat16
        raise DataError(
            f"{folder / WEIGHTS_FILE} cannot be compared ({error}): is it float32 or float16?"
        ) from error
    modules = [name.removesuffix(_A) for name in tensors if name.endswith(_A)]
    return {
        module: scale * (tensors[module + _B].astype(np.float32) @ tensors[module + _A])
        for module in modules
    }
