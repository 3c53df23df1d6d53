"""The commands on searches: `ratchet search run|list|show`.

Thin, as `loop.cli`. A search is named; `run` with the name of one that was broken off goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import RequestError
from loop.terminal import Application, AsJson, keep_act, print_json, print_table, settings_of

if TYPE_CHECKING:
    from loop.wiring import Parts
    from retrain.search.report import SearchFacts

search_app = typer.Typer(no_args_is_help=True, help="Searches for the best values of a recipe.")

SearchName = Annotated[str, typer.Argument(help="a search, as `ratchet search list` shows it")]
STRATEGIES = ("tpe", "random", "grid")
PRUNERS = ("median", "hyperband", "none")


@search_app.command("run")
def search_run(
    context: typer.Context,
    application: Application,
    dataset: Annotated[str | None, typer.Option(help="a version; default: the newest")] = None,
    recipe: Annotated[str | None, typer.Option(help="what to start from; default: yours")] = None,
    space: Annotated[str, typer.Option(help="what may vary: a name, or a TOML file")] = "default",
    top: Annotated[int, typer.Option(min=0, help="only so many that matter most; 0: all")] = 0,
    strategy: Annotated[str, typer.Option(help=f"one of {', '.join(STRATEGIES)}")] = "tpe",
    pruning: Annotated[str, typer.Option(help=f"one of {', '.join(PRUNERS)}")] = "median",
    trials: Annotated[int, typer.Option(min=1, help="so many in all")] = 20,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="so long the machine may work, in all")
    ] = None,
    seed: Annotated[int, typer.Option(help="the same seed, the same trials")] = 42,
    name: Annotated[
        str | None, typer.Option(help="of a new search, or of one to go on with")
    ] = None,
    by: Annotated[str, typer.Option("--by", help="who you are")] = "ratchet",
    as_json: AsJson = False,
) -> None:
    """Search for the best values of a recipe by real trainings; go on with one that was killed."""
    from loop.search_view import showing
    from loop.wiring import open_parts
    from retrain.launchers.choice import launcher_for
    from retrain.search.plan import SearchPlan, free_name, read_plan
    from retrain.search.report import describe
    from retrain.search.searching import run_search

    _one_of("strategy", strategy, STRATEGIES)
    _one_of("pruning", pruning, PRUNERS)
    with open_parts(settings_of(context)) as parts:
        plan = SearchPlan(
            name=name or free_name(parts.settings.folder("searches"), application),
            application=application,
            dataset_id=dataset or _newest_dataset(parts, application),
            recipe=_recipe_values(recipe or parts.settings.retrain.recipe),
            space=_space_values(space, top),
            strategy=strategy,  # type: ignore[arg-type]
            pruning=pruning,  # type: ignore[arg-type]
            trials=trials,
            seconds=seconds,
            seed=seed,
            created_by=by,
        )
        with showing(plan.name, as_json=as_json) as tell:
            launcher = launcher_for(parts.settings)
            keep_act(parts.store, "search_run", ("search", plan.name, application), by=by)
            folder = run_search(parts.store, parts.settings, plan, launcher, tell=tell)
        _show(describe(folder, read_plan(folder)), as_json=as_json)


@search_app.command("list")
def search_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the searches, with how far they are and the lowest loss."""
    from retrain.search.plan import known_plans
    from retrain.search.report import describe

    searches = settings_of(context).folder("searches")
    found = [describe(searches / plan.name, plan) for plan in known_plans(searches)]
    if as_json:
        print_json(found)
        return
    print_table(
        ("search", "dataset", "strategy", "trials", "lowest loss"),
        [
            (
                one.name,
                one.dataset,
                one.strategy,
                f"{len(one.trials)} of {one.wanted}",
                "-" if one.best is None else f"{one.best.loss:.4f}",
            )
            for one in found
        ],
    )


@search_app.command("show")
def search_show(context: typer.Context, search: SearchName, as_json: AsJson = False) -> None:
    """Show a search: its trials, what matters, and the recipe of the best values."""
    from retrain.search.plan import read_plan
    from retrain.search.report import describe

    folder = settings_of(context).folder("searches") / search
    _show(describe(folder, read_plan(folder)), as_json=as_json)


def _show(facts: SearchFacts, *, as_json: bool) -> None:
    from loop.search_view import draw_search

    if as_json:
        print_json(facts)
    else:
        draw_search(facts)


def _newest_dataset(parts: Parts, application: str) -> str:
    from feedback.versions import require_newest_version

    with parts.store.session() as session:
        return require_newest_version(session, application).id


def _recipe_values(name: str) -> dict[str, Any]:
    from retrain.recipe import load_recipe

    return load_recipe(Path(name) if name.endswith(".toml") else name).model_dump(
        mode="json", exclude_none=True
    )


def _space_values(name: str, top: int) -> dict[str, Any]:
    from retrain.search.space import load_space

    space = load_space(name)
    return (space.top(top) if top else space).model_dump(mode="json", exclude_none=True)


def _one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RequestError(f"--{option} is {value!r}: use one of {', '.join(known)}", field=option)
