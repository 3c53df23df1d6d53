"""A recipe → TOML that `load_recipe` reads back as the same recipe.

Knows the kinds of values that recipes have, and no others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from retrain.recipe import Recipe


def as_toml(recipe: Recipe, *, remarks: Mapping[str, str], head: str) -> str:
    """Return the recipe as TOML; `remarks` are put beside the values they speak of."""
    values = recipe.model_dump(mode="json", exclude={"name"}, exclude_none=True)
    tables = {name: value for name, value in values.items() if isinstance(value, dict)}
    lines = [f"# {line}" for line in head.splitlines()] + [""]
    lines += _lines({n: v for n, v in values.items() if n not in tables}, remarks)
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *_table(name, table)]
    return "\n".join(lines) + "\n"


def _table(name: str, table: Mapping[str, Any]) -> list[str]:
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    lines = _lines({key: v for key, v in table.items() if key not in inner}, {})
    for key, value in inner.items():
        lines += ["", f"[{name}.{key}]", *_table(f"{name}.{key}", value)]
    return lines


def _lines(values: Mapping[str, Any], remarks: Mapping[str, str]) -> list[str]:
    return [
        f"{name} = {_value(value)}" + (f"  # {remarks[name]}" if name in remarks else "")
        for name, value in values.items()
        if value is not None
    ]


def _value(value: Any) -> str:
    """Return a plain value as TOML; JSON writes strings, numbers, booleans and lists alike."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
