"""Many rows at once, as quickly as each database takes them: new ones only, or by their ids.

Values are plain: texts, numbers, instants as the database's driver wants them. SQLite gets one
prepared statement for all rows, PostgreSQL a COPY into a temporary table. Everything happens in
the session's transaction. Knows nothing of what rows mean.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import Connection, exc
from sqlmodel import Session

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A table, the columns that rows have values for, and the one that tells rows apart."""

    table: str
    columns: tuple[str, ...]
    key: str


class Bulk(Protocol):
    """The two databases' ways, in one transaction."""

    def insert_new(self, target: Target, rows: Sequence[Row]) -> None:
        """Insert the rows that break no unique constraint and whose key is not there yet."""
        ...

    def select(self, query: str, ids: Sequence[str]) -> list[Row]:
        """Return what `query` finds; its `{ids}` stands for the set of `ids`."""
        ...

    def update_flag(self, table: str, column: str, key: str, rows: Sequence[Row]) -> None:
        """Set the column of each row, given as (value, key)."""
        ...

    def instant(self, at: datetime) -> Any:
        """Return an instant as the database keeps it."""
        ...


def bulk_of(session: Session) -> Bulk:
    """Return the way of the session's database."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        return SqliteBulk(connection)
    return PostgresBulk(connection)


class SqliteBulk:
    """Prepared statements; ids travel as one JSON array."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert_new(self, target: Target, rows: Sequence[Row]) -> None:
        """Insert the rows that break no unique constraint."""
        if rows:
            marks = ", ".join("?" * len(target.columns))
            # not OR IGNORE: that would also pass over a NULL where none may be
            self._connection.exec_driver_sql(
                f'INSERT INTO "{target.table}" ({_names(target.columns)}) VALUES ({marks}) '
                "ON CONFLICT DO NOTHING",
                list(rows),
            )

    def select(self, query: str, ids: Sequence[str]) -> list[Row]:
        """Return what `query` finds."""
        found = self._connection.exec_driver_sql(
            query.format(ids="IN (SELECT value FROM json_each(?))"), (json.dumps(list(ids)),)
        )
        return [tuple(row) for row in found]

    def update_flag(self, table: str, column: str, key: str, rows: Sequence[Row]) -> None:
        """Set the column of each row."""
        if rows:
            statement = f'UPDATE "{table}" SET "{column}" = ? WHERE "{key}" = ?'
            self._connection.exec_driver_sql(statement, list(rows))

    def instant(self, at: datetime) -> str:
        """Return the instant as SQLAlchemy writes it: UTC without saying so."""
        naive = at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
        return naive.isoformat(" ", "microseconds")


class PostgresBulk:
    """COPY into a temporary table, and what is new from there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def insert_new(self, target: Target, rows: Sequence[Row]) -> None:
        """Insert the rows that break no unique constraint and whose key is not there yet.

        The key is looked for, because a table that is partitioned by time cannot keep it unique.
        """
        if not rows:
            return
        staging, names = f"staging_{target.table}", _names(target.columns)
        self._connection.exec_driver_sql(
            f'CREATE TEMPORARY TABLE IF NOT EXISTS "{staging}" ON COMMIT DELETE ROWS '
            f'AS SELECT {names} FROM "{target.table}" WITH NO DATA'
        )
        self._copy(f'COPY "{staging}" ({names}) FROM STDIN', rows)
        self._connection.exec_driver_sql(
            f'INSERT INTO "{target.table}" ({names}) SELECT {names} FROM "{staging}" AS s '
            f'WHERE NOT EXISTS (SELECT 1 FROM "{target.table}" AS t '
            f'WHERE t."{target.key}" = s."{target.key}") ON CONFLICT DO NOTHING'
        )
        self._connection.exec_driver_sql(f'TRUNCATE "{staging}"')

    def select(self, query: str, ids: Sequence[str]) -> list[Row]:
        """Return what `query` finds."""
        found = self._connection.exec_driver_sql(query.format(ids="= ANY(%s)"), (list(ids),))
        return [tuple(row) for row in found]

    def update_flag(self, table: str, column: str, key: str, rows: Sequence[Row]) -> None:
        """Set the column of each row."""
        for value in {row[0] for row in rows}:
            keys = [key for own, key in rows if own == value]
            statement = f'UPDATE "{table}" SET "{column}" = %s WHERE "{key}" = ANY(%s)'
            self._connection.exec_driver_sql(statement, (value, keys))

    def instant(self, at: datetime) -> datetime:
        """Return the instant in UTC."""
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at

    def _copy(self, statement: str, rows: Sequence[Row]) -> None:
        dbapi: Any = self._connection.dialect.loaded_dbapi
        driver: Any = self._connection.connection.driver_connection
        try:
            with driver.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)
        except dbapi.DataError as error:  # SQLAlchemy's own names, as for every other statement
            raise exc.DataError(statement, None, error) from error
        except dbapi.IntegrityError as error:
            raise exc.IntegrityError(statement, None, error) from error
        except dbapi.Error as error:
            raise exc.OperationalError(statement, None, error) from error


def _names(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)
