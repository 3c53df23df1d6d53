"""The spool: what one process appends, in segments, on the disk of its machine.

Batches come in, each is one fsynced transaction, and they stay until whoever reads them lets a
whole segment go. Offsets grow over all segments and are never used twice: each opening begins a
new segment beyond all that went before. Without Kafka the spools together are the event log.
Knows nothing of what records mean or of who has read them.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.errors import LogFullError, SettingsError
from feedback.log.protocol import Depth, NewRecord, Record
from feedback.log.salvage import beyond, check, finish_salvage, is_aside, is_damage, is_new, mend
from feedback.log.segment import (
    SegmentReader,
    SegmentWriter,
    first_offset,
    has_log,
    held_bytes,
    remove,
    segment_files,
    segment_path,
)
from feedback.log.spool_reader import SpoolReader

# A new opening leaves out so many offsets: whatever a power cut took from the end of the last
# segment after somebody had read it, its offsets are not given to others.
OFFSET_STRIDE = 1_000_000
MIN_RECORD_BYTES = 8  # no record is smaller: a segment holds no more than its size by this
NO_ROOM_BYTES = 1 << 16  # less than that left: it is the disk that is full
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
EMPTY_BYTES = 1 << 14  # of a segment without records: the next one must always find room
SEGMENTS = 8  # at least, of a full spool: what is applied can go while one is being written

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How large a spool may be, and when it begins its next segment."""

    max_bytes: int
    segment_bytes: int = 64 << 20  # Source: measured, see decision 0021
    segment_s: float = 3_600.0  # our choice: at most 24 files a day of an idle process

    @property
    def rotate_bytes(self) -> int:
        """The size at which a segment is sealed."""
        return min(self.segment_bytes, self.max_bytes // SEGMENTS)


class Spool:
    """An event log in `folder`, which this process alone writes; any thread may use it."""

    def __init__(self, folder: Path, limits: SpoolLimits, *, durable: bool = True) -> None:
        """Open the folder, or make it; what is damaged is set aside, and what is left of it kept.

        `durable=False` leaves the fsync to the operating system: a power cut may then take the
        last records, a crash of the process none.

        Raises: SettingsError when the folder cannot be written to; LogFullError when its disk is
        full.
        """
        self.folder = folder
        self.limits = limits
        self._durable = durable
        self._lock = threading.Lock()
        self._closed = False
        self._must_rotate = False
        self._sealed: dict[Path, tuple[int, int]] = {}  # records and bytes
        self._reader = SpoolReader(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = self._begin(_recovered(folder, limits.rotate_bytes))
            self._drop_empty()
        except (OSError, sqlite3.Error) as error:
            if is_no_room(error, folder):
                raise self._full() from error
            raise SettingsError(
                f"cannot open the event log {folder}: {error}. Give this user write access to it "
                "and room on its disk, or set data_dir to another folder"
            ) from error

    def append(self, records: Sequence[NewRecord]) -> None:
        """Return once every record is on disk, all of them or none.

        Raises: LogFullError when they do not fit.
        """
        if not records:
            return
        with self._lock:
            try:
                self._append(records)
            except (sqlite3.DatabaseError, OSError) as error:
                if is_no_room(error, self.folder):
                    raise self._full() from error
                raise

    def seal_if_old(self) -> None:
        """Begin the next segment if this one has something and its time is over.

        An idle process calls this, so that what it once appended can be let go.
        """
        with self._lock:
            if not self._closed and self._is_due():
                self._rotate()

    def read(self, topic: str, *, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records of `topic` with offset above `after`, in order."""
        return self._reader.read(topic, after=after, limit=limit)

    def end(self, topic: str) -> int:
        """Return the offset of the newest record of `topic` that is still here, or 0."""
        return self._reader.ends().get(topic, 0)

    def depth(self) -> Depth:
        """Return what the spool holds, without reading through it."""
        with self._lock:
            sealed = self._look_at_sealed()
            records = sum(records for records, _ in sealed) + self._writer.records
            return Depth(records, self._sealed_bytes() + self._writer.bytes, self.limits.max_bytes)

    def close(self) -> None:
        """Seal what was appended and close the files; closing twice does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._writer.records:
                with suppress(sqlite3.Error, OSError):  # then the next opening seals it
                    self._rotate()
            self._reader.close()
            self._writer.close()

    def _append(self, records: Sequence[NewRecord]) -> None:
        try:
            if self._must_rotate or self._is_due():
                self._rotate()
            self._writer.append(records)
        except sqlite3.DatabaseError as error:
            if is_damage(error, self._writer.path):
                _log.error("segment_damaged", file=str(self._writer.path), error=str(error))
                self._rotate()  # the next opening mends it
            elif not is_no_room(error, self.folder) or not self._make_room():
                raise
            self._writer.append(records)

    def _make_room(self) -> bool:
        """Return whether readers have let segments go since room was last looked for."""
        before = self._sealed_bytes()
        self._look_at_sealed()
        self._limit(self._writer)
        return self._sealed_bytes() < before

    def _is_due(self) -> bool:
        if self._writer.records == 0:
            return False
        if self._writer.taken_bytes >= self.limits.rotate_bytes:
            return True
        return time.monotonic() - self._writer.opened_s >= self.limits.segment_s

    def _rotate(self) -> None:
        """Begin the next segment and seal this one.

        If that breaks off, nothing more may go into this one: readers take it for sealed as soon
        as they see the next one's file, and let it go.
        """
        self._must_rotate = True
        sealing = self._writer
        self._writer = self._begin(max(sealing.next, sealing.first + 1))
        self._must_rotate = False
        records = sealing.records
        sealing.close()  # its log goes into its file: only now is its size known
        self._sealed[sealing.path] = (records, _size(sealing.path))
        self._limit(self._writer)

    def _begin(self, first: int) -> SegmentWriter:
        writer = SegmentWriter(segment_path(self.folder, first), durable=self._durable)
        _sync_folder(self.folder)
        self._look_at_sealed(active=writer.path)
        self._limit(writer)
        return writer

    def _limit(self, writer: SegmentWriter) -> None:
        writer.limit(self.limits.max_bytes - self._sealed_bytes() - EMPTY_BYTES)

    def _drop_empty(self) -> None:
        """Remove what earlier openings began and did not use; the next one's name goes on."""
        for path in list(self._sealed):
            if _is_empty(path):
                remove(path)
                del self._sealed[path]

    def _look_at_sealed(self, active: Path | None = None) -> list[tuple[int, int]]:
        """Note which sealed segments there still are."""
        current = active or self._writer.path
        there = [path for path in segment_files(self.folder) if path != current]
        for path in there:
            if path not in self._sealed:
                self._sealed[path] = (_records(path), _size(path))
        self._sealed = {path: self._sealed[path] for path in there}
        return list(self._sealed.values())

    def _sealed_bytes(self) -> int:
        return sum(size for _, size in self._sealed.values())

    def _full(self) -> LogFullError:
        return LogFullError(
            f"the event log {self.folder} is full: it holds {held_bytes(self.folder):,} bytes, "
            f"log.max_bytes is {self.limits.max_bytes:,}, and its disk has "
            f"{shutil.disk_usage(self.folder).free:,} bytes left. Let `ratchet ingest` (with "
            "Kafka: `ratchet relay`) catch up, raise log.max_bytes, or free the disk"
        )


def is_left_open(folder: Path) -> bool:
    """Return whether a spool's last segment holds something, which only an opening will seal."""
    paths = segment_files(folder)
    return bool(paths) and not _is_empty(paths[-1])


def is_no_room(error: Exception, folder: Path) -> bool:
    """Tell a full log, disk or quota from other faults: SQLite has several words for them."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, OSError) and error.errno in NO_ROOM
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}:  # the latter for a quota
        return True
    trouble = code & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
    return trouble and shutil.disk_usage(folder).free < NO_ROOM_BYTES


def _recovered(folder: Path, segment_bytes: int) -> int:
    """Mend what a crash left, and return the offset at which this opening begins."""
    finish_salvage(folder)
    paths = segment_files(folder)
    if not paths:
        return 1
    for path in paths[:-1]:
        _mend(path, left_open=has_log(path))
    last = paths[-1]
    size_bytes = max(segment_bytes, _size(last))
    above = beyond(last) if _mend(last, left_open=True) else first_offset(last)
    if above == first_offset(last) or is_aside(last):  # how far it went is anybody's guess
        above += size_bytes // MIN_RECORD_BYTES
    return ((above + OFFSET_STRIDE) // OFFSET_STRIDE + 1) * OFFSET_STRIDE


def _mend(path: Path, *, left_open: bool) -> bool:
    """Return whether the segment can be read now."""
    try:
        mend(path) if left_open else check(path)
    except (sqlite3.Error, OSError) as error:
        if not is_no_room(error, path.parent):
            raise
        _log.error("segment_not_mended", file=str(path), error=str(error))  # readers cope
        return False
    return True


def _is_empty(path: Path) -> bool:
    """Return whether the segment was begun and never used: small, closed, and without records."""
    if has_log(path) or _size(path) > EMPTY_BYTES:
        return False
    try:
        with closing(SegmentReader.open(path)) as reader:
            return reader.count() == 0
    except sqlite3.Error:
        return is_new(path)


def _records(path: Path) -> int:
    """Return how many records a sealed segment has at most; none of one that was just let go."""
    try:
        with closing(SegmentReader.open(path)) as reader:
            return max(0, reader.last() - first_offset(path) + 1)
    except sqlite3.Error:
        return 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sync_folder(folder: Path) -> None:
    """Make a new file's name as durable as its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
