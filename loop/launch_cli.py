"""The commands on training elsewhere: `ratchet launch pack|spec|collect|hosted`.

Thin, as `loop.cli`. What a cluster can reach by itself needs none of them: see `retrain.launcher`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import RequestError
from loop.runs_cli import RunId
from loop.terminal import Application, AsJson, narrator_for, out, print_json, print_row, settings_of

launch_app = typer.Typer(no_args_is_help=True, help="Trainings on other people's machines.")

CLOUDS = ("sagemaker", "azureml", "vertex")


@launch_app.command("pack")
def launch_pack(
    context: typer.Context,
    run: RunId,
    into: Annotated[Path, typer.Option(help="a folder; made if there is none")],
) -> None:
    """Copy a run with data, base model and adapter, so that it can be sent anywhere."""
    from loop.wiring import open_parts
    from retrain.launchers.bundle import pack
    from retrain.runs.runner import find_run

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        folder = Path(find_run(session, run).folder)
    pack(folder, into, tell=lambda words: out.print(words, soft_wrap=True, highlight=False))
    out.print(f"{into} is whole by itself: `python -m retrain.runs.job {into}`", soft_wrap=True)


@launch_app.command("spec")
def launch_spec(
    context: typer.Context,
    run: RunId,
    on: Annotated[str, typer.Option(help=f"one of {', '.join(CLOUDS)}")],
    into: Annotated[Path, typer.Option(help="the folder that the file is written to")] = Path(),
    hours: Annotated[float, typer.Option(min=0.1, help="so long it may take")] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Write the job that a managed cloud's own tool submits, checked by its SDK."""
    from core.files import write_atomic
    from loop.wiring import open_parts
    from retrain.launchers.managed import specify
    from retrain.runs.runner import find_run
    from retrain.runs.spec import parallel_of

    if on not in CLOUDS:
        raise RequestError(f"--on is {on!r}: use one of {', '.join(CLOUDS)}", field="on")
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        found = find_run(session, run)
        made = specify(
            on,  # type: ignore[arg-type]
            found.id,
            parts.settings.launchers,
            max_s=round(hours * 3600),
            parallel=parallel_of(Path(found.folder)),
        )
    write_atomic(into / made.file, made.text)
    if as_json:
        print_json({"file": str(into / made.file), "submit": made.submit})
        return
    out.print(f"{into / made.file} is written; submit it with:", soft_wrap=True, highlight=False)
    out.print(f"  {made.submit}", soft_wrap=True, highlight=False)


@launch_app.command("collect")
def launch_collect(
    context: typer.Context,
    run: RunId,
    source: Annotated[Path, typer.Option("--from", help="the folder that came back")],
    as_json: AsJson = False,
) -> None:
    """Take over what a job elsewhere made of a run; gate and register its adapter."""
    from loop import turn
    from loop.wiring import open_parts
    from retrain.runs.runner import collect_run

    narrator = narrator_for(as_json)
    with open_parts(settings_of(context)) as parts:
        adapter = collect_run(parts.store, parts.settings, run, source)
        turn.tell_gate(adapter, narrator)
    if as_json:
        print_row(adapter)


@launch_app.command("hosted")
def launch_hosted(
    context: typer.Context,
    application: Application,
    dataset: Annotated[str, typer.Argument(help="a version, as `ratchet dataset list` shows it")],
    allow_upload: Annotated[
        bool, typer.Option("--allow-upload", help="people's words may leave this machine")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune OpenAI's or Azure OpenAI's model on a dataset version, over there."""
    from loop.wiring import open_parts
    from retrain.launchers.hosted_run import train_hosted

    if not allow_upload:
        raise RequestError(
            f"this sends the conversations of {dataset} to the model's owner, where `ratchet "
            "subject erase` does not reach them: say --allow-upload if they may leave this machine",
            field="allow_upload",
        )
    narrator = narrator_for(as_json)
    with open_parts(settings_of(context)) as parts, narrator.training() as progress:
        run = train_hosted(
            parts.store, parts.settings, application, dataset, tell=progress, say=narrator.tell
        )
    if as_json:
        print_row(run)
    else:
        narrator.tell(f"the tuned model is {run.details['hosted']['model']} (run {run.id})")
