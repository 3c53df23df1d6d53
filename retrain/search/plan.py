"""What a search was asked for: `search.json` in the search's folder.

A search goes on from its folder alone; asked for again with other words, it is refused. Knows
nothing of Optuna.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from core.errors import NotFoundError, RequestError, StateError
from core.files import write_atomic
from retrain.recipe import Recipe
from retrain.search.space import Space

FILE = "search.json"
TRIALS = "trials"  # folder of the trials' folders
BEST_FILE = "best.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}")

Strategy = Literal["grid", "random", "tpe"]
Pruning = Literal["median", "hyperband", "none"]


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """One search. The budget may grow later; the rest stays."""

    name: str
    application: str
    dataset_id: str
    recipe: dict[str, Any]  # what the trials start from, with its [incremental]
    space: dict[str, Any]
    strategy: Strategy
    pruning: Pruning
    trials: int
    seconds: float | None  # of the machine, over all trials; None: no limit
    seed: int
    created_by: str

    def parsed_recipe(self) -> Recipe:
        """Return the recipe with its types."""
        return Recipe.model_validate(self.recipe)

    def parsed_space(self) -> Space:
        """Return the space with its types."""
        return Space.model_validate(self.space)

    def write(self, folder: Path) -> None:
        """Store the plan in its search's folder."""
        write_atomic(folder / FILE, msgspec.json.format(msgspec.json.encode(self)))


def read_plan(folder: Path) -> SearchPlan:
    """Return the plan of a search's folder.

    Raises: NotFoundError if there is none.
    """
    path = folder / FILE
    if not path.is_file():
        raise NotFoundError(f"no search {folder.name!r}: `ratchet search list` shows them")
    return msgspec.json.decode(path.read_bytes(), type=SearchPlan)


def settle(plan: SearchPlan, searches: Path) -> SearchPlan:
    """Write the plan into a folder of its name, or return what is there with the new budget.

    Raises: RequestError for a name that is no file name; StateError when the search of that name
    was asked for with other words.
    """
    if not _NAME.fullmatch(plan.name):
        raise RequestError(f"{plan.name!r} is no name for a search: use letters, digits, - and .")
    folder = searches / plan.name
    if not (folder / FILE).is_file():
        plan.write(folder)
        return plan
    known = read_plan(folder)
    grown = replace(known, trials=plan.trials, seconds=plan.seconds)
    if grown != replace(plan, created_by=known.created_by):
        different = [
            name
            for name in plan.__slots__
            if getattr(grown, name) != getattr(plan, name) and name != "created_by"
        ]
        raise StateError(
            f"search {plan.name} was begun with another {', '.join(different)}: go on with "
            "the same, or give this one another --name"
        )
    grown.write(folder)
    return grown


def free_name(searches: Path, application: str) -> str:
    """Return the next name of a search of this application."""
    used = {path.name for path in searches.iterdir()}
    number = 1
    while f"{application}--s{number}" in used:
        number += 1
    return f"{application}--s{number}"


def known_plans(searches: Path) -> list[SearchPlan]:
    """Return the plans of all searches, by name."""
    folders = sorted(path for path in searches.iterdir() if (path / FILE).is_file())
    return [read_plan(folder) for folder in folders]
