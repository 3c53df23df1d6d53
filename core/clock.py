"""Time as a value: UTC instants for records, so that decisions can take `now` as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the current instant, aware, in UTC."""
    return datetime.now(UTC)


def as_utc(instant: datetime) -> datetime:
    """Return `instant` in UTC; a naive one (SQLite gives them back so) is taken to be UTC."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
