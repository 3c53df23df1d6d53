"""One file of a spool: SQLite in WAL mode, records by topic in order of offset.

Its name is the first offset that it may hold. One process writes it, any may read it at the same
time and never writes. A batch that a crash interrupts disappears whole; one that was acknowledged
stays. A file that is damaged gives back what can still be read of it. Knows nothing of the other
files of its spool.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from feedback.log.protocol import NewRecord

BUSY_TIMEOUT_MS = 15_000  # an erasure holds the file for as long as it takes to rewrite
SUFFIX = ".db"
DAMAGED_SUFFIX = ".damaged"
SAVED_SUFFIX = ".saved"
MIN_RECORD_BYTES = 8  # no record is smaller: a file holds no more than its size by this

_TABLE = """
CREATE TABLE IF NOT EXISTS record (
    "offset" INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    "key" TEXT NOT NULL,
    value BLOB NOT NULL,
    at REAL NOT NULL
)"""
_INDEX = 'CREATE INDEX IF NOT EXISTS record_topic ON record (topic, "offset")'
_INSERT = 'INSERT INTO record ("offset", topic, "key", value, at) VALUES (?, ?, ?, ?, ?)'
_SELECT = (
    'SELECT "offset", "key", value FROM record '
    'WHERE topic = ? AND "offset" > ? ORDER BY "offset" LIMIT ?'
)

Row = tuple[int, str, bytes]
WholeRow = tuple[int, str, str, bytes, float]


@dataclass(frozen=True, slots=True)
class Content:
    """What a segment holds; `last` is its highest offset, `oldest_at` in seconds since 1970."""

    records: int
    last: int
    oldest_at: float | None


def segment_path(folder: Path, first: int) -> Path:
    """Return the file of the segment whose first offset is `first`."""
    return folder / f"{first:020}{SUFFIX}"


def first_offset(path: Path) -> int:
    """Return the first offset that the file may hold."""
    return int(path.stem)


def segment_files(folder: Path) -> list[Path]:
    """Return the segments of a spool, oldest first; the last one is the one that is written."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


class SegmentWriter:
    """The one writer of a segment; not for several threads at once."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Open the file, or make it. `durable=False` leaves the fsync to the operating system.

        Raises: sqlite3.Error when it cannot be.
        """
        self.path = path
        self.opened_s = time.monotonic()
        self._connection = connect(path, mode="rwc")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        # an erased record leaves no bytes behind; appending pays nothing for it
        self._connection.execute("PRAGMA secure_delete = ON")
        with transaction(self._connection):
            self._connection.execute(_TABLE)
            self._connection.execute(_INDEX)
        self._page_bytes: int = self._connection.execute("PRAGMA page_size").fetchone()[0]
        self.next = max(content_of(self._connection).last + 1, first_offset(path))

    @property
    def records(self) -> int:
        """How many records it took at most."""
        return self.next - first_offset(self.path)

    @property
    def bytes(self) -> int:
        """The size of the file without its write-ahead log, which SQLite keeps to a few MB."""
        return self._connection.execute("PRAGMA page_count").fetchone()[0] * self._page_bytes

    def limit(self, max_bytes: int) -> None:
        """Let SQLite itself refuse to grow beyond `max_bytes`; it says the same of a full disk."""
        pages = max(1, max_bytes // self._page_bytes)
        self._connection.execute(f"PRAGMA max_page_count = {pages}")

    def append(self, records: Sequence[NewRecord]) -> None:
        """Return once every record is on disk, all of them or none.

        Raises: sqlite3.Error.
        """
        now = time.time()
        rows = [
            (offset, record.topic, record.key, record.value, now)
            for offset, record in enumerate(records, start=self.next)
        ]
        with transaction(self._connection):
            self._connection.executemany(_INSERT, rows)
        self.next += len(rows)

    def close(self) -> None:
        """Fold the write-ahead log into the file, as far as readers let it, and close."""
        with suppress(sqlite3.Error):  # a full disk: the log stays beside the file, and is read
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()


class SegmentReader:
    """A reader of a segment; any number of them, in any process."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises: sqlite3.Error when it is gone or no segment."""
        self.path = path
        self.first = first_offset(path)
        # A sealed segment has no write-ahead log and is never written again: read so, it needs
        # no files beside it, which a full disk would not let SQLite make
        self._connection = connect(path, mode="ro&immutable=1" if _is_sealed(path) else "rw")
        self._connection.execute("PRAGMA query_only = ON")

    def read(self, topic: str, *, after: int, limit: int) -> list[Row]:
        """Return offset, key and value of at most `limit` records. Raises: sqlite3.Error."""
        return self._connection.execute(_SELECT, (topic, after, limit)).fetchall()

    def ends(self) -> dict[str, int]:
        """Return the newest offset of each topic that has one. Raises: sqlite3.Error."""
        query = 'SELECT topic, max("offset") FROM record GROUP BY topic'
        return dict(self._connection.execute(query).fetchall())

    def content(self) -> Content:
        """Return what it holds. Raises: sqlite3.Error."""
        return content_of(self._connection)

    def count(self, topic: str, after: int) -> int:
        """Return how many records of `topic` lie above `after`. Raises: sqlite3.Error."""
        query = 'SELECT count(*) FROM record WHERE topic = ? AND "offset" > ?'
        return self._connection.execute(query, (topic, after)).fetchone()[0]

    def offset_at(self, instant: float) -> int:
        """Return the highest offset that is older than `instant`. Raises: sqlite3.Error."""
        query = 'SELECT coalesce(max("offset"), 0) FROM record WHERE at < ?'
        return self._connection.execute(query, (instant,)).fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def content_of(connection: sqlite3.Connection) -> Content:
    """Return what the segment behind an open connection holds. Raises: sqlite3.Error."""
    query = 'SELECT count(*), coalesce(max("offset"), 0), min(at) FROM record'
    return Content(*connection.execute(query).fetchone())


def is_sound(path: Path) -> bool:
    """Return whether SQLite finds nothing wrong with the file; one that is not there yet is."""
    if not path.exists():
        return True
    try:
        with closing(connect(path, mode="rw")) as connection:
            answers = connection.execute("PRAGMA quick_check(1)").fetchall()
            # an empty file is a segment whose making was broken off
            return answers == [("ok",)] and _is_ours_or_empty(connection)
    except sqlite3.Error:
        return False


def salvage(path: Path) -> tuple[int, int]:
    """Set a damaged file aside, and put in its place what can be read of it.

    Returns how many records that is, and an offset above all that the file may have held.
    """
    size_bytes = sum(file.stat().st_size for file in _files(path))
    above = first_offset(path) + size_bytes // MIN_RECORD_BYTES + 1
    rows = {row[0]: row for row in _readable(path) if first_offset(path) <= row[0] < above}
    saved = path.with_name(path.name + SAVED_SUFFIX)
    with closing(connect(saved, mode="rwc")) as connection, transaction(connection):
        connection.execute(_TABLE)
        connection.execute(_INDEX)
        connection.executemany(_INSERT, [rows[offset] for offset in sorted(rows)])
    for file in _files(path):
        file.rename(file.with_name(file.name + DAMAGED_SUFFIX))
    saved.rename(path)
    return len(rows), above


def finish_salvage(folder: Path) -> None:
    """End what a crash left half done: a saved file takes the place of one that is set aside."""
    for saved in folder.glob(f"*{SAVED_SUFFIX}"):
        path = saved.with_suffix("")
        if path.exists():
            saved.unlink()  # it may not be whole: the damaged file is still there to begin anew
        else:
            saved.rename(path)


def remove(path: Path) -> None:
    """Delete a segment and what SQLite keeps beside it; the file itself last."""
    for file in reversed(_files(path)):
        file.unlink(missing_ok=True)


def connect(path: Path, *, mode: str) -> sqlite3.Connection:
    """Return a connection to the file in one of SQLite's URI modes. Raises: sqlite3.Error."""
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Commit what is done inside, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # SQLite rolls back by itself after some faults
            connection.execute("ROLLBACK")


def _files(path: Path) -> list[Path]:
    names = (path.name, f"{path.name}-wal", f"{path.name}-shm")
    return [file for name in names if (file := path.with_name(name)).exists()]


def _is_sealed(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size == 0
    except FileNotFoundError:
        return True


def _is_ours_or_empty(connection: sqlite3.Connection) -> bool:
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if ("record",) in tables:
        content_of(connection)
        return True
    return not tables


def _readable(path: Path) -> Iterable[WholeRow]:
    """Yield what can be read from the front, then what can be read from the back."""
    for order in ("ASC", "DESC"):
        query = f'SELECT "offset", topic, "key", value, at FROM record ORDER BY "offset" {order}'
        with suppress(sqlite3.Error), closing(connect(path, mode="rw")) as connection:
            connection.text_factory = _decoded
            for row in connection.execute(query):
                if _is_whole(row):
                    yield row


def _decoded(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _is_whole(row: Sequence[object]) -> bool:
    return tuple(type(value) for value in row) == (int, str, str, bytes, float)
