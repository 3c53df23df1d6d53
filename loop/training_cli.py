"""The commands on training: `ratchet retrain`, `resume` and `runs`.

Thin, as `loop.cli`: each opens the parts and calls the turn's own steps or the runner.
"""

from __future__ import annotations

from typing import Annotated

import typer

from loop.terminal import (
    Application,
    AsJson,
    Requester,
    narrator_for,
    print_json,
    print_row,
    print_table,
    require_words,
    settings_of,
)


def retrain(
    context: typer.Context,
    application: Application,
    by: Requester = None,
    as_json: AsJson = False,
) -> None:
    """Train if the policy says so (or you do), and gate the new adapter."""
    import msgspec

    from loop import turn
    from loop.wiring import open_parts

    require_words(by=by)
    with open_parts(settings_of(context)) as parts:
        narrator = narrator_for(as_json)
        dataset = turn.curate(parts, application, narrator)
        plan = turn.plan_training(parts, application, dataset, requested_by=by)
        narrator.tell(plan.reason)
        if plan.train:
            adapter = turn.retrain(parts, application, dataset, plan, narrator)
            turn.tell_gate(adapter, narrator)
            if as_json:
                print_row(adapter)
        elif as_json:
            print_json(msgspec.to_builtins(plan))


def resume(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="a run, as `ratchet runs` lists it")],
    as_json: AsJson = False,
) -> None:
    """Go on with a run that broke off, from its newest whole checkpoint, and gate its adapter."""
    from loop import turn
    from loop.wiring import open_parts
    from retrain.runs.runner import broken_off, resume_run

    narrator = narrator_for(as_json)
    with open_parts(settings_of(context)) as parts:
        with parts.store.session() as session:
            broken_off(session, run)  # before a progress bar appears
        with narrator.training() as progress:
            adapter = resume_run(parts.store, parts.settings, run, progress=progress)
        turn.tell_gate(adapter, narrator)
    if as_json:
        print_row(adapter)


def runs(context: typer.Context, as_json: AsJson = False) -> None:
    """List the trainings, the newest last: why each began and how it went."""
    from sqlmodel import col, select

    from feedback.tables import Run
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = session.exec(select(Run).order_by(col(Run.started_at))).all()
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    print_table(
        ("run", "status", "dataset", "why, or what went wrong"),
        [(row.id, row.status, row.dataset_id, row.error or row.reason) for row in rows],
    )
