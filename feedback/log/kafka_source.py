"""Kafka as a consumer reads it: its partitions, from the positions that the store keeps.

In a group, the partitions are shared with the other ingests of the group, and move when one comes
or goes; without one, all of them are read. Kafka's own record of positions is only written, for
tools that show lag: what counts is what the store says. A topic that was made anew has another id
(KIP-516), which is a part of its partitions' names: they begin at their beginning. Knows nothing of
what records mean.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from kafka import KafkaConsumer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata, TopicPartition

from core.errors import LogUnavailableError
from core.settings import KafkaSettings
from feedback.events import SOURCES
from feedback.log.kafka_client import faults, make_consumer, make_topics
from feedback.log.protocol import Partition, Record

POLL_MS = 100  # as long as a read waits for records
# In a group it waits longer, and longest while it joins or joins again: kafka-python 3.0.12 drops a
# join that ends while nobody polls, and begins another (`join_group_async`). With 100 ms and a
# pause between two reads that went on for 20 to 60 s, with 500 ms and all cores busy for ever.
GROUP_POLL_MS = 500
JOIN_POLL_MS = 5_000
METADATA_S = 5.0  # as long as topics are waited for that a relay is just making
RETRY_S = 0.2
OF_TOPIC = "@"  # between a partition's number and the id of its topic

_log = structlog.get_logger(__name__)


class KafkaSource:
    """An `EventSource` over a cluster; connects at its first use. Not for several threads."""

    def __init__(self, kafka: KafkaSettings, *, in_group: bool) -> None:
        self._kafka = kafka
        self._in_group = in_group
        self._consumer: KafkaConsumer | None = None
        self._next: dict[Partition, int] = {}  # what the consumer will give next, ours
        self._topic_ids: dict[str, UUID] = {}

    def assigned(self) -> list[Partition]:
        """Return the partitions that are this reader's now.

        Raises: LogUnavailableError when there is no broker, or no topic yet.
        """
        with faults(self._kafka):
            assigned = [self._partition(where) for where in self._connected().assignment()]
        self._next = {part: at for part, at in self._next.items() if part in assigned}
        return sorted(assigned, key=lambda part: (SOURCES.index(part.topic), _tp(part).partition))

    def read(self, after: Mapping[Partition, int], *, limit: int) -> list[Record]:
        """Return at most `limit` records above `after`; waits a moment for some.

        Raises: LogUnavailableError.
        """
        with faults(self._kafka):
            consumer = self._connected()
            self._go_to(consumer, after)
            polled = consumer.poll(timeout_ms=self._patience_ms(consumer), max_records=limit)
            if self._is_unsure():
                self._next.clear()
                return []
            names = {where: self._partition(where) for where in polled}
        records = [
            Record(names[where], raw.offset + 1, (raw.key or b"").decode(), raw.value or b"")
            for where, batch in polled.items()
            for raw in batch
        ]
        wanted = [record for record in records if record.partition in after]
        for record in records:
            self._note(record, after)
        return wanted

    def ends(self) -> dict[Partition, int]:
        """Return the offset of the newest record of each assigned partition.

        Raises: LogUnavailableError.
        """
        assigned = self.assigned()
        with faults(self._kafka):
            try:
                ends = self._connected().end_offsets([_tp(part) for part in assigned])
            except KeyError as error:  # kafka-python's, for a partition that the cluster lost
                raise UnknownTopicOrPartitionError(f"{error} is gone") from error
        return {part: ends[_tp(part)] for part in assigned}

    def behind(self, positions: Mapping[Partition, int]) -> dict[Partition, int]:
        """Return how far the end of each partition is from its position, where it is.

        Raises: LogUnavailableError.
        """
        ends = self.ends()
        return {part: ends[part] - at for part, at in positions.items() if ends.get(part, 0) > at}

    def positions_at(self, since: datetime | None) -> dict[Partition, int]:
        """Return the position before the first record since then; None: before all.

        Raises: LogUnavailableError.
        """
        assigned = self.assigned()
        if since is None:
            return dict.fromkeys(assigned, 0)
        moment = int(since.timestamp() * 1000)
        with faults(self._kafka):
            found = self._connected().offsets_for_times({_tp(part): moment for part in assigned})
        ends = self.ends()
        return {
            part: at.offset if (at := found.get(_tp(part))) else ends[part] for part in assigned
        }

    def applied(self, positions: Mapping[Partition, int]) -> None:
        """Tell Kafka how far the group is; that it does not answer changes nothing here."""
        if self._consumer is None or not self._in_group:
            return
        mine = self._consumer.assignment()
        offsets = {
            _tp(part): OffsetAndMetadata(position, "", -1)
            for part, position in positions.items()
            if _tp(part) in mine and position > 0
        }
        if offsets:
            self._consumer.commit_async(offsets)

    def close(self) -> None:
        """Leave the group and close the connections; closing twice does nothing."""
        if self._consumer is not None:
            try:
                self._consumer.close(autocommit=False, timeout_ms=2_000)
            except KafkaError as error:  # the broker is away: the group will notice by itself
                _log.info("consumer_not_closed", error=str(error))
            self._consumer = None

    def _patience_ms(self, consumer: KafkaConsumer) -> int:
        if not self._in_group:
            return POLL_MS
        coordinator = self._part_of_consumer("_coordinator")
        joined = consumer.assignment() and not coordinator.need_rejoin()
        return GROUP_POLL_MS if joined else JOIN_POLL_MS

    def _connected(self) -> KafkaConsumer:
        if self._consumer is None:
            self._consumer = self._join() if self._in_group else self._take_all()
            self._next.clear()
        return self._consumer

    def _join(self) -> KafkaConsumer:
        make_topics(self._kafka)  # a group over topics that come later would wait minutes for them
        consumer = make_consumer(
            self._kafka,
            group_id=self._kafka.group,
            session_timeout_ms=self._kafka.session_timeout_ms,
            heartbeat_interval_ms=self._kafka.session_timeout_ms // 3,
            partition_assignment_strategy=[CooperativeStickyAssignor],
        )
        consumer.subscribe(list(SOURCES))
        return consumer

    def _take_all(self) -> KafkaConsumer:
        consumer = make_consumer(self._kafka)
        deadline = time.monotonic() + METADATA_S
        while True:
            found = {topic: consumer.partitions_for_topic(topic) for topic in SOURCES}
            if all(found.values()):
                consumer.assign([TopicPartition(t, p) for t in SOURCES for p in found[t] or ()])
                return consumer
            if time.monotonic() > deadline:
                consumer.close(autocommit=False)
                missing = ", ".join(topic for topic in SOURCES if not found[topic])
                raise LogUnavailableError(
                    f"Kafka has no topic {missing}: start `ratchet relay`, which makes them"
                )
            time.sleep(RETRY_S)

    def _partition(self, where: TopicPartition) -> Partition:
        """Return our name of a partition. Raises: UnknownTopicOrPartitionError."""
        topic_id = self._part_of_consumer("_cluster").topic_id(where.topic)
        if topic_id is None:
            raise UnknownTopicOrPartitionError(
                f"no id of topic {where.topic}: it is gone, or the broker is older than Kafka 2.8"
            )
        known = self._topic_ids.setdefault(where.topic, topic_id)
        if known != topic_id:
            _log.error("topic_began_anew", topic=where.topic, id=str(topic_id), was=str(known))
            self._topic_ids[where.topic] = topic_id
        return Partition(where.topic, f"{where.partition}{OF_TOPIC}{topic_id}")

    def _is_unsure(self) -> bool:
        """Return whether a topic may have another id than we know, as after a lost connection."""
        return bool(self._part_of_consumer("_cluster").need_update)

    def _part_of_consumer(self, name: str) -> Any:
        """Return what kafka-python tells nobody: topics' ids, and whether it must join again."""
        return getattr(self._connected(), name)

    def _go_to(self, consumer: KafkaConsumer, after: Mapping[Partition, int]) -> None:
        """Let the consumer give what follows each position next, where it would not anyway."""
        mine = consumer.assignment()
        for part, position in after.items():
            if self._next.get(part) != position + 1 and _tp(part) in mine:
                consumer.seek(_tp(part), position)
                self._next[part] = position + 1

    def _note(self, record: Record, after: Mapping[Partition, int]) -> None:
        if record.partition in after:
            self._next[record.partition] = record.offset + 1
        else:  # it became ours while we polled: its position is not known yet
            self._next.pop(record.partition, None)


def _tp(part: Partition) -> TopicPartition:
    return TopicPartition(part.topic, int(part.name.partition(OF_TOPIC)[0]))
