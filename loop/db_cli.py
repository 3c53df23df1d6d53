"""The commands on the store: `ratchet db upgrade|check|downgrade|retention`.

Thin, as `loop.cli`. The service upgrades by itself when it starts; these are for those who want to
do it before, to look, or to go back.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import SettingsError
from loop.terminal import AsJson, keep_act, out, print_json, settings_of

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from core.settings import Settings
    from feedback.store import Store

db_app = typer.Typer(no_args_is_help=True, help="The store: its schema and what it keeps.")


@db_app.command("upgrade")
def db_upgrade(context: typer.Context, as_json: AsJson = False) -> None:
    """Bring the schema to this version's revision, and make the months that are missing."""
    from feedback import schema
    from feedback.partitions import ensure_months

    with _store(settings_of(context)) as store:
        before = schema.upgrade(store.engine)
        with store.engine.begin() as connection:
            made = ensure_months(connection)
    if as_json:
        print_json({"before": before, "now": schema.HEAD, "partitions": made})
        return
    told = f"at {schema.HEAD} already" if before == schema.HEAD else f"{before} → {schema.HEAD}"
    out.print(f"the schema is {told}", highlight=False)


@db_app.command("downgrade")
def db_downgrade(
    context: typer.Context,
    to: Annotated[str, typer.Argument(help="a revision, or base: no tables at all")],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Take the schema back; what only newer revisions hold is lost."""
    from feedback import schema

    if not yes:
        typer.confirm(f"go back to {to}? What only newer revisions hold is lost", abort=True)
    with _store(settings_of(context)) as store:
        before = schema.downgrade(store.engine, to)
    if as_json:
        print_json({"before": before, "now": None if to == "base" else to})
        return
    out.print(f"the schema was {before} and is {to}", highlight=False)


@db_app.command("check")
def db_check(context: typer.Context, as_json: AsJson = False) -> None:
    """Say whether schema, code and partitions agree; exit code 1 if not."""
    from feedback import schema

    with _store(settings_of(context)) as store:
        found = schema.problems(store.engine)
    if as_json:
        print_json({"ok": not found, "revision": schema.HEAD, "problems": found})
    else:
        for problem in found or [f"the store is as it should be, at {schema.HEAD}"]:
            out.print(problem, highlight=False)
    if found:
        raise typer.Exit(1)


@db_app.command("retention")
def db_retention(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option(help="only count")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete now what is older than its application's keep_days; the service does it daily."""
    from dataclasses import asdict

    from core.clock import utc_now
    from feedback.retention import count_expired, cutoffs, expire

    settings = settings_of(context)
    before = cutoffs(settings, utc_now())
    with _store(settings) as store:
        gone = count_expired(store, before) if dry_run else expire(store, before)
        if not dry_run:
            counts = {"interactions": gone.interactions, "feedback": gone.feedback}
            keep_act(store, "old_data_deleted", ("store", "retention", None), by=None, **counts)
    if as_json:
        print_json(asdict(gone) | {"deleted": not dry_run})
        return
    if not before:
        out.print("no application has keep_days set: everything is kept")
        return
    verb = "would go" if dry_run else "are gone"
    out.print(f"{gone.interactions:,} interactions and {gone.feedback:,} feedback {verb}")


@contextmanager
def _store(settings: Settings) -> Generator[Store]:
    from sqlalchemy.exc import SQLAlchemyError

    from feedback.store import Store

    store = Store(settings.store_address)
    try:
        yield store
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise SettingsError(
            f"the store does not answer: {reason}. Start the database or set store_url"
        ) from error
    finally:
        store.close()
