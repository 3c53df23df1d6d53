"""The segments of one spool as somebody reads them, who may be in another process.

Segments appear and go while it reads. One that is damaged is told once and passed over: its
writer mends it when it next opens. Knows nothing of who appends.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from feedback.log.protocol import Partition, Record
from feedback.log.segment import SegmentReader, first_offset, segment_files

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class SpoolReader:
    """Reads the spool in `folder`, whose name is that of its partitions; any thread may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[Path, SegmentReader] = {}
        self._told: set[Path] = set()
        self._lock = threading.Lock()

    def read(self, topic: str, *, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records of `topic` with offset above `after`, in order."""
        partition = Partition(topic, self.folder.name)
        records: list[Record] = []
        with self._lock:
            for path in self._from(after):
                room = limit - len(records)
                rows = self._ask(path, lambda seg, n=room: seg.read(topic, after=after, limit=n))
                records += [Record(partition, *row) for row in rows or []]
                if len(records) >= limit:
                    break
        return records

    def ends(self) -> dict[str, int]:
        """Return the newest offset of each topic that the segments hold."""
        found: dict[str, int] = {}
        with self._lock:
            for path in self._refresh():
                found |= self._ask(path, SegmentReader.ends) or {}
        return found

    def ends_of(self, path: Path) -> dict[str, int] | None:
        """Return the newest offset of each topic in one segment; None if it cannot be read."""
        with self._lock:
            return self._ask(path, SegmentReader.ends)

    def count_after(self, topic: str, after: int) -> int:
        """Return how many records of `topic` have an offset above `after`."""
        with self._lock:
            counts = (
                self._ask(path, lambda s: s.count(topic, after)) for path in self._from(after)
            )
            return sum(count or 0 for count in counts)

    def offset_at(self, instant: float) -> int:
        """Return the highest offset of records older than `instant`, in seconds since 1970."""
        with self._lock:
            found = [
                self._ask(path, lambda seg: seg.offset_at(instant)) for path in self._refresh()
            ]
        return max((offset or 0 for offset in found), default=0)

    def oldest_at(self) -> float | None:
        """Return when the oldest record came in, in seconds since 1970."""
        with self._lock:
            contents = [self._ask(path, SegmentReader.content) for path in self._refresh()]
        return min((c.oldest_at for c in contents if c and c.oldest_at is not None), default=None)

    def close(self) -> None:
        """Close the files; closing twice does nothing."""
        with self._lock:
            for reader in self._open.values():
                reader.close()
            self._open.clear()

    def _from(self, after: int) -> list[Path]:
        """Return the segments that may hold offsets above `after`."""
        paths = self._refresh()
        later = [number for number, path in enumerate(paths) if first_offset(path) > after + 1]
        return paths[max(later[0] - 1, 0) :] if later else paths[-1:]

    def _refresh(self) -> list[Path]:
        paths = segment_files(self.folder)
        for path in [path for path in self._open if path not in paths]:
            self._open.pop(path).close()
        return paths

    def _ask(self, path: Path, question: Callable[[SegmentReader], T]) -> T | None:
        """Return the segment's answer, or None if it is damaged, just made, or just let go."""
        try:
            if path not in self._open:
                self._open[path] = SegmentReader(path)
            return question(self._open[path])
        except sqlite3.Error as error:
            if reader := self._open.pop(path, None):
                reader.close()
            if path.exists() and _is_damage(error) and path not in self._told:
                self._told.add(path)
                _log.error("segment_unreadable", file=str(path), error=str(error))
            elif path.exists() and not _is_damage(error) and "no such table" not in str(error):
                raise
            return None


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
