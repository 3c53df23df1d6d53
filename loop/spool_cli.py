"""The commands on the event log: `ratchet spool status`, `drain` and `replay`.

Thin, as `loop.cli`: each opens what it needs and calls the log's own functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from core.errors import RequestError
from loop.durations import duration
from loop.terminal import AsJson, keep_act, out, print_json, print_table, settings_of

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from core.settings import Settings
    from feedback.log.protocol import Partition

MB = 1e6

spool_app = typer.Typer(no_args_is_help=True, help="What waits in this machine's spools.")


@spool_app.command("status")
def spool_status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what each spool holds, who writes it, and how far it has been moved on."""
    from feedback.log.spool_status import spool_statuses

    settings = settings_of(context)
    topics, positions = _read_so_far(settings)
    spools = spool_statuses(settings.spool_dir, topics, positions, settings.log.max_bytes)
    if as_json:
        print_json([asdict(spool) | {"share": spool.share} for spool in spools])
        return
    if not spools:
        out.print(f"no process has written anything to {settings.spool_dir} yet", soft_wrap=True)
        return
    print_table(
        ("spool", "writer", "records", "oldest", "waiting", "held", "files"),
        [
            (
                *(spool.name, str(spool.writer or "none"), f"{spool.records:,}"),
                age(spool.oldest_s),
                f"{spool.waiting:,}" + (f", {age(spool.waiting_s)}" if spool.waiting else ""),
                f"{spool.bytes / MB:,.0f} MB, {spool.share:.0%}",
                str(spool.segments) + (f", {spool.damaged} bad" if spool.damaged else ""),
            )
            for spool in spools
        ],
    )
    out.print(
        f"each may hold {settings.log.max_bytes / MB:,.0f} MB: log.max_bytes", highlight=False
    )


@spool_app.command("drain")
def spool_drain(context: typer.Context, as_json: AsJson = False) -> None:
    """Move on everything that waits, now: to Kafka where that is set, else into the store."""
    settings = settings_of(context)
    to = "Kafka" if settings.log.kafka.servers else "the store"
    console = Console(stderr=True) if as_json else out  # standard output stays JSON alone
    with console.status(f"moving records to {to}") as status:

        def told(count: int) -> None:
            status.update(f"moving records to {to}: {count:,} so far")

        if settings.log.kafka.servers:
            from loop.relaying import opened_relay

            with opened_relay(settings) as relay:
                count = relay.drain(told)
        else:
            from loop.wiring import open_parts

            with open_parts(settings) as parts:
                count = parts.ingest().drain(told)
    if as_json:
        print_json({"moved": count, "to": to})
        return
    out.print(f"{count:,} records moved to {to}; nothing waits", highlight=False)


@spool_app.command("replay")
def spool_replay(
    context: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(help="an instant (2026-01-31T12:00) or an age (2h, 7d); default: all held"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let ingest apply again what the log still holds; what the store has already stays once."""
    from feedback.positions import rewind
    from loop.wiring import open_parts

    settings = settings_of(context)
    with open_parts(settings) as parts:
        moved = rewind(parts.store, parts.source, None if since is None else instant(since))
        waiting = sum(parts.ingest().lag().values())
        keep_act(parts.store, "log_replayed", ("log", since or "all", None), by=None)
    if as_json:
        places = {f"{part.topic}/{part.name}": position for part, position in moved.items()}
        print_json({"moved": places, "waiting": waiting})
        return
    if not moved:
        out.print("nothing was set back: what the log holds of that time is not applied yet")
        return
    out.print(
        f"ingest was set back in {len(moved)} partitions and has up to {waiting:,} records to "
        "apply again; those that the store has already stay once. A running ingest finds them by "
        "itself; `ratchet spool drain` applies them now",
        highlight=False,
        soft_wrap=True,
    )


def age(seconds: float) -> str:
    """Return an age as people read it."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def instant(text: str) -> datetime:
    """Return the instant that `text` names, or the one that is so long ago.

    Raises: RequestError.
    """
    from core.clock import as_utc, utc_now

    try:
        return as_utc(datetime.fromisoformat(text))
    except ValueError:
        pass
    try:
        return utc_now() - duration(text, "since")
    except RequestError as error:
        raise RequestError(
            f"--since is {text!r}: write an instant such as 2026-01-31T12:00, or an age such as 7d",
            field="since",
        ) from error


def _read_so_far(settings: Settings) -> tuple[Sequence[str], Mapping[Partition, int]]:
    """Return the topics that leave the spools, and how far whoever moves them on has come."""
    if settings.log.kafka.servers:
        from feedback.log.kafka_client import TOPICS
        from feedback.log.relay import POSITIONS_FILE, RelayPositions

        return TOPICS, RelayPositions(settings.spool_dir / POSITIONS_FILE).read()
    from feedback.events import SOURCES
    from feedback.positions import read_positions
    from loop.wiring import open_parts

    with open_parts(settings) as parts, parts.store.session() as session:
        return SOURCES, read_positions(session)
