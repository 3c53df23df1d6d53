"""The spool: what one process appends, in segments, on the disk of its machine.

Batches come in, each is one fsynced transaction, and they stay until whoever reads them lets a
whole segment go. Offsets grow over all segments and are never used twice: each opening begins a
new segment beyond all that went before. Without Kafka the spools together are the event log.
Knows nothing of what records mean or of who has read them.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.errors import LogFullError, SettingsError
from feedback.log.protocol import Depth, NewRecord, Record
from feedback.log.segment import (
    SegmentReader,
    SegmentWriter,
    finish_salvage,
    first_offset,
    is_sound,
    salvage,
    segment_files,
    segment_path,
)
from feedback.log.spool_reader import SpoolReader

# A new opening leaves out so many offsets: whatever a power cut took from the end of the last
# segment after somebody had read it, its offsets are not given to others.
OFFSET_STRIDE = 1_000_000
NO_ROOM_BYTES = 1 << 16  # less than that left: it is the disk that is full

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How large a spool may be, and when it begins its next segment."""

    max_bytes: int
    segment_bytes: int = 64 << 20
    segment_s: float = 3_600.0


class Spool:
    """An event log in `folder`, which this process alone writes; any thread may use it."""

    def __init__(self, folder: Path, limits: SpoolLimits, *, durable: bool = True) -> None:
        """Open the folder, or make it; what is damaged is set aside, and what is left of it kept.

        `durable=False` leaves the fsync to the operating system: a power cut may then take the
        last records, a crash of the process none.

        Raises: SettingsError when the folder cannot be written to.
        """
        self.folder = folder
        self.limits = limits
        self._durable = durable
        self._lock = threading.Lock()
        self._sealed: dict[Path, tuple[int, int]] = {}  # records and bytes
        self._reader = SpoolReader(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = self._begin(_recovered(folder))
        except (OSError, sqlite3.Error) as error:
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
                self._rotate_if_due()
                self._append(records)
            except (sqlite3.OperationalError, OSError) as error:
                if _is_full(error, self.folder):
                    raise self._full() from error
                raise

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
        """Close the files; closing twice does nothing."""
        with self._lock:
            self._reader.close()
            self._writer.close()

    def _append(self, records: Sequence[NewRecord]) -> None:
        try:
            self._writer.append(records)
        except sqlite3.OperationalError as error:
            if not _is_full(error, self.folder) or not self._make_room():
                raise
            self._writer.append(records)

    def _make_room(self) -> bool:
        """Return whether readers have let segments go since room was last looked for."""
        before = self._sealed_bytes()
        self._look_at_sealed()
        self._writer.limit(self.limits.max_bytes - self._sealed_bytes())
        return self._sealed_bytes() < before

    def _rotate_if_due(self) -> None:
        if self._writer.records == 0:
            return
        age_s = time.monotonic() - self._writer.opened_s
        if self._writer.bytes >= self.limits.segment_bytes or age_s >= self.limits.segment_s:
            self._writer = self._begin(self._writer.next, sealing=self._writer)

    def _begin(self, first: int, sealing: SegmentWriter | None = None) -> SegmentWriter:
        """Return the writer of a new segment; the old one is sealed once there is a new one."""
        writer = SegmentWriter(segment_path(self.folder, first), durable=self._durable)
        _sync_folder(self.folder)
        if sealing is not None:
            self._sealed[sealing.path] = (sealing.records, sealing.bytes)
            sealing.close()
        self._look_at_sealed(active=writer.path)
        writer.limit(self.limits.max_bytes - self._sealed_bytes())
        return writer

    def _look_at_sealed(self, active: Path | None = None) -> list[tuple[int, int]]:
        """Note which sealed segments there still are."""
        current = active or self._writer.path
        there = [path for path in segment_files(self.folder) if path != current]
        for path in there:
            if path not in self._sealed:
                self._sealed[path] = _measured(path)
        self._sealed = {path: self._sealed[path] for path in there}
        return list(self._sealed.values())

    def _sealed_bytes(self) -> int:
        return sum(size for _, size in self._sealed.values())

    def _full(self) -> LogFullError:
        held = self._sealed_bytes() + self._writer.bytes
        return LogFullError(
            f"the event log {self.folder} is full: it holds {held:,} bytes, log.max_bytes is "
            f"{self.limits.max_bytes:,}, and its disk has "
            f"{shutil.disk_usage(self.folder).free:,} bytes left. Let `ratchet ingest` (with "
            "Kafka: `ratchet relay`) catch up, raise log.max_bytes, or free the disk"
        )


def _recovered(folder: Path) -> int:
    """Mend what a crash left, and return the offset at which this opening begins."""
    above = 1
    finish_salvage(folder)
    for path in segment_files(folder):
        if is_sound(path):
            last = max(_last(path), first_offset(path))
        else:
            saved, last = salvage(path)
            _log.error("segment_damaged", file=str(path), records_saved=saved)
        above = max(above, last + 1)
    if above == 1:
        return 1
    return (above // OFFSET_STRIDE + 1) * OFFSET_STRIDE


def _last(path: Path) -> int:
    reader = SegmentReader(path)
    try:
        return reader.content().last
    except sqlite3.OperationalError:  # its table was never made: empty
        return 0
    finally:
        reader.close()


def _measured(path: Path) -> tuple[int, int]:
    """Return the records and bytes of a sealed segment; nothing of one that was just let go."""
    try:
        reader = SegmentReader(path)
        try:
            return reader.content().records, path.stat().st_size
        finally:
            reader.close()
    except (sqlite3.Error, FileNotFoundError):
        return 0, path.stat().st_size if path.exists() else 0


def _is_full(error: Exception, folder: Path) -> bool:
    """Tell a full log or disk from other faults: SQLite has several words for the latter."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return shutil.disk_usage(folder).free < NO_ROOM_BYTES
    if code == sqlite3.SQLITE_FULL:
        return True
    trouble = code & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
    return trouble and shutil.disk_usage(folder).free < NO_ROOM_BYTES


def _sync_folder(folder: Path) -> None:
    """Make a new file's name as durable as its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
