"""The commands on the event log: `ratchet spool status`, `drain` and `replay`.

Thin, as `loop.cli`: each opens what it needs and calls the log's own functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import RequestError
from loop.durations import duration
from loop.terminal import AsJson, out, print_json, print_table, settings_of

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from core.settings import Settings
    from feedback.log.protocol import Partition

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
    print_table(
        ("spool", "writer", "waiting", "oldest", "held", "full", "segments", "damaged"),
        [
            (
                *(spool.name, str(spool.writer or "none"), f"{spool.waiting:,}"),
                *(f"{spool.waiting_s:,.0f} s", f"{spool.bytes:,} bytes", f"{spool.share:.0%}"),
                *(str(spool.segments), str(spool.damaged)),
            )
            for spool in spools
        ],
    )


@spool_app.command("drain")
def spool_drain(context: typer.Context, as_json: AsJson = False) -> None:
    """Move on everything that waits, now: to Kafka where that is set, else into the store."""
    settings = settings_of(context)
    to = "Kafka" if settings.log.kafka.servers else "the store"
    with out.status(f"moving records to {to}") as status:

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
    out.print(f"{count:,} records moved to {to}; the spools are empty", highlight=False)


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
    if as_json:
        print_json({f"{part.topic}/{part.name}": position for part, position in moved.items()})
        return
    out.print(f"ingest begins again in {len(moved)} partitions: it will find them by itself")


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
