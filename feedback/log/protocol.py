"""What every event log offers, whether one SQLite file or a Kafka cluster.

Producers append to an `EventLog` and get an acknowledgement only when the record is durable.
Consumers read an `EventSource`, partition by partition in order of offset, and keep their own
position in the store, in the transaction in which they apply what they read. Knows nothing of
what records mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol


class Partition(NamedTuple):
    """A part of a topic that one consumer reads in order: a spool's name, a Kafka partition."""

    topic: str
    name: str


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to append; `key` orders records that belong together, no value is a tombstone."""

    topic: str
    key: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A record as read back; the first offset is above 0, and offsets may leave gaps."""

    partition: Partition
    offset: int
    key: str
    value: bytes

    @property
    def topic(self) -> str:
        """The topic that it was appended to."""
        return self.partition.topic


@dataclass(frozen=True, slots=True)
class Depth:
    """How much a log holds; `records` may be over by those that were deleted out of order."""

    records: int
    bytes: int
    max_bytes: int


class EventLog(Protocol):
    """Where a process appends its records."""

    def append(self, records: Sequence[NewRecord]) -> None:
        """Return once every record is durable, all of them or none.

        Raises: LogFullError when the log has reached its limit.
        """
        ...

    def depth(self) -> Depth:
        """Return what the log holds, without reading through it."""
        ...

    def close(self) -> None:
        """Release files and connections; closing twice does nothing."""
        ...


class EventSource(Protocol):
    """What a consumer reads: all that the logs of all processes hold, by partitions."""

    def assigned(self) -> Sequence[Partition]:
        """Return the partitions that are this reader's now; others may come and these may go."""
        ...

    def read(self, after: Mapping[Partition, int], *, limit: int) -> list[Record]:
        """Return records with an offset above their partition's in `after`, each in order.

        At most `limit` of a partition; an empty list does not say that there are none.
        """
        ...

    def ends(self) -> Mapping[Partition, int]:
        """Return the offset of the newest record of each assigned partition, 0 for none."""
        ...

    def behind(self, positions: Mapping[Partition, int]) -> Mapping[Partition, int]:
        """Return how many records lie above each position at most, where there are any."""
        ...

    def positions_at(self, since: datetime | None) -> Mapping[Partition, int]:
        """Return the position before the first record since then; None: before all there are."""
        ...

    def applied(self, positions: Mapping[Partition, int]) -> None:
        """Take note that everything up to `positions` is in the store, and may be let go."""
        ...

    def close(self) -> None:
        """Release files and connections; closing twice does nothing."""
        ...
