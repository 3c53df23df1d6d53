"""Numbers that a command reckons with, each with where it is from: said, of the store, or assumed.

Options go before the store, the store before what is assumed. Keys are `retrain.money.sources`'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import typer

from loop.terminal import out

T = TypeVar("T")

Whose = Annotated[str | None, typer.Option("--application", help="whose numbers; default: all")]


@dataclass(frozen=True, slots=True)
class Figure(Generic[T]):
    """A value, and a key of where it is from."""

    value: T
    source: str


def figure(said: T | None, stored: T | None, assumed: T, source: str = "ours") -> Figure[T]:
    """Return what was said, else what the store tells, else what is assumed by `source`."""
    if said is not None:
        return Figure(said, "said")
    if stored is not None:
        return Figure(stored, "store")
    return Figure(assumed, source)


def as_plain(figures: Mapping[str, Figure[Any]]) -> dict[str, dict[str, object]]:
    """Return the figures as plain values."""
    return {
        name: {"value": each.value, "source": each.source}
        for name, each in figures.items()
        if each.value is not None
    }


def print_figures(figures: Mapping[str, Figure[Any]]) -> None:
    """Print each number with where it is from."""
    for name, each in figures.items():
        if each.value is not None:
            told = f"{each.value:,.6g}" if isinstance(each.value, float | int) else each.value
            out.print(f"{name}: {told} ({SAID[each.source]})", highlight=False)


SAID: Mapping[str, str] = {
    "said": "as said",
    "store": "from the store",
    "settings": "of the settings",
    "machine": "of this machine",
    "tco": "the guide's example",
    "ongoing": "the guide's middle",
    "measured": "measured on two CPU cores",
    "ours": "assumed",
}


def print_legend(keys: Iterable[str]) -> None:
    """Print what the keys of a table mean."""
    from retrain.money.sources import legend

    for key, meaning in legend(keys).items():
        out.print(f"  {key}: {meaning}", highlight=False)
