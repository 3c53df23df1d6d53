"""The commands on rollouts: `ratchet canary …`, `ratchet promote` and `ratchet rollback`.

Thin, as `loop.cli`: each opens the parts and calls the conductor or a report.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from core.errors import RequestError
from loop.terminal import (
    AsJson,
    Operator,
    Reason,
    RolloutId,
    keep_act,
    narrator_for,
    out,
    print_json,
    print_row,
    require_words,
    settings_of,
)

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from feedback.tables import Rollout
    from loop.conductor import Conductor
    from loop.wiring import Parts

canary_app = typer.Typer(
    no_args_is_help=True, help="Rollouts: start, list, run, report, explain, pause, resume."
)


@canary_app.command("start")
def canary_start(
    context: typer.Context,
    adapter: Annotated[str, typer.Argument(help="an adapter, as `ratchet adapter list` lists it")],
    override_by: Annotated[
        str | None, typer.Option(help="send it past a failed gate; your name is kept")
    ] = None,
    reason: Annotated[str, typer.Option(help="why the gate is overridden")] = "",
    wait: Annotated[bool, typer.Option(help="return when it is decided")] = False,
) -> None:
    """Begin the rollout of an adapter that passed the gate."""
    from feedback.audit import HumanAct, record
    from loop.turn import start_canary, wait_for_decision
    from loop.wiring import open_parts
    from retrain.registry.ledger import record_override

    if reason and override_by is None:
        raise RequestError("--reason is for an override: say by whom with --override-by")
    with open_parts(settings_of(context)) as parts:
        if override_by is not None:
            with parts.store.session() as session:
                row = record_override(session, adapter, operator=override_by, reason=reason)
                place = ("adapter", adapter, row.application)
                record(session, HumanAct(override_by, "gate_overridden", *place, reason))
                session.commit()
        rollout = start_canary(parts, adapter)
        place = ("rollout", rollout.id, rollout.application)
        keep_act(parts.store, "rollout_started", place, by=override_by, adapter=adapter)
        out.print(f"rollout {rollout.id} of {adapter} has begun", soft_wrap=True)
        if wait:
            wait_for_decision(parts, rollout.id, narrator_for(as_json=False))


@canary_app.command("list")
def canary_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List all rollouts, the newest last, with what is missing to their decision."""
    from sqlmodel import col, select

    from feedback.tables import Rollout
    from loop.canary_view import draw_rollouts
    from loop.wiring import open_parts
    from monitoring.report import read_forecasts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = session.exec(select(Rollout).order_by(col(Rollout.created_at))).all()
        forecasts = read_forecasts(session)
    if as_json:
        told = [row.model_dump(mode="json") | {"forecast": forecasts.get(row.id)} for row in rows]
        print_json(told)
        return
    draw_rollouts(rows, {rollout: forecast["says"] for rollout, forecast in forecasts.items()})


@canary_app.command("explain")
def canary_explain(
    context: typer.Context,
    named: Annotated[
        str,
        typer.Argument(metavar="ID", help="a verdict, or a rollout: its last decisive verdict"),
    ],
    as_json: AsJson = False,
) -> None:
    """Compute a decision again from its stored counts and settings, and show every number.

    Ends with 1 when it does not come out the same.
    """
    from loop.canary_view import draw_explanation
    from loop.wiring import open_parts
    from monitoring.explanation import explain

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        told = explain(session, named)
    if as_json:
        print_json(told.plain())
    else:
        draw_explanation(told)
    if not told.same:
        raise typer.Exit(1)


@canary_app.command("run")
def canary_run(context: typer.Context) -> None:
    """Judge and move all rollouts again and again."""
    from loop.service import stopped_by_signals
    from loop.wiring import open_parts

    with (
        open_parts(settings_of(context), "conductor") as parts,
        stopped_by_signals(threading.Event()) as stop,
    ):
        _conductor(parts).run(stop)


@canary_app.command("report")
def canary_report(context: typer.Context, rollout: RolloutId) -> None:
    """Write the rollout's HTML report and print where it is."""
    from loop.wiring import open_parts
    from monitoring.report import write_rollout_report

    with open_parts(settings_of(context)) as parts:
        page = write_rollout_report(parts.store, rollout, parts.settings.folder("reports"))
    out.print(escape(str(page)), soft_wrap=True, highlight=False)


@canary_app.command("pause")
def canary_pause(
    context: typer.Context,
    rollout: RolloutId,
    by: Operator,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Send everyone to the baseline until somebody decides."""
    with _by_hand(context, by=by, reason=reason) as conductor:
        row = conductor.pause(rollout, operator=by, reason=reason)
    _tell_moved(row, as_json)


@canary_app.command("resume")
def canary_resume(
    context: typer.Context,
    rollout: RolloutId,
    by: Operator,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Go on with a paused rollout where it was."""
    with _by_hand(context, by=by, reason=reason) as conductor:
        row = conductor.resume(rollout, operator=by, reason=reason)
    _tell_moved(row, as_json)


def promote(
    context: typer.Context,
    rollout: RolloutId,
    by: Operator,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Promote a canary by hand; the watch still follows."""
    with _by_hand(context, by=by, reason=reason) as conductor:
        row = conductor.promote(rollout, operator=by, reason=reason)
    _tell_moved(row, as_json)


def rollback(
    context: typer.Context,
    rollout: RolloutId,
    by: Operator,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Take an adapter out of traffic by hand."""
    with _by_hand(context, by=by, reason=reason) as conductor:
        row = conductor.roll_back(rollout, operator=by, reason=reason)
    _tell_moved(row, as_json)


@contextmanager
def _by_hand(context: typer.Context, *, by: str, reason: str) -> Generator[Conductor]:
    """Give the conductor to somebody who says who they are and why."""
    from loop.wiring import open_parts

    require_words(by=by, reason=reason)
    with open_parts(settings_of(context)) as parts:
        yield _conductor(parts)


def _conductor(parts: Parts) -> Conductor:
    from loop.conductor import Conductor

    return Conductor(parts.store, parts.log, parts.settings.canary)


def _tell_moved(row: Rollout, as_json: bool) -> None:
    if as_json:
        print_row(row)
        return
    moved = f"rollout {row.id} is now {row.state} ({row.share:.0%} canary): {row.reason}"
    out.print(escape(moved), soft_wrap=True)
