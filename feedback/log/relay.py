"""Spools → Kafka: moves what processes have appended to the cluster, and lets it go there.

Reads the spools of this machine and remembers how far it is beside them, so that it works while
the store is away. A record counts as moved when all replicas have it; what was sent and not
acknowledged is sent again, and ingest knows it by its `event_id`. At most `relay_batch` records
are in memory: an outage grows the spools, not the process. Knows nothing of what records mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec
import structlog
from kafka import KafkaProducer
from kafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from core.errors import LogUnavailableError
from core.files import write_atomic
from core.settings import KafkaSettings
from feedback.log.kafka_client import faults, make_producer, make_topics
from feedback.log.protocol import Partition, Record
from feedback.log.spool_source import SpoolSource

POSITIONS_FILE = "relay.json"
REFUSED_FOLDER = "refused"  # beside the spools: records that no broker will take, whole
REFUSED = (MessageSizeTooLargeError, RecordListTooLargeError)
ACKNOWLEDGED_S = 45.0  # beyond the producer's own delivery timeout

Positions = dict[Partition, int]

_log = structlog.get_logger(__name__)


class RelayPositions:
    """How far the relay is in each partition of the spools; a file that is whole or absent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Positions:
        """Return the positions, none for a partition that nothing was moved of."""
        if not self._path.is_file():
            return {}
        held = msgspec.json.decode(self._path.read_bytes(), type=dict[str, dict[str, int]])
        return {
            Partition(topic, name): position
            for name, topics in held.items()
            for topic, position in topics.items()
        }

    def write(self, positions: Positions) -> None:
        """Keep the positions, durably."""
        held: dict[str, dict[str, int]] = {}
        for (topic, name), position in positions.items():
            held.setdefault(name, {})[topic] = position
        write_atomic(self._path, msgspec.json.encode(held))


@dataclass
class Relay:
    """Moves records; build one for each machine, and close it. Not for several threads."""

    source: SpoolSource
    spool_dir: Path
    kafka: KafkaSettings
    moved: int = field(default=0, init=False)  # records, since the start
    _producer: KafkaProducer | None = field(default=None, init=False)

    @property
    def positions(self) -> RelayPositions:
        """Where it stands."""
        return RelayPositions(self.spool_dir / POSITIONS_FILE)

    def run_once(self) -> int:
        """Move the next records of each spool; return how many. 0: there are none.

        Raises: LogUnavailableError when the cluster does not take them, or is not there at first.
        """
        self._connected()  # also without records: ingest waits for topics, people for a word
        known = self.positions.read()
        positions = {part: known.get(part, 0) for part in self.source.assigned()}
        records = iter(self.source.read(positions, limit=self.kafka.relay_batch))
        count = 0
        while batch := list(islice(records, self.kafka.relay_batch)):
            self._move(batch)
            positions |= {record.partition: record.offset for record in batch}
            self.positions.write(positions)
            count += len(batch)
        if count:
            self.source.applied(positions)
        self.moved += count
        return count

    def drain(self, told: Callable[[int], None] = lambda _count: None) -> int:
        """Move all there is and return how many records that was; `told` hears the sum so far."""
        total = 0
        while count := self.run_once():
            total += count
            told(total)
        return total

    def let_go(self) -> None:
        """Let go of what was moved earlier; `run_once` does when it has moved something."""
        self.source.assigned()
        self.source.applied(self.positions.read())

    def close(self) -> None:
        """Close the connections; closing twice does nothing."""
        if self._producer is not None:
            self._producer.close(timeout=1)
            self._producer = None

    def _move(self, batch: Sequence[Record]) -> None:
        """Return once the cluster has every record of `batch`, or will never take it."""
        try:
            with faults(self.kafka):
                for record in self._send(batch):
                    self._keep_refused(record)
        except LogUnavailableError:
            # A new producer knows nothing of what the old one had under way, in whatever order
            self.close()
            raise

    def _send(self, batch: Sequence[Record]) -> Iterator[Record]:
        """Send the batch and wait for it; yield what the cluster refuses for good."""
        producer, under_way = self._connected(), []
        for record in batch:
            value = record.value or None  # a tombstone
            try:
                sent = producer.send(record.topic, value, record.key.encode())
            except REFUSED:
                yield record
                continue
            under_way.append((record, sent))
        producer.flush(timeout=ACKNOWLEDGED_S)
        for record, sent in under_way:
            try:
                sent.get(timeout=ACKNOWLEDGED_S)
            except REFUSED:
                yield record

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            make_topics(self.kafka)
            self._producer = make_producer(self.kafka)
        return self._producer

    def _keep_refused(self, record: Record) -> None:
        name = f"{record.partition.name}-{record.offset}.json"
        path = self.spool_dir.parent / REFUSED_FOLDER / record.topic / name
        write_atomic(path, record.value)
        _log.error("record_refused", topic=record.topic, bytes=len(record.value), kept=str(path))
