"""The relay against a real broker: what is moved, what is repeated, what is refused."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.errors import LogUnavailableError, SettingsError, StateError
from core.settings import KafkaSettings, LogSettings, Settings
from feedback.events import DEAD_LETTER_TOPIC, FEEDBACK_TOPIC, INTERACTIONS_TOPIC
from feedback.log.kafka_client import (
    MAX_RECORD_BYTES,
    TOPICS,
    client_options,
    make_producer,
    make_topics,
    partition_counts,
    topic_configs,
)
from feedback.log.kafka_source import KafkaSource
from feedback.log.protocol import NewRecord, Record
from feedback.log.relay import Relay
from feedback.log.segment import segment_files
from feedback.log.spool import Spool, SpoolLimits
from feedback.log.spool_source import Keeping, SpoolSource
from loop.kafka_check import kafka_checks
from loop.relaying import opened_relay
from tests.kafka_broker import Broker

# kafka-python closes neither sockets nor its thread's loop in order when its broker is killed
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


class World:
    """A spool, a broker, and a relay between them that can be made anew."""

    def __init__(self, folder: Path, broker: Broker, closing: ExitStack) -> None:
        self.folder = folder / "spool"
        self.broker = broker
        self.kafka = broker.settings()
        self.spool = Spool(
            self.folder / "gateway-0-test", SpoolLimits(1 << 28, segment_bytes=1 << 18)
        )
        self._closing = closing
        closing.callback(self.spool.close)

    def relay(self) -> Relay:
        """Return a new relay, as after a restart."""
        source = SpoolSource(self.folder, TOPICS, Keeping(0, 1 << 28))
        self._closing.callback(source.close)
        relay = Relay(source, self.folder, self.kafka)
        self._closing.callback(relay.close)
        return relay

    def put(self, *keys: str, topic: str = INTERACTIONS_TOPIC) -> None:
        """Append records to the spool."""
        self.spool.append([NewRecord(topic, key, key.encode()) for key in keys])

    def in_kafka(self, at_least: int) -> list[Record]:
        """Return what the broker holds, once it is so many records."""
        source = KafkaSource(self.kafka, in_group=False)
        positions = dict.fromkeys(source.assigned(), 0)
        found: list[Record] = []
        for _ in range(100):
            for record in source.read(positions, limit=1_000):
                found.append(record)
                positions[record.partition] = record.offset
            if len(found) >= at_least:
                break
        source.close()
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A new broker without topics."""
    with ExitStack() as closing:
        yield World(tmp_path, closing.enter_context(Broker()), closing)
    gc.collect()  # what kafka-python left open when the broker went away


def test_everything_is_moved_once_and_let_go(world: World) -> None:
    """Also over a restart of the relay; the spool keeps only the segment that is written."""
    keys = [f"k{number}" for number in range(3_000)]
    world.put(*keys[:2_000])
    first = world.relay()
    assert first.drain() == 2_000
    first.close()
    world.put(*keys[2_000:])
    assert world.relay().drain() == 1_000
    assert world.relay().drain() == 0
    assert sorted(record.key for record in world.in_kafka(3_000)) == sorted(keys)
    assert len(segment_files(world.spool.folder)) == 1


def test_dead_letters_are_moved_too(world: World) -> None:
    """The cluster has every topic."""
    world.put("a", topic=DEAD_LETTER_TOPIC)
    assert world.relay().drain() == 1
    assert [record.topic for record in world.in_kafka(1)] == [DEAD_LETTER_TOPIC]


def test_what_was_sent_and_not_noted_is_sent_again(world: World) -> None:
    """A crash between acknowledgement and position repeats; it loses nothing."""
    world.put("a", "b")
    relay = world.relay()
    relay.drain()
    (world.folder / "relay.json").unlink()
    assert world.relay().drain() == 2
    assert sorted(record.key for record in world.in_kafka(4)) == ["a", "a", "b", "b"]


def test_a_broker_that_is_away_takes_nothing_and_loses_nothing(world: World) -> None:
    """The error says so, positions stay, and everything goes once it is back."""
    world.put("a")
    relay = world.relay()
    world.broker.kill()
    for _ in range(2):
        with pytest.raises(LogUnavailableError, match="waits in the spools"):
            relay.run_once()
    world.broker.start()
    assert relay.drain() == 1
    assert [record.key for record in world.in_kafka(1)] == ["a"]


def test_a_record_that_no_broker_takes_is_kept_and_blocks_nothing(world: World) -> None:
    """Whole, in a file that the log names; what is around it is moved."""
    huge = b"x" * (MAX_RECORD_BYTES + 1)
    world.put("before")
    world.spool.append([NewRecord(FEEDBACK_TOPIC, "huge", huge)])
    world.put("after")
    assert world.relay().drain() == 3
    assert sorted(record.key for record in world.in_kafka(2)) == ["after", "before"]
    [kept] = (world.folder.parent / "refused" / FEEDBACK_TOPIC).iterdir()
    assert kept.read_bytes() == huge


def test_topics_are_made_once_and_left_alone(world: World) -> None:
    """With the partitions that were set then."""
    assert partition_counts(world.kafka) == {}
    make_topics(world.kafka)
    make_topics(world.broker.settings(partitions=5))
    assert partition_counts(world.kafka) == dict.fromkeys(TOPICS, 3)


def settings(folder: Path, kafka: KafkaSettings) -> Settings:
    """Return settings with a cluster."""
    return Settings(data_dir=folder, log=LogSettings(kafka=kafka))


def test_doctor_says_whether_the_cluster_can_be_used(world: World, tmp_path: Path) -> None:
    """Without topics, with them, and when nobody answers."""
    with_kafka = settings(tmp_path, world.kafka)
    [check] = kafka_checks(with_kafka)
    assert (check.ok, "ratchet relay" in check.mend) == (None, True)
    make_topics(world.kafka)
    [check] = kafka_checks(with_kafka)
    assert (check.ok, check.detail) == (True, "5 topics of 3 partitions")
    world.broker.kill()
    [check] = kafka_checks(with_kafka)
    assert (check.ok, "does not answer" in check.detail) == (False, True)
    assert kafka_checks(settings(tmp_path, KafkaSettings())) == []


def test_there_is_one_relay_of_a_machine(world: World, tmp_path: Path) -> None:
    """A second one is told, and one without Kafka too."""
    with_kafka = settings(tmp_path, world.kafka)
    with (
        opened_relay(with_kafka),
        pytest.raises(StateError, match="already"),
        opened_relay(with_kafka),
    ):
        pass
    with (
        pytest.raises(SettingsError, match=r"log\.kafka\.servers is not set"),
        opened_relay(settings(tmp_path, KafkaSettings())),
    ):
        pass


def test_settings_become_the_clients_options() -> None:
    """By kafka-python's names; what is not set is left to it, and `options` come last."""
    kafka = KafkaSettings(
        servers=("a:1", "b:2"),
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="ratchet",
        sasl_password=SecretStr("secret"),
        ssl_cafile=Path("/ca.pem"),
        options={"request_timeout_ms": 5, "client_id": "mine"},
    )
    options = client_options(kafka)
    assert options["bootstrap_servers"] == ["a:1", "b:2"]
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_plain_password"] == "secret"
    assert options["ssl_cafile"] == "/ca.pem"
    assert (options["request_timeout_ms"], options["client_id"]) == (5, "mine")
    assert "ssl_keyfile" not in options


def test_an_option_that_the_client_does_not_know_is_named() -> None:
    """Before anything is connected."""
    kafka = KafkaSettings(servers=("127.0.0.1:1",), options={"colour": "red"})
    with pytest.raises(SettingsError, match=r"colour.*log\.kafka"):
        make_producer(kafka)


def test_topics_with_peoples_texts_can_be_erased_from() -> None:
    """They are compacted, so that a tombstone counts; all end after the retention."""
    kafka = KafkaSettings(retention_days=10, compact_after_days=2)
    people, others = (
        topic_configs(INTERACTIONS_TOPIC, kafka),
        topic_configs(DEAD_LETTER_TOPIC, kafka),
    )
    assert people["cleanup.policy"] == "compact,delete"
    assert people["min.compaction.lag.ms"] == str(2 * 86_400_000)
    assert others["cleanup.policy"] == "delete"
    assert people["retention.ms"] == others["retention.ms"] == str(10 * 86_400_000)
