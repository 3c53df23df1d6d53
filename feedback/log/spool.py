"""The embedded event log: one SQLite file that every process of the service shares.

Records come in by batches, each batch in one fsynced transaction, and go out by topic in order
of offset. Offsets are row ids: they grow over all topics of the file and are never used twice.
A batch that a crash interrupts disappears whole; one that was acknowledged stays. Knows nothing
of what records mean or of who has read them.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.errors import LogFullError, SettingsError
from feedback.log.protocol import Depth, NewRecord, Partition, Record

BUSY_TIMEOUT_MS = 15_000  # other processes append to the same file; a writer waits for its turn

_TABLE = """
CREATE TABLE IF NOT EXISTS record (
    "offset" INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    "key" TEXT NOT NULL,
    value BLOB NOT NULL
)"""
_INDEX = 'CREATE INDEX IF NOT EXISTS record_topic ON record (topic, "offset")'
_INSERT = 'INSERT INTO record (topic, "key", value) VALUES (?, ?, ?)'
_SELECT = (
    'SELECT "offset", "key", value FROM record '
    'WHERE topic = ? AND "offset" > ? ORDER BY "offset" LIMIT ?'
)
# two look-ups in the primary key, however many records there are
_SELECT_COUNT = (
    'SELECT (SELECT max("offset") FROM record) + 1 - min("offset") '
    'FROM (SELECT "offset" FROM record ORDER BY "offset" LIMIT 1)'
)
_SELECT_END = 'SELECT coalesce(max("offset"), 0) FROM record WHERE topic = ?'


class Spool:
    """An event log in the file `path`; any thread may use it, any process may open it too."""

    def __init__(self, path: Path, *, max_bytes: int, durable: bool = True) -> None:
        """Open the file, or make it.

        `max_bytes` limits the file without its write-ahead log, which SQLite keeps to a few
        MB. `durable=False` leaves the fsync to the operating system: a power cut may then
        take the last records, a crash of the process none.

        Raises: SettingsError when `path` is not such a file.
        """
        self.path = path
        self.max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._writer = _open_writer(path, max_bytes, durable=durable)
            self._reader = _connect(path)  # its own, so that ingest never delays an append
        except sqlite3.DatabaseError as error:
            raise SettingsError(
                f"cannot open the event log {path}: {error}. "
                "Move the file away, or set data_dir to a folder that can be written"
            ) from error
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()

    def append(self, records: Sequence[NewRecord]) -> None:
        """Return once every record is on disk, all of them or none.

        Raises: LogFullError when they do not fit.
        """
        rows = [(record.topic, record.key, record.value) for record in records]
        with self._write_lock:
            try:
                with _transaction(self._writer):
                    self._writer.executemany(_INSERT, rows)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                    raise self._full() from error
                raise

    def read(self, topic: str, *, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records of `topic` with offset above `after`, in order."""
        with self._read_lock:
            rows = self._reader.execute(_SELECT, (topic, after, limit)).fetchall()
        partition = Partition(topic, self.path.stem)
        return [Record(partition, offset, key, value) for offset, key, value in rows]

    def end(self, topic: str) -> int:
        """Return the offset of the newest record of `topic`, or 0 when there is none."""
        with self._read_lock:
            return self._reader.execute(_SELECT_END, (topic,)).fetchone()[0]

    def depth(self) -> Depth:
        """Return what the file holds, without reading through it."""
        with self._read_lock:
            records = self._reader.execute(_SELECT_COUNT).fetchone()[0]
            return Depth(records or 0, _size_bytes(self._reader), self.max_bytes)

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._writer.close()  # last, so that it can fold the write-ahead log into the file

    def _full(self) -> LogFullError:
        return LogFullError(
            f"the event log {self.path} is full: it holds {_size_bytes(self._writer):,} bytes "
            f"and log.max_bytes is {self.max_bytes:,}. Raise log.max_bytes, "
            "or free space on its disk if that is what ran out"
        )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return connection


def _open_writer(path: Path, max_bytes: int, *, durable: bool) -> sqlite3.Connection:
    connection = _connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    with _transaction(connection):
        connection.execute(_TABLE)
        connection.execute(_INDEX)
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    # SQLite itself refuses to grow beyond this, and reports it like a full disk
    connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page_bytes)}")
    return connection


def _size_bytes(connection: sqlite3.Connection) -> int:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return (pages - free) * connection.execute("PRAGMA page_size").fetchone()[0]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # SQLite rolls back by itself after some faults
            connection.execute("ROLLBACK")
