"""An event log in memory, and its reader, for tests: the spool's contracts, nothing on disk.

`commits` counts the batches it took, so that a test can see how appends were grouped.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime

from core.errors import LogFullError
from feedback.events import SOURCES
from feedback.log.protocol import Depth, NewRecord, Partition, Record

NAME = "memory"


class MemoryLog:
    """An `EventLog` that forgets everything with the process."""

    def __init__(self, *, max_bytes: int = 1 << 30) -> None:
        self.max_bytes = max_bytes
        self.commits = 0
        self._records: list[Record] = []
        self._bytes = 0
        self._lock = threading.Lock()

    def append(self, records: Sequence[NewRecord]) -> None:
        """Keep the records, all of them or none."""
        added = sum(len(record.key) + len(record.value) for record in records)
        with self._lock:
            if self._bytes + added > self.max_bytes:
                raise LogFullError(
                    f"the event log is full: it holds {self._bytes:,} bytes and log.max_bytes is "
                    f"{self.max_bytes:,}. Raise log.max_bytes"
                )
            for record in records:
                offset = len(self._records) + 1
                partition = Partition(record.topic, NAME)
                self._records.append(Record(partition, offset, record.key, record.value))
            self._bytes += added
            self.commits += 1

    def read(self, topic: str, *, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records of `topic` with offset above `after`, in order."""
        with self._lock:
            later = self._records[after:]
        return [record for record in later if record.topic == topic][:limit]

    def end(self, topic: str) -> int:
        """Return the offset of the newest record of `topic`, or 0 when there is none."""
        with self._lock:
            return max((rec.offset for rec in self._records if rec.topic == topic), default=0)

    def depth(self) -> Depth:
        """Return what is kept."""
        with self._lock:
            return Depth(len(self._records), self._bytes, self.max_bytes)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""


class MemorySource:
    """An `EventSource` over one memory log; `let_go` is what its consumer said it has applied."""

    def __init__(self, log: MemoryLog) -> None:
        self.let_go: dict[Partition, int] = {}
        self._log = log

    def assigned(self) -> list[Partition]:
        """Return one partition of each topic."""
        return [Partition(topic, NAME) for topic in SOURCES]

    def read(self, after: Mapping[Partition, int], *, limit: int) -> list[Record]:
        """Return at most `limit` records of each partition in `after`."""
        return [
            record
            for partition, position in after.items()
            for record in self._log.read(partition.topic, after=position, limit=limit)
        ]

    def ends(self) -> dict[Partition, int]:
        """Return the newest offset of each partition."""
        return {part: self._log.end(part.topic) for part in self.assigned()}

    def behind(self, positions: Mapping[Partition, int]) -> dict[Partition, int]:
        """Return how many records lie above each position, where there are any."""
        above = {part: self.read({part: at}, limit=1 << 30) for part, at in positions.items()}
        return {part: len(records) for part, records in above.items() if records}

    def positions_at(self, since: datetime | None) -> dict[Partition, int]:
        """Return the position before all records, whenever they came."""
        return dict.fromkeys(self.assigned(), 0)

    def applied(self, positions: Mapping[Partition, int]) -> None:
        """Remember what may be let go; nothing is."""
        self.let_go.update(positions)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""
