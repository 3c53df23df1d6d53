"""What is too old goes: each application's interactions after its own time, with their feedback.

A store and the applications' times go in. On PostgreSQL a month of which nothing is kept is dropped
whole; everything else is deleted by batches, so that nobody waits long for a lock. Dataset
versions keep what was chosen of it: they have a life of their own (see erasure). Knows nothing of
when it is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, text

from core.settings import Settings
from feedback.partitions import ensure_months, partition_end, partitions
from feedback.store import Store

BATCH = 1_000  # rows in one transaction: some 50 ms

_OLD = (
    "SELECT id FROM interaction WHERE application = :application AND started_at < :before LIMIT "
    f"{BATCH}"
)


@dataclass(frozen=True, slots=True)
class Expired:
    """What was, or would be, deleted."""

    interactions: int = 0
    feedback: int = 0
    partitions: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.interactions or self.feedback or self.partitions)


def cutoffs(settings: Settings, now: datetime) -> dict[str, datetime]:
    """Return, for each application that keeps its interactions for a time, since when it does."""
    return {
        name: now - timedelta(days=application.keep_days)
        for name, application in settings.applications.items()
        if application.keep_days is not None
    }


def count_expired(store: Store, before: Mapping[str, datetime]) -> Expired:
    """Return what `expire` would delete, as rows."""
    interactions = feedback = 0
    with store.engine.connect() as connection:
        for application, instant in before.items():
            values = {"application": application, "before": _kept(connection, instant)}
            interactions += _scalar(
                connection,
                "SELECT count(*) FROM interaction "
                "WHERE application = :application AND started_at < :before",
                values,
            )
            feedback += _scalar(
                connection,
                "SELECT count(*) FROM feedback AS f JOIN interaction AS i "
                "ON i.id = f.interaction_id "
                "WHERE i.application = :application AND i.started_at < :before",
                values,
            )
    return Expired(interactions, feedback)


def expire(store: Store, before: Mapping[str, datetime]) -> Expired:
    """Delete what is older than its application's instant; return what that was."""
    with store.engine.begin() as connection:
        ensure_months(connection)
        interactions, feedback, dropped = _drop_months(connection, before)
    for application, instant in before.items():
        while True:
            with store.engine.begin() as connection:
                rows, given = _delete_batch(connection, application, instant)
            interactions, feedback = interactions + rows, feedback + given
            if rows < BATCH:
                break
    return Expired(interactions, feedback, dropped)


def _drop_months(
    connection: Connection, before: Mapping[str, datetime]
) -> tuple[int, int, tuple[str, ...]]:
    """Drop the months of which every row is too old."""
    if connection.dialect.name != "postgresql" or not before:
        return 0, 0, ()
    interactions, feedback, dropped = 0, 0, []
    for name in partitions(connection):
        values = {"applications": [app for app, at in before.items() if partition_end(name) <= at]}
        kept = f"SELECT 1 FROM {name} WHERE NOT (application = ANY(:applications)) LIMIT 1"
        if not values["applications"] or _scalar(connection, kept, values):
            continue
        interactions += _scalar(connection, f"SELECT count(*) FROM {name}", {})
        feedback += connection.execute(
            text(f"DELETE FROM feedback WHERE interaction_id IN (SELECT id FROM {name})")
        ).rowcount
        connection.execute(text(f"DROP TABLE {name}"))
        dropped.append(name)
    return interactions, feedback, tuple(dropped)


def _delete_batch(connection: Connection, application: str, before: datetime) -> tuple[int, int]:
    values = {"application": application, "before": _kept(connection, before)}
    ids = [row[0] for row in connection.execute(text(_OLD), values)]
    if not ids:
        return 0, 0
    given = connection.execute(
        _in("DELETE FROM feedback WHERE interaction_id IN :ids"), {"ids": ids}
    )
    connection.execute(_in("DELETE FROM interaction WHERE id IN :ids"), {"ids": ids})
    return len(ids), given.rowcount


def _in(statement: str) -> Any:
    return text(statement).bindparams(bindparam("ids", expanding=True))


def _scalar(connection: Connection, statement: str, values: Mapping[str, Any]) -> int:
    return connection.execute(text(statement), values).scalar() or 0


def _kept(connection: Connection, instant: datetime) -> datetime | str:
    """Return an instant as the database compares it: SQLite keeps texts without a zone."""
    if connection.dialect.name == "sqlite":
        return instant.replace(tzinfo=None).isoformat(" ", "microseconds")
    return instant
