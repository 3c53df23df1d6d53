"""What every event source must do: the same tests over spools, memory and a Kafka broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from core.clock import utc_now
from core.ids import new_id
from feedback.events import FEEDBACK_TOPIC, INTERACTIONS_TOPIC, SOURCES
from feedback.log.kafka_client import TOPICS, make_topics
from feedback.log.kafka_source import KafkaSource
from feedback.log.protocol import EventSource, NewRecord, Partition, Record
from feedback.log.relay import Relay
from feedback.log.spool import Spool, SpoolLimits
from feedback.log.spool_source import Keeping, SpoolSource
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.kafka_broker import Broker


@dataclass(frozen=True)
class Opened:
    """A source, and how records get into what it reads."""

    source: EventSource
    append: Callable[[Sequence[NewRecord]], None]


def open_spools(folder: Path, closing: ExitStack) -> Opened:
    """Return a source over one spool."""
    spool = Spool(folder / "gateway-0-test", SpoolLimits(1 << 24))
    closing.callback(spool.close)
    return Opened(SpoolSource(folder, SOURCES, Keeping(60, 1 << 24)), spool.append)


def open_memory(_folder: Path, _closing: ExitStack) -> Opened:
    """Return a source over a memory log."""
    log = MemoryLog()
    return Opened(MemorySource(log), log.append)


def open_kafka(folder: Path, closing: ExitStack) -> Opened:
    """Return a source over all partitions of a new broker, which a relay fills from a spool."""
    return _kafka(folder, closing, in_group=False)


def open_group(folder: Path, closing: ExitStack) -> Opened:
    """Return the only source of a consumer group."""
    return _kafka(folder, closing, in_group=True)


def _kafka(folder: Path, closing: ExitStack, *, in_group: bool) -> Opened:
    kafka = closing.enter_context(Broker()).settings()
    make_topics(kafka)
    spool = Spool(folder / "gateway-0-test", SpoolLimits(1 << 24))
    closing.callback(spool.close)
    relay = Relay(SpoolSource(folder, TOPICS, Keeping(0, 1 << 24)), folder, kafka)
    closing.callback(relay.close)

    def append(records: Sequence[NewRecord]) -> None:
        spool.append(records)
        assert relay.drain() == len(records)

    source = KafkaSource(kafka, in_group=in_group)
    while not source.assigned():  # it joins while it reads
        source.read({}, limit=1)
    return Opened(source, append)


OPENERS = {
    "spools": open_spools,
    "memory": open_memory,
    "kafka": open_kafka,
    "kafka group": open_group,
}


@pytest.fixture(params=OPENERS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """A source of each kind, with nothing in it that this test did not append."""
    with ExitStack() as closing:
        opened = OPENERS[request.param](tmp_path, closing)
        closing.callback(opened.source.close)
        yield opened


def read_all(
    source: EventSource, after: dict[Partition, int] | None = None, limit: int = 100
) -> list[Record]:
    """Return everything above `after`, in portions of `limit`; `after` is moved along."""
    positions = {} if after is None else after
    found: list[Record] = []
    quiet = 0  # Tansu says too low an end for a while: nothing may come twice in a row
    while quiet < 2 or any(positions.get(part, 0) < end for part, end in source.ends().items()):
        at = {part: positions.get(part, 0) for part in source.assigned()}
        read = source.read(at, limit=limit)
        for record in read:
            found.append(record)
            positions[record.partition] = record.offset
        quiet = 0 if read else quiet + 1
    return found


def records(topic: str, *keys: str) -> list[NewRecord]:
    """Return records under these keys, each with its key as value."""
    return [NewRecord(topic, key, key.encode()) for key in keys]


def test_what_was_appended_is_read_with_its_topic_key_and_bytes(opened: Opened) -> None:
    """Whatever bytes they are; offsets are above 0."""
    opened.append([NewRecord(FEEDBACK_TOPIC, "kéy", b"\x00\xff not text")])
    [record] = read_all(opened.source)
    assert (record.topic, record.key, record.value) == (
        FEEDBACK_TOPIC,
        "kéy",
        b"\x00\xff not text",
    )
    assert record.offset > 0


def test_a_tombstone_is_an_empty_value(opened: Opened) -> None:
    """It comes out as it went in."""
    opened.append([NewRecord(INTERACTIONS_TOPIC, "gone", b"")])
    [record] = read_all(opened.source)
    assert (record.key, record.value) == ("gone", b"")


def test_records_of_a_key_come_in_order_and_each_once(opened: Opened) -> None:
    """Read in portions, nothing is missing or doubled."""
    keys = [new_id() for _ in range(4)]
    numbered = [NewRecord(FEEDBACK_TOPIC, keys[n % 4], str(n).encode()) for n in range(40)]
    opened.append(numbered)
    read = read_all(opened.source, limit=7)
    for key in keys:
        own = [record.value for record in numbered if record.key == key]
        assert [record.value for record in read if record.key == key] == own
    assert len(read) == 40


def test_reading_goes_on_after_a_position(opened: Opened) -> None:
    """A consumer that comes back with its positions gets what is new, and can read it again."""
    opened.append(records(FEEDBACK_TOPIC, "a", "b"))
    positions: dict[Partition, int] = {}
    read_all(opened.source, positions)
    opened.append(records(FEEDBACK_TOPIC, "c"))
    kept = dict(positions)
    assert [record.key for record in read_all(opened.source, positions)] == ["c"]
    assert [record.key for record in read_all(opened.source, kept)] == ["c"]


def test_topics_do_not_mix(opened: Opened) -> None:
    """Each has partitions of its own."""
    opened.append([*records(FEEDBACK_TOPIC, "a"), *records(INTERACTIONS_TOPIC, "b")])
    read = {record.key: record.topic for record in read_all(opened.source)}
    assert read == {"a": FEEDBACK_TOPIC, "b": INTERACTIONS_TOPIC}


def test_what_is_applied_may_be_said_at_any_time(opened: Opened) -> None:
    """It changes nothing for the reader."""
    opened.append(records(FEEDBACK_TOPIC, "a"))
    positions: dict[Partition, int] = {}
    read_all(opened.source, positions)
    opened.source.applied(positions)
    opened.append(records(FEEDBACK_TOPIC, "b"))
    assert [record.key for record in read_all(opened.source, positions)] == ["b"]


def test_positions_are_found_by_time(opened: Opened) -> None:
    """Before everything, or before what came since an instant; never behind it."""
    opened.append(records(FEEDBACK_TOPIC, "a"))
    before = read_all(opened.source, dict(opened.source.positions_at(None)))
    assert [record.key for record in before] == ["a"]
    since = utc_now() - timedelta(hours=1)
    lately = read_all(opened.source, dict(opened.source.positions_at(since)))
    assert [record.key for record in lately] == ["a"]


def test_how_far_behind_a_position_is_can_be_told(opened: Opened) -> None:
    """Nothing at the end; before it, what has come since."""
    opened.append(records(FEEDBACK_TOPIC, "a"))
    positions = dict.fromkeys(opened.source.assigned(), 0)
    read_all(opened.source, positions)
    assert opened.source.behind(positions) == {}
    opened.append([*records(FEEDBACK_TOPIC, "b", "b"), *records(INTERACTIONS_TOPIC, "c")])
    behind = opened.source.behind(positions)
    assert {part.topic for part in behind} == {FEEDBACK_TOPIC, INTERACTIONS_TOPIC}
    assert sum(behind.values()) <= 3  # Tansu says too low an end where two came at once
    read_all(opened.source, positions)
    assert opened.source.behind(positions) == {}


def test_closing_twice_does_nothing(opened: Opened) -> None:
    """A second close is harmless."""
    opened.source.close()
    opened.source.close()
