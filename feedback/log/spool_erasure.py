"""A person out of the spools: their records become tombstones, whose keys and offsets stay.

A predicate goes in and is asked of every record that a spool of this machine holds. What it picks
is overwritten on the disk, also while its process goes on writing; a relay that has not moved it
yet then moves the tombstone, by which Kafka's compaction erases as well. Knows nothing of people.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from feedback.log.carving import checksum
from feedback.log.segment import connect, segment_files, transaction
from feedback.log.slots import spool_folders

Picks = Callable[[str, bytes], bool]  # topic and value

_log = structlog.get_logger(__name__)


def erase_records(spool_dir: Path, picks: Picks) -> int:
    """Overwrite the records that `picks` wants; return how many they were.

    Raises: sqlite3.OperationalError when a segment stays locked or its disk is full: do it again.
    """
    return sum(
        _erase_in(path, picks)
        for folder in spool_folders(spool_dir)
        for path in segment_files(folder)
    )


def _erase_in(path: Path, picks: Picks) -> int:
    try:
        with closing(connect(path, mode="rw")) as connection:
            return _overwrite(connection, picks)
    except sqlite3.OperationalError as error:
        if path.exists() and "no such table" not in str(error):
            raise
        return 0  # let go meanwhile, or only just begun
    except sqlite3.DatabaseError as error:
        _log.error("damaged_segment_not_erased", file=str(path), error=str(error))
        return 0


def _overwrite(connection: sqlite3.Connection, picks: Picks) -> int:
    query = 'SELECT "offset", topic, "key", value FROM record WHERE length(value) > 0'
    tombstones = [
        (checksum(offset, topic, key, b""), offset)
        for offset, topic, key, value in connection.execute(query)
        if picks(topic, value)
    ]
    if tombstones:
        connection.execute("PRAGMA secure_delete = ON")
        with transaction(connection):
            statement = "UPDATE record SET value = x'', checksum = ? WHERE \"offset\" = ?"
            connection.executemany(statement, tombstones)
        # The write-ahead log still has the pages as they were
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return len(tombstones)
