"""One file of a spool: SQLite in WAL mode, records by topic in order of offset.

Its name is the first offset that it may hold. One process writes it, any may read it at the same
time and never writes. A batch that a crash interrupts disappears whole; one that was acknowledged
stays. Every record has a checksum. Knows nothing of the other files of its spool.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from feedback.log.carving import WholeRow, checksum
from feedback.log.protocol import NewRecord

BUSY_TIMEOUT_MS = 15_000  # an erasure holds the file for as long as it takes to rewrite
SUFFIX = ".db"
ROW_BYTES = 160  # of a record beside its value, with its place in the index. Source: measured

_TABLE = """
CREATE TABLE IF NOT EXISTS record (
    "offset" INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    "key" TEXT NOT NULL,
    value BLOB NOT NULL,
    at REAL NOT NULL,
    checksum INTEGER NOT NULL
)"""
# An index ends in the row's id, which is the offset
_INDEX = "CREATE INDEX IF NOT EXISTS record_topic ON record (topic)"
_INSERT = (
    'INSERT INTO record ("offset", topic, "key", value, at, checksum) VALUES (?, ?, ?, ?, ?, ?)'
)
_SELECT = (
    'SELECT "offset", "key", value, checksum FROM record '
    'WHERE topic = ? AND "offset" > ? ORDER BY "offset" LIMIT ?'
)
_SELECT_LAST = 'SELECT coalesce(max("offset"), 0) FROM record'
_SELECT_BORDERS = 'SELECT (SELECT min("offset") FROM record), (SELECT max("offset") FROM record)'
# From topic to topic through the index: grouping would read through all of it
_SELECT_ENDS = """
WITH RECURSIVE one(topic) AS (
    SELECT min(topic) FROM record
    UNION ALL
    SELECT (SELECT min(topic) FROM record WHERE topic > one.topic) FROM one
    WHERE one.topic IS NOT NULL
)
SELECT topic, (SELECT max("offset") FROM record WHERE record.topic = one.topic)
FROM one WHERE topic IS NOT NULL"""

Row = tuple[int, str, bytes]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The records of a topic above an offset, and when the first came in, seconds since 1970."""

    records: int
    since: float | None


def segment_path(folder: Path, first: int) -> Path:
    """Return the file of the segment whose first offset is `first`."""
    return folder / f"{first:020}{SUFFIX}"


def first_offset(path: Path) -> int:
    """Return the first offset that the file may hold."""
    return int(path.stem)


def segment_files(folder: Path) -> list[Path]:
    """Return the segments of a spool, oldest first; the last one is the one that is written."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdigit())


def held_bytes(folder: Path) -> int:
    """Return the size of a spool's segments, without their write-ahead logs."""
    size_bytes = 0
    for path in segment_files(folder):
        with suppress(FileNotFoundError):  # just let go
            size_bytes += path.stat().st_size
    return size_bytes


class SegmentWriter:
    """The one writer of a segment; not for several threads at once."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Open the file, or make it. `durable=False` leaves the fsync to the operating system.

        Raises: sqlite3.Error when it cannot be.
        """
        self.path = path
        self.first = first_offset(path)
        self.opened_s = time.monotonic()
        self.taken_bytes = 0  # about; asking SQLite for its size costs a look at the log
        self._connection = connect(path, mode="rwc")
        try:
            self._page_bytes = self._prepare(durable=durable)
            self.next = max(last_offset(self._connection) + 1, self.first)
        except sqlite3.Error:
            self._connection.close()
            raise

    @property
    def records(self) -> int:
        """How many records it took at most."""
        return self.next - self.first

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
        rows = [  # as WholeRow, but plain: a tenth of the batch's time
            (at, rec.topic, rec.key, rec.value, now, checksum(at, rec.topic, rec.key, rec.value))
            for at, rec in enumerate(records, start=self.next)
        ]
        with transaction(self._connection):
            self._connection.executemany(_INSERT, rows)
        self.next += len(rows)
        self.taken_bytes += sum(len(rec.value) for rec in records) + len(records) * ROW_BYTES

    def close(self) -> None:
        """Fold the write-ahead log into the file, as far as readers let it, and close."""
        with suppress(sqlite3.Error):  # a full disk: the log stays beside the file, and is read
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def _prepare(self, *, durable: bool) -> int:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        # an erased record leaves no bytes behind; appending pays nothing for it
        self._connection.execute("PRAGMA secure_delete = ON")
        with transaction(self._connection):
            make_table(self._connection)
        return self._connection.execute("PRAGMA page_size").fetchone()[0]


class SegmentReader:
    """A reader of a segment; any number of them, in any process."""

    def __init__(self, path: Path, connection: sqlite3.Connection, *, follows: bool) -> None:
        """Take an open connection, which `follows` changes of the file or not."""
        self._path = path
        self._stamp = None if follows else _stamp(path)
        self._connection = connection
        self._connection.execute("PRAGMA query_only = ON")

    @classmethod
    def open(cls, path: Path) -> SegmentReader:
        """Open the file. Raises: sqlite3.Error when it is gone or no segment."""
        # A sealed segment has no write-ahead log, and only an erasure ever writes it again: read
        # so, it needs no files beside it, which a full disk would not let SQLite make
        follows = has_log(path)
        mode = "rw" if follows else "ro&immutable=1"
        return cls(path, connect(path, mode=mode), follows=follows)

    @property
    def is_stale(self) -> bool:
        """Whether the file has changed since it was opened, and this reader would not see it."""
        return self._stamp is not None and self._stamp != _stamp(self._path)

    def read(self, topic: str, *, after: int, limit: int) -> list[Row]:
        """Return offset, key and value of at most `limit` records.

        Raises: sqlite3.Error, also when a record is not what was written.
        """
        rows = self._connection.execute(_SELECT, (topic, after, limit)).fetchall()
        for offset, key, value, known in rows:
            if checksum(offset, topic, key, value) != known:
                raise _damage(f"record {offset} does not match its checksum")
        return [row[:3] for row in rows]

    def verify(self) -> None:
        """Return if the index of topics leads to every record; SQLite trusts it, right or wrong.

        Reads the index only, unless records were erased. Raises: sqlite3.Error when it does not.
        """
        indexed = 0
        for topic in self.ends():
            self.read(topic, after=0, limit=1)  # a topic that never was does not match
            indexed += self.waiting(topic, 0).records
        first, last = self._connection.execute(_SELECT_BORDERS).fetchone()
        if first is None or indexed == last - first + 1:
            return
        [answer] = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if answer != "ok":
            raise _damage(answer)

    def ends(self) -> dict[str, int]:
        """Return the newest offset of each topic that has one. Raises: sqlite3.Error."""
        return dict(self._connection.execute(_SELECT_ENDS).fetchall())

    def last(self) -> int:
        """Return the highest offset, or 0. Raises: sqlite3.Error."""
        return last_offset(self._connection)

    def count(self) -> int:
        """Return how many records it holds, by reading through it. Raises: sqlite3.Error."""
        return self._connection.execute("SELECT count(*) FROM record").fetchone()[0]

    def waiting(self, topic: str, after: int) -> Waiting:
        """Return what of `topic` lies above `after`. Raises: sqlite3.Error."""
        where = 'FROM record WHERE topic = ? AND "offset" > ?'
        query = f'SELECT count(*), (SELECT at {where} ORDER BY "offset" LIMIT 1) {where}'
        return Waiting(*self._connection.execute(query, (topic, after) * 2).fetchone())

    def oldest_at(self) -> float | None:
        """Return when its first record came in. Raises: sqlite3.Error."""
        query = 'SELECT at FROM record ORDER BY "offset" LIMIT 1'
        row = self._connection.execute(query).fetchone()
        return row[0] if row else None

    def offset_at(self, instant: float) -> int:
        """Return the highest offset that is older than `instant`. Raises: sqlite3.Error."""
        query = 'SELECT coalesce(max("offset"), 0) FROM record WHERE at < ?'
        return self._connection.execute(query, (instant,)).fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def remove(path: Path) -> None:
    """Delete a segment and what SQLite keeps beside it; the file itself last."""
    for file in reversed(files_of(path)):
        file.unlink(missing_ok=True)


def files_of(path: Path) -> list[Path]:
    """Return a segment's file and those that SQLite keeps beside it, where they exist."""
    names = (path.name, f"{path.name}-wal", f"{path.name}-shm")
    return [file for name in names if (file := path.with_name(name)).exists()]


def has_log(path: Path) -> bool:
    """Return whether a part of the segment is still in a write-ahead log beside it."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


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


def make_table(connection: sqlite3.Connection) -> None:
    """Make the table of records, unless it is there. Raises: sqlite3.Error."""
    connection.execute(_TABLE)
    connection.execute(_INDEX)


def put(connection: sqlite3.Connection, rows: Iterable[WholeRow]) -> None:
    """Insert records as they are. Raises: sqlite3.Error."""
    connection.executemany(_INSERT, rows)


def last_offset(connection: sqlite3.Connection) -> int:
    """Return the highest offset behind an open connection, or 0. Raises: sqlite3.Error."""
    return connection.execute(_SELECT_LAST).fetchone()[0]


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _damage(what: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(what)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
