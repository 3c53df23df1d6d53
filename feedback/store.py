"""The store: one engine for SQLite (default) or PostgreSQL, and sessions on it.

Every stage opens short sessions on the one `Store` that the composition root built.
Knows how to connect and to create the tables, not what is asked of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine, event
from sqlmodel import Session, create_engine

from core.errors import SettingsError
from feedback.schema import upgrade

BUSY_TIMEOUT_MS = 15_000  # several processes share the file; a writer waits rather than fails


class Store:
    """An open database. Sessions keep loaded values after commit, so rows may outlive them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _connect(url)

    def create_tables(self) -> None:
        """Bring the schema to this version's revision; running it again changes nothing.

        Raises: SettingsError when the database is of another Ratchet.
        """
        upgrade(self.engine)

    def session(self) -> Session:
        """Return a new session; use it in a `with` block and commit what must stay."""
        return Session(self.engine, expire_on_commit=False)

    def compact(self) -> None:
        """Let go of deleted rows that are still beside SQLite's file; PostgreSQL vacuums itself."""
        if self.engine.dialect.name == "sqlite":
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _connect(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, json_deserializer=_json_value)
    path = url.removeprefix("sqlite:///")
    if path == url or path in {"", ":memory:"}:
        raise SettingsError(
            f"store.url is {url!r}, but several processes share the store: "
            "name a file, for instance sqlite:////var/lib/ratchet/store.db"
        )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, json_deserializer=_json_value)  # a fifth of json's time
    event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _json_value(raw: str | bytes) -> Any:
    """Return what a JSON column holds."""
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError:  # NaN and Infinity, which `json` writes: a loss may be that
        return json.loads(raw)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")  # the event log, not the store, is the truth
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA secure_delete = ON")  # an erased person leaves no bytes behind
    cursor.close()
