"""The commands on trainings: `ratchet runs list|show|cancel|log`, and `ratchet resume`.

Thin, as `loop.cli`. A run is named by its id.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loop.run_report_cli import runs_report
from loop.terminal import (
    AsJson,
    Operator,
    keep_act,
    narrator_for,
    out,
    print_json,
    print_row,
    print_table,
    require_words,
    settings_of,
)

if TYPE_CHECKING:
    from feedback.tables import Run
    from loop.wiring import Parts

runs_app = typer.Typer(help="Trainings: list, follow, cancel.", invoke_without_command=True)
runs_app.command("report")(runs_report)

RunId = Annotated[str, typer.Argument(help="a run, as `ratchet runs list` shows it")]
LOOK_EVERY_S = 1.0


@runs_app.callback()
def runs(context: typer.Context, as_json: AsJson = False) -> None:
    """List the trainings when no command is named."""
    if context.invoked_subcommand is None:
        runs_list(context, None, as_json)


@runs_app.command("list")
def runs_list(
    context: typer.Context,
    application: Annotated[str | None, typer.Argument(help="of this application only")] = None,
    as_json: AsJson = False,
) -> None:
    """List the trainings, the newest last: why each began and how it went."""
    from sqlmodel import col, select

    from feedback.tables import Run
    from loop.wiring import open_parts

    query = select(Run).order_by(col(Run.started_at))
    if application is not None:
        query = query.where(Run.application == application)
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = session.exec(query).all()
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    print_table(
        ("run", "status", "dataset", "why, or what went wrong"),
        [(row.id, row.status, row.dataset_id, row.error or row.reason) for row in rows],
    )


@runs_app.command("show")
def runs_show(
    context: typer.Context,
    run: RunId,
    follow: Annotated[bool, typer.Option(help="stay until it has ended")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a training: where it is, its losses, and what it runs with."""
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        if follow:
            _follow(parts, run, as_json)
        facts = _facts(parts, run)
    if as_json:
        print_json(facts)
        return
    out.print(f"{facts['id']} of {facts['application']}: {facts['status']}", highlight=False)
    rows = [(name, _text(facts[name])) for name in SHOWN if facts.get(name)]
    rows += [(name, _text(value)) for name, value in facts["details"].items()]
    rows += [(name, _text(value)) for name, value in facts["metrics"].items()]
    print_table(("what", "value"), rows)


SHOWN = (
    *("reason", "error", "mode", "recipe", "dataset_id", "parent_adapter", "launcher"),
    *("folder", "started_at", "finished_at", "progress"),
)


@runs_app.command("cancel")
def runs_cancel(
    context: typer.Context,
    run: RunId,
    by: Operator,
    reason: Annotated[str, typer.Option(help="why; it is kept with the run")] = "",
    as_json: AsJson = False,
) -> None:
    """End a training that waits or runs; its checkpoints stay, and `ratchet resume` goes on."""
    from feedback.audit import HumanAct, keep
    from loop.wiring import open_parts
    from retrain.runs.cancelling import Cancellation
    from retrain.runs.runner import cancel_run

    require_words(by=by)
    with open_parts(settings_of(context)) as parts:
        row = cancel_run(parts.store, run, Cancellation(by, reason))
        place = ("run", run, row.application)
        keep(parts.store, HumanAct(by, "run_cancelled", *place, reason))
    if as_json:
        print_row(row)
    elif row.status == "cancelled":
        out.print(f"run {run} is cancelled: nobody worked on it any more", soft_wrap=True)
    else:
        out.print(f"run {run} will end within seconds", soft_wrap=True)


@runs_app.command("log")
def runs_log(
    context: typer.Context,
    run: RunId,
    lines: Annotated[int, typer.Option(min=1, help="so many of the last")] = 40,
) -> None:
    """Print the last lines of what a training's process said."""
    from core.errors import NotFoundError
    from loop.wiring import open_parts
    from retrain.runs.runner import find_run
    from retrain.runs.spec import LOG_FILE

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        path = Path(find_run(session, run).folder) / LOG_FILE
    if not path.is_file():
        raise NotFoundError(f"run {run} has no log yet: it waits for a device")
    for line in path.read_text(errors="replace").splitlines()[-lines:]:
        typer.echo(line)


def resume(
    context: typer.Context,
    run: RunId,
    even_if_it_may_not_fit: Annotated[
        bool,
        typer.Option("--even-if-it-may-not-fit", help="go on although memory seems too small"),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that broke off, from its newest whole checkpoint, and gate its adapter."""
    from loop import turn
    from loop.wiring import open_parts
    from retrain.runs.runner import broken_off, resume_run

    narrator = narrator_for(as_json)
    with open_parts(settings_of(context)) as parts:
        with parts.store.session() as session:
            own = broken_off(session, run).application  # before a progress bar appears
        keep_act(parts.store, "run_resumed", ("run", run, own), by=None)
        with narrator.training() as progress:
            adapter = resume_run(
                parts.store,
                parts.settings,
                run,
                progress=progress,
                even_if_it_may_not_fit=even_if_it_may_not_fit,
            )
        turn.tell_gate(adapter, narrator)
    if as_json:
        print_row(adapter)


def _follow(parts: Parts, run_id: str, as_json: bool) -> None:
    """Draw the run's progress until it has ended."""
    import time

    from retrain.launchers.following import Tail
    from retrain.runs import progress
    from retrain.runs.runner import ENDED

    folder = Path(_row(parts, run_id).folder)
    tail = Tail(folder / progress.FILE, from_start=True)
    with narrator_for(as_json).training() as tell:
        while True:
            ended = _row(parts, run_id).status in ENDED
            for line in tail.new():
                told = progress.parse_line(line)
                if told is not None:
                    tell(told)
            if ended:
                return
            time.sleep(LOOK_EVERY_S)


def _row(parts: Parts, run_id: str) -> Run:
    from retrain.runs.runner import find_run

    with parts.store.session() as session:
        return find_run(session, run_id)


def _facts(parts: Parts, run_id: str) -> dict[str, Any]:
    """Return the row, and where the run is by what it told last."""
    import msgspec

    from retrain.runs.progress import read_progress

    row = _row(parts, run_id)
    last = read_progress(Path(row.folder))
    return row.model_dump(mode="json") | {"progress": msgspec.to_builtins(last) if last else None}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items() if inner)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
