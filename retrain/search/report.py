"""What a search found: `search.md`, `search.html`, and the best values as a recipe.

A study goes in; files in the search's folder come out, written anew after every trial. Knows
nothing of how trials are run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.files import write_atomic
from retrain.search.drawing import (
    Tried,
    draw_history,
    draw_importances,
    draw_parallel,
    draw_slices,
)
from retrain.search.plan import BEST_FILE, SearchPlan
from retrain.search.recipe_file import as_toml
from retrain.search.space import Number, Space
from retrain.search.study import importances, open_study, space_of, trials_wanted
from retrain.search.values import recipe_values
from retrain.watching.page import Drawing, Page, Part, Table, write_page

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

NAME = "search"
DIGITS = 3


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """One trial, as the commands and the report show it."""

    number: int
    state: str  # complete, pruned, failed, running
    loss: float | None  # best validation loss; of a pruned trial the last
    values: dict[str, Number]
    seconds: float | None
    why: str | None  # it is not complete


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """A search as it stands."""

    name: str
    application: str
    dataset: str
    strategy: str
    pruning: str
    wanted: int
    trials: list[TrialFacts]
    best: TrialFacts | None
    importances: dict[str, float]
    recipe: str | None  # the file of the best values
    folder: str


def describe(folder: Path, plan: SearchPlan) -> SearchFacts:
    """Return how the search of this folder stands, from its journal."""
    return facts_of(open_study(folder, plan), plan, space_of(plan), folder)


def facts_of(study: Study, plan: SearchPlan, space: Space, folder: Path) -> SearchFacts:
    """Return how a search stands."""
    trials = [_trial(one) for one in study.get_trials(deepcopy=False)]
    best = best_of(trials)
    return SearchFacts(
        name=plan.name,
        application=plan.application,
        dataset=plan.dataset_id,
        strategy=plan.strategy,
        pruning=plan.pruning,
        wanted=trials_wanted(plan, space),
        trials=trials,
        best=best,
        importances=importances(study),
        recipe=str(folder / BEST_FILE) if best else None,
        folder=str(folder),
    )


def best_of(trials: Sequence[TrialFacts]) -> TrialFacts | None:
    """Return the complete trial of the lowest loss, the first of equals."""
    complete = [one for one in trials if one.state == "complete" and one.loss is not None]
    return min(complete, key=lambda one: one.loss or 0.0, default=None)


def write_results(study: Study, plan: SearchPlan, space: Space, folder: Path) -> None:
    """Write the report, and the best values as a recipe."""
    facts = facts_of(study, plan, space, folder)
    if facts.best is not None:
        write_atomic(folder / BEST_FILE, best_recipe(plan, facts.best, len(facts.trials)))
    write_page(page_of(facts, space), folder, NAME)


def best_recipe(plan: SearchPlan, best: TrialFacts, tried: int) -> str:
    """Return the plan's recipe with the best trial's values, as TOML."""
    changed = recipe_values(plan.parsed_recipe(), best.values)
    adapts = plan.parsed_recipe().adapt_to_size
    update = changed | ({"adapt_to_size": False} if adapts else {})
    recipe = plan.parsed_recipe().model_copy(update=update)
    found = f"found: trial {best.number}"
    head = (
        f"Recipe {recipe.name} with the best of {tried} trials of search {plan.name} on dataset "
        f"{plan.dataset_id}:\ntrial {best.number}, validation loss {best.loss:.4f}. "
        "Values without a remark are the recipe's own."
    )
    return as_toml(recipe, remarks=dict.fromkeys(update, found), head=head)


def page_of(facts: SearchFacts, space: Space) -> Page:
    """Return the report as a page."""
    parts = [
        Part("Best values", [_best(facts)]),
        Part("Drawings", _drawings(facts, space)),
        Part("Trials", [_trials(facts)]),
        Part("About", [_about(facts, space)]),
    ]
    return Page(f"Search {facts.name}", _lead(facts), parts)


def _lead(facts: SearchFacts) -> str:
    states = [one.state for one in facts.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    words = f"{len(states)} of {facts.wanted} trials: {counts or 'none yet'}."
    if facts.best is not None:
        words += (
            f" The lowest validation loss is {facts.best.loss:.4f}, of trial {facts.best.number}."
        )
    return words


def _best(facts: SearchFacts) -> str | Table:
    if facts.best is None:
        return "No trial was trained to its end yet."
    rows = [
        (name, _text(value), _share(facts.importances.get(name)))
        for name, value in facts.best.values.items()
    ]
    return Table(("parameter", "best value", "importance"), rows)


def _drawings(facts: SearchFacts, space: Space) -> list[str | Table | Drawing]:
    tried = [
        Tried(one.number, one.loss, one.state == "pruned", one.values)
        for one in facts.trials
        if one.loss is not None and one.state in ("complete", "pruned")
    ]
    if facts.best is None:
        return ["There is nothing to draw yet."]
    logarithmic = frozenset(name for name, one in space.ranges().items() if one.log)
    drawn: list[str | Table | Drawing] = [
        Drawing("history.svg", draw_history(tried)),
        Drawing("slices.svg", draw_slices(tried, logarithmic)),
        Drawing("parallel.svg", draw_parallel(tried)),
    ]
    if facts.importances:
        drawn.append(Drawing("importances.svg", draw_importances(facts.importances)))
    return drawn


def _trials(facts: SearchFacts) -> Table:
    names = list(facts.trials[0].values) if facts.trials else []
    rows = [
        (
            str(one.number),
            one.state,
            "-" if one.loss is None else f"{one.loss:.4f}",
            *(_text(one.values.get(name)) for name in names),
            "-" if one.seconds is None else f"{one.seconds:.0f}",
            one.why or "",
        )
        for one in facts.trials
    ]
    return Table(("trial", "state", "loss", *names, "seconds", "why"), rows)


def _about(facts: SearchFacts, space: Space) -> Table:
    rows = [
        ("application", facts.application),
        ("dataset", facts.dataset),
        ("strategy", facts.strategy),
        ("pruning", facts.pruning),
        ("space", space.name),
        *((name, _range(one)) for name, one in space.ranges().items()),
    ]
    return Table(("what", "value"), rows)


def _range(one: Any) -> str:
    if one.choices:
        return " or ".join(map(str, one.choices))
    return f"{one.low} to {one.high}{', by ratio' if one.log else ''}"


def _trial(one: FrozenTrial) -> TrialFacts:
    state = {"fail": "failed"}.get(one.state.name.lower(), one.state.name.lower())
    finite = one.value is not None and math.isfinite(one.value)
    return TrialFacts(
        number=one.number,
        state=state,
        loss=one.value if finite else None,
        values=dict(one.params),
        seconds=one.duration.total_seconds() if one.duration else None,
        why=one.user_attrs.get("why"),
    )


def _text(value: Number | None) -> str:
    return "-" if value is None else f"{value:.{DIGITS}g}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
