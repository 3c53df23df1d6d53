"""What every event log offers, whether one SQLite file or a Kafka cluster.

Producers append and get an acknowledgement only when the record is durable; consumers read
a topic in order of offset and keep their own position in the store, in the transaction in
which they apply what they read. Knows nothing of what records mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to append; `key` orders records that belong together."""

    topic: str
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read back; offsets grow within a topic but need not be consecutive."""

    topic: str
    offset: int
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Depth:
    """How much a log holds; `records` may be over by those that were deleted out of order."""

    records: int
    bytes: int
    max_bytes: int


class EventLog(Protocol):
    """An append-only log of records by topic."""

    def append(self, records: Sequence[NewRecord]) -> None:
        """Return once every record is durable, all of them or none.

        Raises: LogFullError when the log has reached its limit.
        """
        ...

    def read(self, topic: str, *, after: int, limit: int) -> list[Record]:
        """Return at most `limit` records of `topic` with offset above `after`, in order."""
        ...

    def end(self, topic: str) -> int:
        """Return the offset of the newest record of `topic`, or 0 when there is none."""
        ...

    def depth(self) -> Depth:
        """Return what the log holds, without reading through it."""
        ...

    def close(self) -> None:
        """Release files and connections; closing twice does nothing."""
        ...
