"""What becomes of a damaged segment: it is set aside, and what is left of it takes its place.

A crash at any point of that leaves the damaged file, to begin anew, or the saved one, to go on.
Knows nothing of who reads or writes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import structlog

from feedback.log.carving import PAGE_BYTES, WholeRow, carve, logged_batches
from feedback.log.segment import (
    SUFFIX,
    connect,
    files_of,
    first_offset,
    last_offset,
    make_table,
    put,
    transaction,
)

DAMAGED_SUFFIX = ".damaged"
SAVING_SUFFIX = ".saving"  # not whole yet
SAVED_SUFFIX = ".saved"

# What SQLite calls a file that is not what it wrote. Of its I/O errors those that are the disk's:
# a sector that cannot be read. Source: https://www.sqlite.org/rescode.html
DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
UNREADABLE = {sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}

_log = structlog.get_logger(__name__)


def is_damage(error: sqlite3.Error, path: Path) -> bool:
    """Return whether the error says that the file's content is not what it was."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    if code == sqlite3.SQLITE_ERROR:  # no such table, or no such column: not as we made it
        return not is_new(path)
    return code & 0xFF in DAMAGE or code in UNREADABLE


def is_new(path: Path) -> bool:
    """Return whether the file has no table yet, or is gone: one with a table has three pages."""
    return not path.exists() or path.stat().st_size <= PAGE_BYTES


def mend(path: Path) -> None:
    """Salvage a segment that a process left behind open, if reading through it shows damage.

    Raises: sqlite3.Error when there is no room for what is left.
    """
    batches = logged_batches(path)  # before SQLite looks at it, and drops what it cannot use
    with ExitStack() as opened:  # closing would delete the write-ahead log, which salvage reads
        try:
            connection = opened.enter_context(closing(connect(path, mode="rw")))
            sound = _is_sound(connection, path) and not _has_lost(connection, batches)
        except sqlite3.Error:
            sound = False
        if not sound:
            salvage(path)


def check(path: Path) -> None:
    """Salvage a sealed segment that lacks its header or a part of its length, read of neither.

    Damage inside shows when it is read. Raises: sqlite3.Error when there is no room.
    """
    try:
        with closing(connect(path, mode="ro&immutable=1")) as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
            whole = pages * page_bytes == path.stat().st_size and _is_ours(connection, path)
    except sqlite3.Error:
        whole = False
    if not whole:
        salvage(path)


def salvage(path: Path) -> int:
    """Set a damaged file aside, put in its place what is left, and return how many records.

    Raises: sqlite3.Error when there is no room for them; then nothing has changed.
    """
    saving = path.with_name(path.name + SAVING_SUFFIX)
    saving.unlink(missing_ok=True)
    rows = carve(path)
    with closing(connect(saving, mode="rwc")) as connection:
        _fill(connection, rows.values())
    saving.rename(path.with_name(path.name + SAVED_SUFFIX))
    _take_place(path)
    _log.error("segment_damaged", file=str(path), records_saved=len(rows))
    return len(rows)


def finish_salvage(folder: Path) -> None:
    """End what a crash left half done."""
    for saving in folder.glob(f"*{SAVING_SUFFIX}"):
        saving.unlink()  # not whole; the damaged file is still there to begin anew
    for saved in folder.glob(f"*{SAVED_SUFFIX}"):
        _take_place(saved.with_suffix(""))


def _take_place(path: Path) -> None:
    """Put the saved file where the damaged one was, so that no reader finds neither."""
    beside = [file for file in files_of(path) if file != path]
    for file in beside:
        file.rename(_aside(file))
    if path.exists():
        _aside(path).unlink(missing_ok=True)
        _aside(path).hardlink_to(path)
    path.with_name(path.name + SAVED_SUFFIX).rename(path)


def salvaged(path: Path) -> sqlite3.Connection:
    """Return a private database of what is left of a damaged file, which is not touched."""
    connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    _fill(connection, carve(path).values())
    return connection


def set_aside(path: Path) -> None:
    """Give a damaged file, and what SQLite keeps beside it, names that nobody reads."""
    for file in files_of(path):
        file.rename(_aside(file))


def is_aside(path: Path) -> bool:
    """Return whether a damaged segment of this name was set aside."""
    return _aside(path).exists()


def damaged_files(folder: Path) -> list[Path]:
    """Return the segments that were set aside."""
    return sorted(folder.glob(f"*{SUFFIX}{DAMAGED_SUFFIX}"))


def beyond(path: Path) -> int:
    """Return an offset above all that the file holds; its first, if that cannot be read."""
    try:
        with closing(connect(path, mode="rw")) as connection:
            return max(last_offset(connection), first_offset(path)) + 1
    except sqlite3.Error:
        return first_offset(path) + 1


def _aside(file: Path) -> Path:
    return file.with_name(file.name + DAMAGED_SUFFIX)


def _fill(connection: sqlite3.Connection, rows: Iterable[WholeRow]) -> None:
    """Make the table and put `rows` in. Raises: sqlite3.Error."""
    with transaction(connection):
        make_table(connection)
        put(connection, sorted(rows))


def _is_sound(connection: sqlite3.Connection, path: Path) -> bool:
    answers = connection.execute("PRAGMA quick_check(1)").fetchall()
    return answers == [("ok",)] and _is_ours(connection, path)


def _has_lost(connection: sqlite3.Connection, batches: Sequence[set[int]]) -> bool:
    """Return whether SQLite has passed over transactions that were acknowledged.

    It stops at the first page of the log that does not match its checksum. If that is in the last
    transaction, a crash broke it off, and it was not acknowledged: each waits for the one before.
    """
    if not any(batches):
        return False
    held = {row[0] for row in connection.execute('SELECT "offset" FROM record')}
    return sum(not batch <= held for batch in batches) > 1


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether it is a segment; an empty one is one whose making was broken off."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    if ("record",) in tables:
        last_offset(connection)
        return True
    return not tables and is_new(path)
