"""The segments of one spool as somebody reads them, who may be in another process.

Segments appear and go while it reads. Of one that is damaged it gives what is left, told once, and
writes nothing; the one that is being written is passed over until it is sealed. Knows nothing of
who appends.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from feedback.log.protocol import Partition, Record
from feedback.log.salvage import is_damage, is_new, salvaged
from feedback.log.segment import SegmentReader, Waiting, first_offset, segment_files

MAX_OPEN = 8  # files at a time, of each spool: a spool may have thousands

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class SpoolReader:
    """Reads the spool in `folder`, whose name is that of its partitions; any thread may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[Path, SegmentReader] = {}  # the one that was used last is last
        self._ends: dict[Path, dict[str, int]] = {}  # of sealed segments, which get no more
        self._damaged: set[Path] = set()
        self._lock = threading.Lock()

    def read(self, topic: str, *, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records of `topic` with offset above `after`, in order."""
        partition = Partition(topic, self.folder.name)
        records: list[Record] = []
        with self._lock:
            for path in self._from(topic, after):
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
                found |= self._ends_of(path) or {}
        return found

    def ends_of(self, path: Path) -> dict[str, int] | None:
        """Return the newest offset of each topic in one segment; None if it is gone."""
        with self._lock:
            return self._ends_of(path)

    def is_damaged(self, path: Path) -> bool:
        """Return whether the segment has shown damage so far."""
        return path in self._damaged

    def count(self) -> int:
        """Return how many records there are, by reading through them."""
        with self._lock:
            return sum(self._ask(path, SegmentReader.count) or 0 for path in self._refresh())

    def waiting(self, topic: str, after: int) -> Waiting:
        """Return what there is of `topic` above `after`."""
        with self._lock:
            asked = [
                self._ask(path, lambda seg: seg.waiting(topic, after))
                for path in self._from(topic, after)
            ]
        parts = [part for part in asked if part is not None and part.records]
        return Waiting(sum(part.records for part in parts), parts[0].since if parts else None)

    def oldest_at(self) -> float | None:
        """Return when the oldest record came in, in seconds since 1970."""
        with self._lock:
            asked = (self._ask(path, SegmentReader.oldest_at) for path in self._refresh())
            return next((at for at in asked if at is not None), None)

    def offset_at(self, instant: float) -> int:
        """Return the highest offset of records older than `instant`, in seconds since 1970."""
        with self._lock:
            found = [
                self._ask(path, lambda seg: seg.offset_at(instant)) for path in self._refresh()
            ]
        return max((offset or 0 for offset in found), default=0)

    def close(self) -> None:
        """Close the files; closing twice does nothing."""
        with self._lock:
            for reader in self._open.values():
                reader.close()
            self._open.clear()

    def _from(self, topic: str, after: int) -> list[Path]:
        """Return the segments that have records of `topic` above `after`, or may get some."""
        paths = self._refresh()
        later = [number for number, path in enumerate(paths) if first_offset(path) > after + 1]
        sealed = paths[max(later[0] - 1, 0) : -1] if later else []
        found = [path for path in sealed if (self._ends_of(path) or {}).get(topic, 0) > after]
        return found + paths[-1:]

    def _ends_of(self, path: Path) -> dict[str, int] | None:
        if path in self._ends:
            return self._ends[path]
        newest = self._newest()  # before it is asked: what is sealed then gets no more
        ends = self._ask(path, SegmentReader.ends)
        if ends is not None and path != newest:
            self._ends[path] = ends
        return ends

    def _refresh(self) -> list[Path]:
        paths = segment_files(self.folder)
        for path in [path for path in self._open if path not in paths]:
            self._drop(path)
        self._ends = {path: ends for path, ends in self._ends.items() if path in paths}
        self._damaged.intersection_update(paths)
        return paths

    def _ask(self, path: Path, question: Callable[[SegmentReader], T]) -> T | None:
        """Return the segment's answer, or None if it is just being made, or was just let go.

        Raises: sqlite3.Error when the disk has no room for what SQLite keeps beside it.
        """
        for once_more in (True, False):  # an erasure may be just rewriting what looks damaged
            try:
                return question(self._reader(path))
            except sqlite3.Error as error:
                self._drop(path)
                if not is_damage(error, path):
                    if is_new(path):
                        return None
                    raise
                if not once_more:
                    return self._ask_damaged(path, question, error)
        return None

    def _reader(self, path: Path) -> SegmentReader:
        if path in self._open and self._open[path].is_stale:
            self._drop(path)
        if path not in self._open:
            reader = self._keep(path, SegmentReader.open(path))
            if path != self._newest():  # which is being written
                reader.verify()
            self._damaged.discard(path)  # its writer may have mended it
        return self._keep(path, self._open.pop(path))

    def _keep(self, path: Path, reader: SegmentReader) -> SegmentReader:
        """Return the reader, kept open; the one that was not used for longest makes room."""
        self._open[path] = reader
        if len(self._open) > MAX_OPEN:
            self._drop(next(iter(self._open)))
        return reader

    def _drop(self, path: Path) -> None:
        if reader := self._open.pop(path, None):
            reader.close()

    def _ask_damaged(
        self, path: Path, question: Callable[[SegmentReader], T], error: sqlite3.Error
    ) -> T | None:
        """Return the answer of what is left, unless the segment is still being written."""
        if path not in self._damaged:
            self._damaged.add(path)
            _log.error("segment_unreadable", file=str(path), error=str(error))
        if path == self._newest():
            return None
        self._ends.pop(path, None)  # less may be left than there seemed
        return question(self._keep(path, SegmentReader(path, salvaged(path), follows=False)))

    def _newest(self) -> Path | None:
        return max(segment_files(self.folder), default=None)
