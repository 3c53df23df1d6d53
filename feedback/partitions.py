"""PostgreSQL's monthly partitions of interactions; SQLite has one table and nothing to do.

They are made ahead of time, and where one was late its rows are fetched from the default
partition, which takes whatever has no month of its own. Knows nothing of retention's rules.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from sqlalchemy import Connection, text

from core.clock import utc_now

AHEAD = 2  # months beyond this one: a chore that fails for weeks is still in time
DEFAULT = "interaction_default"
PREFIX = "interaction_p"


def ensure_months(connection: Connection) -> list[str]:
    """Make the partitions of this month and of the next ones; return which were made."""
    return [make_month(connection, month) for month in missing_months(connection)]


def missing_months(connection: Connection) -> list[date]:
    """Return the first days of months that should have a partition and have none."""
    if connection.dialect.name != "postgresql":
        return []
    there = set(partitions(connection))
    today = utc_now().date().replace(day=1)
    wanted = [add_months(today, number) for number in range(AHEAD + 1)]
    return [month for month in wanted if partition_name(month) not in there]


def partitions(connection: Connection) -> list[str]:
    """Return the names of the monthly partitions, oldest first."""
    found = connection.execute(
        text(
            "SELECT inhrelid::regclass::text FROM pg_inherits "
            "WHERE inhparent = 'interaction'::regclass"
        )
    )
    return sorted(name for (name,) in found if name.startswith(PREFIX))


def partition_name(month: date) -> str:
    """Return the name of a month's partition."""
    return f"{PREFIX}{month:%Y_%m}"


def partition_end(name: str) -> datetime:
    """Return the instant at which a partition's month is over."""
    year, month = name.removeprefix(PREFIX).split("_")
    after = add_months(date(int(year), int(month), 1), 1)
    return datetime(after.year, after.month, 1, tzinfo=UTC)


def add_months(month: date, count: int) -> date:
    """Return the first day of the month that comes `count` months later."""
    number = month.year * 12 + month.month - 1 + count
    return date(number // 12, number % 12 + 1, 1)


def make_month(connection: Connection, month: date) -> str:
    """Make a month's partition, with the rows that wait for it in the default one."""
    name, after = partition_name(month), add_months(month, 1)
    bounds = f"'{month:%Y-%m-%d} 00:00:00+00'", f"'{after:%Y-%m-%d} 00:00:00+00'"
    for statement in (
        f"CREATE TABLE {name} (LIKE interaction INCLUDING ALL)",
        f"WITH moved AS (DELETE FROM {DEFAULT} WHERE started_at >= {bounds[0]} "
        f"AND started_at < {bounds[1]} RETURNING *) INSERT INTO {name} SELECT * FROM moved",
        f"ALTER TABLE interaction ATTACH PARTITION {name} "
        f"FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})",
    ):
        connection.execute(text(statement))
    return name
