"""The command that trains: `ratchet retrain`.

Thin, as `loop.cli`: it opens the parts and calls the turn's own steps.
"""

from __future__ import annotations

from typing import Annotated

import typer

from loop.terminal import (
    Application,
    AsJson,
    Requester,
    keep_act,
    narrator_for,
    print_json,
    print_row,
    require_words,
    settings_of,
)


def retrain(
    context: typer.Context,
    application: Application,
    by: Requester = None,
    recipe: Annotated[
        str | None, typer.Option(help="a name or a TOML file; default: retrain.recipe")
    ] = None,
    even_if_it_may_not_fit: Annotated[
        bool,
        typer.Option("--even-if-it-may-not-fit", help="train although memory seems too small"),
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="only say what would be done and why: no training")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train if the policy says so (or you do), and gate the new adapter."""
    import msgspec

    from loop import turn
    from loop.planning import Wish, look
    from loop.policy_cli import print_outlook
    from loop.wiring import open_parts

    require_words(by=by)
    with open_parts(settings_of(context)) as parts:
        if explain:
            turn.require_application(parts, application)
            print_outlook(look(parts, application, Wish(by, recipe)), as_json=as_json)
            return
        narrator = narrator_for(as_json)
        dataset = turn.curate(parts, application, narrator)
        plan = turn.plan_training(parts, application, dataset, requested_by=by, recipe=recipe)
        narrator.tell(plan.reason)
        if plan.train:
            place = ("dataset", dataset.id, application)
            keep_act(parts.store, "retraining_begun", place, by=by, reason=plan.reason)
            adapter = turn.retrain(
                parts,
                application,
                dataset,
                plan,
                narrator,
                recipe=recipe,
                even_if_it_may_not_fit=even_if_it_may_not_fit,
            )
            turn.tell_gate(adapter, narrator)
            if as_json:
                print_row(adapter)
        elif as_json:
            print_json(msgspec.to_builtins(plan))
