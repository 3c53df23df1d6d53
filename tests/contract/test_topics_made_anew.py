"""A cluster whose topics were lost and made anew: what they hold is read from its beginning."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from core.errors import LogUnavailableError
from feedback.events import FEEDBACK_TOPIC, SOURCES
from feedback.log.kafka_client import make_producer, make_topics
from feedback.log.kafka_source import KafkaSource
from feedback.log.protocol import Partition
from tests.kafka_broker import Broker

PATIENCE_S = 30.0
NUMBERS = ((b"old", 5), (b"new", 12))


def put(broker: Broker, values: Sequence[bytes]) -> None:
    """Append records of one key, in order, to topics that are there or made."""
    kafka = broker.settings()
    make_topics(kafka)
    producer = make_producer(kafka)
    for value in values:
        producer.send(FEEDBACK_TOPIC, key=b"one", value=value)
    producer.flush()
    producer.close()


def follow(source: KafkaSource, positions: dict[Partition, int], until: bytes) -> list[bytes]:
    """Return what comes above `positions`, which move along, until that value has come."""
    found: list[bytes] = []
    give_up_at = time.monotonic() + PATIENCE_S
    while until not in found:
        assert time.monotonic() < give_up_at, found
        try:
            at = {part: positions.get(part, 0) for part in source.assigned()}
            records = source.read(at, limit=100)
        except LogUnavailableError:
            time.sleep(0.1)
            continue
        for record in records:
            found.append(record.value)
            positions[record.partition] = record.offset
    return found


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test_more_than_was_lost(in_group: bool, restarted: bool) -> None:
    """The new topic has grown beyond the old position before anybody looks; nothing is skipped."""
    with Broker() as broker:
        old, new = [[b"%s %d" % (age, n) for n in range(count)] for age, count in NUMBERS]
        put(broker, old)
        positions: dict[Partition, int] = {}
        source = KafkaSource(broker.settings(), in_group=in_group)
        try:
            assert follow(source, positions, until=old[-1]) == old
            if restarted:
                source.close()
            broker.kill()
            broker.start()
            put(broker, new)
            if restarted:
                source = KafkaSource(broker.settings(), in_group=in_group)
            assert follow(source, positions, until=new[-1]) == new
        finally:
            source.close()


def test_a_partition_is_named_after_its_topics_id() -> None:
    """Of one cluster all readers say the same."""
    with Broker() as broker:
        put(broker, [b"x"])
        sources = [KafkaSource(broker.settings(), in_group=False) for _ in range(2)]
        first, second = [source.assigned() for source in sources]
        for source in sources:
            source.close()
        assert first == second
        assert [(part.topic, part.name.partition("@")[0]) for part in first] == [
            (topic, str(number)) for topic in SOURCES for number in range(3)
        ]
        assert len({part.name.partition("@")[2] for part in first}) == len(SOURCES)
