"""One value of a library's configuration, and where it is from. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its key (dots lead into tables), and its source."""

    key: str
    value: Any
    source: str


def table(values: Iterable[Value]) -> dict[str, Any]:
    """Return the values as the nested dictionary that libraries take."""
    whole: dict[str, Any] = {}
    for one in values:
        *path, last = one.key.split(".")
        inner = whole
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = one.value
    return whole


def sources(values: Iterable[Value]) -> dict[str, str]:
    """Return where each value is from, by its key."""
    return {one.key: one.source for one in values}
