"""The commands on the jobs of the whole service: `ratchet scheduler`, `ratchet jobs list|run`.

Thin, as `loop.cli`. A job that is run by hand is run by the leader, if there is one, so that it
never overlaps itself; if there is none, this command leads for as long as the job takes.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import StateError
from loop.terminal import AsJson, keep_act, out, print_json, print_table, settings_of

if TYPE_CHECKING:
    from feedback.job_tables import JobState
    from loop.jobs import Job
    from loop.wiring import Parts

jobs_app = typer.Typer(no_args_is_help=True, help="What the service does again and again.")

POLL_S = 0.2


def scheduler(context: typer.Context) -> None:
    """Run the jobs of the whole service, whenever no other scheduler does."""
    from loop.jobs import jobs_of
    from loop.scheduler import run_scheduler
    from loop.service import stopped_by_signals
    from loop.wiring import open_parts

    with (
        open_parts(settings_of(context), "scheduler") as parts,
        stopped_by_signals(threading.Event()) as stop,
    ):
        run_scheduler(parts, stop, jobs_of(parts.settings))


@jobs_app.command("list")
def jobs_list(context: typer.Context, as_json: AsJson = False) -> None:
    """List the jobs: how each went last, and when it comes next."""
    from loop.job_ledger import states
    from loop.jobs import jobs_of
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        known, jobs = states(session), jobs_of(parts.settings)
    shown = [_shown(job, known.get(job.name)) for job in jobs]
    if as_json:
        print_json(shown)
        return
    print_table(
        ("job", "every", "last started", "took", "result", "next"),
        [
            (
                *(job.name, f"{row['every_s']:g} s", _minute(row["last_started_at"])),
                *(_seconds(row["took_s"]), f"{row['state']}: {row['message']}".rstrip(": ")),
                _minute(row["next_at"]),
            )
            for job, row in zip(jobs, shown, strict=True)
        ],
    )


@jobs_app.command("run")
def jobs_run(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="a job, as `ratchet jobs list` shows it")],
    timeout_s: Annotated[float, typer.Option("--timeout", help="seconds to wait")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Run a job now and wait for it: here, or in the scheduler that leads."""
    from loop.job_ledger import states
    from loop.jobs import job_named
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        job = job_named(parts.settings, name)
        keep_act(parts.store, "job_wanted", ("job", name, None), by=None)
        if not _run_here(parts, job):
            _ask_leader(parts, job, timeout_s)
        with parts.store.session() as session:
            row = _shown(job, states(session)[name])
    if as_json:
        print_json(row)
    else:
        out.print(f"{name} {row['state']}: {row['message']}", markup=False, highlight=False)
    if row["state"] != "ok":
        raise typer.Exit(1)


def _run_here(parts: Parts, job: Job) -> bool:
    """Run it as the leader; return False if another leads."""
    from dataclasses import replace

    from loop.leadership import fenced, leader_of
    from loop.scheduler import run_job

    leader = leader_of(parts.store)
    term = leader.acquire()
    if term is None:
        return False
    try:
        with fenced(parts.store, term) as store:
            run_job(replace(parts, store=store), job, term)
    finally:
        leader.release()
    return True


def _ask_leader(parts: Parts, job: Job, timeout_s: float) -> None:
    """Let the leader run it; return when it has. Raises: StateError when that takes too long."""
    from core.clock import as_utc, utc_now
    from feedback.job_tables import JobState
    from loop.job_ledger import is_unfinished, want

    asked = utc_now()
    with parts.store.session() as session:
        want(session, job.name, asked)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        with parts.store.session() as session:
            state = session.get_one(JobState, job.name)
            started = state.last_started_at
        if started is not None and as_utc(started) >= asked and not is_unfinished(state):
            return
    raise StateError(
        f"the leader has not finished {job.name} after {timeout_s:g} s: "
        "look at `ratchet jobs list` and the scheduler's log, or give it a longer --timeout"
    )


def _shown(job: Job, state: JobState | None) -> dict[str, object]:
    from core.clock import as_utc
    from loop.job_ledger import is_unfinished

    row: dict[str, object] = {"job": job.name, "every_s": job.every_s, "state": "never ran"}
    row |= dict.fromkeys(("last_started_at", "last_finished_at", "took_s", "next_at", "leader"))
    if state is None or state.last_started_at is None:
        return row | {"message": ""}
    started, ended = as_utc(state.last_started_at), state.last_finished_at
    running = is_unfinished(state)
    took_s = None if running or ended is None else (as_utc(ended) - started).total_seconds()
    return row | {
        "state": "running" if running else "ok" if state.ok else "failed",
        "message": state.message,
        "last_started_at": started,
        "last_finished_at": ended and as_utc(ended),
        "took_s": took_s,
        "next_at": state.next_at and as_utc(state.next_at),
        "leader": state.leader,
    }


def _minute(at: object) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if isinstance(at, datetime) else ""


def _seconds(took_s: object) -> str:
    return f"{took_s:.1f} s" if isinstance(took_s, float) else ""
