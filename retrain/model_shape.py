"""A model's folder → its shape, by which memory and time are reckoned. Reads one JSON file."""

from __future__ import annotations

import json
from pathlib import Path

from core.errors import DataError
from retrain.estimate import Shape, shape_of


def read_shape(folder: Path) -> Shape:
    """Return the shape that a model's `config.json` describes.

    Raises: DataError when there is none, or it is of another kind.
    """
    path = folder / "config.json"
    try:
        return shape_of(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} does not describe a language model: {error}") from error


def read_model_type(folder: Path) -> str:
    """Return the architecture that a model's `config.json` names; nothing when it names none."""
    return str(json.loads((folder / "config.json").read_text()).get("model_type", ""))
