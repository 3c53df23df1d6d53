"""The store's schema: which revision it has, and how it gets to another one.

An engine goes in. One cheap query tells whether anything is to be done: Alembic is loaded only
then. Two processes that start at once wait for each other. Knows nothing of what rows mean.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, inspect, text

from core.errors import SettingsError
from feedback.partitions import ensure_months, missing_months

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parent / "migrations"
LOCK_KEY = 0x7261746368657400  # of PostgreSQL's advisory locks: "ratchet"
VERSIONS = sorted(path.stem[1:5] for path in (FOLDER / "versions").glob("v[0-9]*.py"))
HEAD = VERSIONS[-1]


def revision(engine: Engine) -> str | None:
    """Return the schema's revision, or None if the database has none yet."""
    with engine.connect() as connection:
        return _revision(connection)


def upgrade(engine: Engine, to: str = HEAD) -> str | None:
    """Bring the schema to `to`, if it is not there or beyond; return what it was before.

    Raises: SettingsError when the database is of a newer Ratchet, or of one without revisions.
    """
    before = revision(engine)
    if before == to:
        return before
    with _alone(engine) as connection:
        before = _require_ours(connection, engine)
        if before is None or before < to:
            _run(connection, "upgrade", to)
        ensure_months(connection)
    return before


def downgrade(engine: Engine, to: str) -> str | None:
    """Take the schema back to `to` (`base`: to nothing); return what it was before.

    Raises: SettingsError, as `upgrade`, and when there is no such revision.
    """
    if to not in {*VERSIONS, "base"}:
        raise SettingsError(f"no revision {to!r}: there are {', '.join(VERSIONS)} and base")
    with _alone(engine) as connection:
        before = _require_ours(connection, engine)
        _run(connection, "downgrade", to)
    return before


def problems(engine: Engine) -> list[str]:
    """Return what is wrong with the schema, with its mend; nothing if it is as it should be."""
    have = revision(engine)
    if have != HEAD:
        return [f"the schema is at {have or 'nothing'}, not {HEAD}: run `ratchet db upgrade`"]
    with engine.connect() as connection:
        found = [f"database and code differ: {told}" for told in _differences(connection)]
        months = ", ".join(f"{month:%Y-%m}" for month in missing_months(connection))
    if months:
        found.append(f"no partition for {months}: run `ratchet db upgrade`")
    return found


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _require_ours(connection: Connection, engine: Engine) -> str | None:
    have = _revision(connection)
    shown = engine.url.render_as_string(hide_password=True)
    if have is None and inspect(connection).has_table("interaction"):
        raise SettingsError(
            f"the store {shown} was made by a Ratchet before 0.2, which kept no revision of it: "
            "set store_url or data_dir to a new place, or delete it if nothing in it is needed"
        )
    if have is not None and have not in VERSIONS:
        raise SettingsError(
            f"the store {shown} is at revision {have}, and this Ratchet knows only {HEAD}: "
            "run the newer Ratchet, or take the store back with its `ratchet db downgrade`"
        )
    return have


@contextmanager
def _alone(engine: Engine) -> Generator[Connection]:
    """Give a connection in a transaction, while other processes that want the same wait."""
    if engine.dialect.name == "sqlite":
        with _file_lock(Path(f"{engine.url.database}.lock")), engine.begin() as connection:
            yield connection
        return
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
        yield connection


@contextmanager
def _file_lock(path: Path) -> Generator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


def _run(connection: Connection, direction: str, to: str) -> None:
    from alembic import command

    getattr(command, direction)(_config(connection), to)


def _differences(connection: Connection) -> list[str]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from feedback.all_tables import METADATA

    partitioned = connection.dialect.name == "postgresql"

    def included(thing: Any, name: str | None, kind: str, reflected: bool, _other: Any) -> bool:
        if kind == "table":  # partitions are the database's own
            return not (reflected and (name or "").startswith("interaction_"))
        # a partitioned table's unique constraint holds its time too
        return not (
            partitioned and kind == "unique_constraint" and thing.table.name == "interaction"
        )

    migration = MigrationContext.configure(connection, opts={"include_object": included})
    return [_told(difference) for difference in compare_metadata(migration, METADATA)]


def _told(difference: Any) -> str:
    return " ".join(str(part) for part in difference if part is not None)
