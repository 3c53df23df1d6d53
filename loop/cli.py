"""The command line `ratchet`: every stage of the loop, and the whole, by name.

Thin: each command loads the settings, opens the parts and calls one function of its stage.
Stages are imported by the command that needs them, so that `--help` answers at once. Errors
of Ratchet's own become one message on standard error and exit code 1; `--json` prints what
scripts read.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from core.errors import RatchetError, SettingsError
from loop.adapter_cli import adapter_app
from loop.advice_cli import advise, estimate
from loop.augment_cli import augment, judge
from loop.canary_cli import canary_app, promote, rollback
from loop.console_cli import console_app
from loop.cost_cli import cost_app
from loop.dataset_cli import dataset_app
from loop.db_cli import db_app
from loop.dead_letter_cli import dead_letter_app
from loop.drift_cli import drift_app
from loop.gate_cli import gate_app
from loop.incidents_cli import incidents_app
from loop.jobs_cli import jobs_app, scheduler
from loop.keys_cli import key_app
from loop.launch_cli import launch_app
from loop.merge_cli import merge
from loop.policy_cli import policy
from loop.review_cli import review_app
from loop.runs_cli import resume, runs_app
from loop.search_cli import search_app
from loop.spool_cli import spool_app
from loop.subject_cli import subject_app
from loop.terminal import (
    Application,
    AsJson,
    Requester,
    keep_act,
    narrator_for,
    out,
    print_json,
    print_row,
    require_words,
    settings_file,
    settings_of,
)
from loop.training_cli import retrain

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Make a model better, safely."
)


@app.callback()
def start(
    context: typer.Context,
    settings: Annotated[
        Path | None,
        typer.Option(envvar="RATCHET_SETTINGS", help="settings file; default: ratchet.toml"),
    ] = None,
) -> None:
    """Note the settings file for the command that follows."""
    context.obj = settings


@app.command()
def init(
    context: typer.Context,
    application: Annotated[str, typer.Argument(help="its name; callers ask for it as `model`")],
) -> None:
    """Write ratchet.toml with one application and a fresh API key, unless there is one."""
    from loop.first_settings import write_first_settings

    file, written = write_first_settings(settings_file(context), application)
    if written:
        out.print(f"{file} written: application {application}, its API key inside")
    else:
        out.print(f"{file} is there already; nothing was changed")


@app.command()
def up(context: typer.Context) -> None:
    """Start engine, gateway, ingest, conductor and scheduler; keep them running until Ctrl-C."""
    from loop.service import running_service, stopped_by_signals

    settings = settings_of(context)
    _require_applications(bool(settings.applications))
    stopping = threading.Event()
    with stopped_by_signals(stopping), running_service(settings, None, stopping) as service:
        with out.status("starting") as status:
            ready = service.wait_until_ready(
                lambda waited_s: status.update(f"starting, {waited_s:.0f} s (engine: about 40 s)")
            )
        if ready:
            out.print(f"[green]ready[/] at {settings.gateway.url}/v1 (Ctrl-C stops)")
        service.keep()
        out.print("stopping")


@app.command()
def engine(context: typer.Context) -> None:
    """Run vLLM and keep its adapters as the rollouts want them."""
    from loop.service import stopped_by_signals
    from loop.wiring import open_parts
    from serving.engine import serve_engine

    with (
        open_parts(settings_of(context), "engine") as parts,
        stopped_by_signals(threading.Event()) as stop,
    ):
        serve_engine(parts.settings, parts.store, stop)


@app.command()
def gateway(context: typer.Context) -> None:
    """Run the OpenAI-compatible front."""
    from loop.wiring import open_parts
    from serving.server import run_gateway

    settings = settings_of(context)
    _require_applications(bool(settings.applications))
    with open_parts(settings, "gateway") as parts:
        parts.log.depth()  # a log that cannot be opened is told now, not to the first client
        run_gateway(settings, store=parts.store, log=parts.log, keys=parts.keys)


@app.command()
def ingest(
    context: typer.Context,
    once: Annotated[bool, typer.Option(help="stop at the end of the log")] = False,
) -> None:
    """Apply the event log to the store."""
    from loop.ingesting import run_ingest
    from loop.service import stopped_by_signals
    from loop.wiring import INGEST, open_parts

    if once:
        with open_parts(settings_of(context)) as parts:
            out.print(f"{parts.ingest().drain()} records applied")
        return
    with (
        open_parts(settings_of(context), INGEST) as parts,
        stopped_by_signals(threading.Event()) as stop,
    ):
        run_ingest(parts, stop)


@app.command()
def relay(context: typer.Context) -> None:
    """Move what waits in the spools to Kafka; where Kafka is set, one of these for a machine."""
    from loop.relaying import run_relay
    from loop.service import stopped_by_signals

    with stopped_by_signals(threading.Event()) as stop:
        run_relay(settings_of(context), stop)


@app.command()
def curate(context: typer.Context, application: Application, as_json: AsJson = False) -> None:
    """Make a dataset version of what people rated and corrected."""
    from loop import turn
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        dataset = turn.curate(parts, application, narrator_for(as_json))
        keep_act(parts.store, "dataset_made", ("dataset", dataset.id, application), by=None)
        if as_json:
            print_row(dataset)


for command in (policy, scheduler, retrain, resume, merge, advise, estimate):
    app.command()(command)


@app.command("turn")
def turn_command(
    context: typer.Context,
    application: Application,
    by: Requester = None,
    as_json: AsJson = False,
) -> None:
    """Turn the whole loop once; needs `ratchet up` beside it."""
    from loop.turn import turn
    from loop.wiring import open_parts

    require_words(by=by)
    with open_parts(settings_of(context)) as parts:
        keep_act(parts.store, "loop_turned", ("application", application, application), by=by)
        result = turn(parts, application, narrator_for(as_json), requested_by=by)
    if as_json:
        print_json(
            {
                "dataset": result.dataset.id,
                "plan": result.plan.reason,
                "adapter": result.adapter.name if result.adapter else None,
                "rollout": result.rollout.id if result.rollout else None,
                "state": result.rollout.state if result.rollout else None,
            }
        )


for command in (augment, judge):
    app.command()(command)


for command in (promote, rollback):
    app.command()(command)
app.add_typer(canary_app, name="canary")
app.add_typer(incidents_app, name="incidents")
app.add_typer(jobs_app, name="jobs")
app.add_typer(key_app, name="key")
app.add_typer(adapter_app, name="adapter")
app.add_typer(console_app, name="console")
app.add_typer(cost_app, name="cost")
app.add_typer(dataset_app, name="dataset")
app.add_typer(gate_app, name="gate")
app.add_typer(drift_app, name="drift")
app.add_typer(launch_app, name="launch")
app.add_typer(runs_app, name="runs")
app.add_typer(search_app, name="search")
app.add_typer(review_app, name="review")
app.add_typer(spool_app, name="spool")
app.add_typer(db_app, name="db")
app.add_typer(dead_letter_app, name="dead-letter")
app.add_typer(subject_app, name="subject")


@app.command()
def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check every dependency, file and port, and say how to mend what is wrong."""
    import msgspec

    from core.settings import Settings
    from loop import doctor as doctors
    from loop.check import Check

    try:
        found = doctors.checks(settings_of(context))
    except SettingsError as error:
        mend = "correct that; what follows was checked with the defaults"
        # model_construct reads neither the file nor the environment, where the fault is
        defaults = Settings.model_construct()
        found = [Check("settings", False, error.message, mend), *doctors.checks(defaults)]
    if as_json:
        print_json([msgspec.to_builtins(check) for check in found])
    else:
        doctors.render(found, out)
    if any(check.ok is False for check in found):
        raise typer.Exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="where everything of the demo goes")] = Path("demo"),
    model: Annotated[Path, typer.Option(help="the base model's folder")] = Path(
        "models/smollm2-135m-instruct"
    ),
) -> None:
    """Show the whole loop on real parts with simulated users; 10 to 30 minutes on 2 cores."""
    from loop.demo.story import tell

    if not tell(folder, model, out):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; the console script's entry."""
    try:
        app()
    except RatchetError as error:
        sys.exit(f"error: {error.message}")
    except OSError as error:  # a full disk, a folder without access: it names the file itself
        sys.exit(f"error: {error}")


def _require_applications(any_set: bool) -> None:
    if not any_set:
        raise SettingsError(
            "no application is set, so nobody could call the gateway: run `ratchet init NAME`, "
            'or add [applications.NAME] with api_key = "..." to the settings file'
        )


if __name__ == "__main__":
    main()
