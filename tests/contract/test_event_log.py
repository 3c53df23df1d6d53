"""What every event log must do: the same tests over the spool and over the memory fake."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import LogFullError
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool, SpoolLimits
from tests.fakes.memory_log import MemoryLog

ReadableLog = Spool | MemoryLog
OpenLog = Callable[[int], ReadableLog]


@pytest.fixture(params=["spool", "memory"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> OpenLog:
    """Return how to open an empty log that takes so many bytes."""
    if request.param == "memory":
        return lambda max_bytes: MemoryLog(max_bytes=max_bytes)
    return lambda max_bytes: Spool(tmp_path / "log", SpoolLimits(max_bytes))


@pytest.fixture
def log(open_log: OpenLog) -> Iterator[ReadableLog]:
    """An empty log with room."""
    log = open_log(1 << 30)
    yield log
    log.close()


def records(topic: str, *values: str) -> list[NewRecord]:
    """Return records of `topic`, each under its value as key."""
    return [NewRecord(topic, value, value.encode()) for value in values]


def test_records_come_back_as_they_went_in(log: ReadableLog) -> None:
    """Topic, key and bytes are kept, whatever bytes they are."""
    log.append([NewRecord("t", "kéy", b"\x00\xff not text")])
    [record] = log.read("t", after=0, limit=10)
    assert (record.topic, record.key, record.value) == ("t", "kéy", b"\x00\xff not text")


def test_offsets_grow_in_the_order_of_appending(log: ReadableLog) -> None:
    """Over batches and within one, a later record has a higher offset, and none is 0."""
    log.append(records("t", "a", "b"))
    log.append(records("t", "c"))
    read = log.read("t", after=0, limit=10)
    assert [record.key for record in read] == ["a", "b", "c"]
    assert 0 < read[0].offset < read[1].offset < read[2].offset


def test_reading_goes_on_after_an_offset_and_stops_at_the_limit(log: ReadableLog) -> None:
    """A consumer that remembers its offset gets each record once, by portions."""
    log.append(records("t", *"abcde"))
    first = log.read("t", after=0, limit=2)
    second = log.read("t", after=first[-1].offset, limit=2)
    third = log.read("t", after=second[-1].offset, limit=2)
    assert [[record.key for record in part] for part in (first, second, third)] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert log.read("t", after=third[-1].offset, limit=2) == []


def test_topics_do_not_mix(log: ReadableLog) -> None:
    """Each topic has its own records and its own end."""
    log.append([*records("one", "a"), *records("two", "b"), *records("one", "c")])
    assert [record.key for record in log.read("one", after=0, limit=10)] == ["a", "c"]
    assert [record.key for record in log.read("two", after=0, limit=10)] == ["b"]
    assert log.end("one") == log.read("one", after=0, limit=10)[-1].offset
    assert log.end("two") < log.end("one")
    assert log.end("three") == 0


def test_an_empty_batch_is_nothing(log: ReadableLog) -> None:
    """Appending no record is allowed and changes nothing."""
    log.append([])
    assert log.end("t") == 0


def test_a_batch_that_does_not_fit_leaves_nothing(open_log: OpenLog) -> None:
    """At the limit all records of a batch are refused, and a message says what to do."""
    log = open_log(1 << 17)
    log.append(records("t", "small"))
    with pytest.raises(LogFullError, match=r"holds [\d,]+ bytes.*131,072.*[Rr]aise log.max_bytes"):
        log.append([*records("t", "first"), NewRecord("t", "big", b"x" * (1 << 18))])
    assert [record.key for record in log.read("t", after=0, limit=10)] == ["small"]
    log.append(records("t", "still works"))
    assert [record.key for record in log.read("t", after=0, limit=10)] == ["small", "still works"]
    log.close()


def test_threads_append_and_read_at_once(log: ReadableLog) -> None:
    """Nothing is lost or doubled when several threads use one log."""

    def append(name: str) -> None:
        for number in range(20):
            log.append(records("t", f"{name}{number}"))
            log.read("t", after=0, limit=5)

    threads = [threading.Thread(target=append, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    read = log.read("t", after=0, limit=1000)
    assert sorted(record.key for record in read) == sorted(
        f"{name}{number}" for name in "abcd" for number in range(20)
    )
    assert len({record.offset for record in read}) == 80


def test_closing_twice_does_nothing(open_log: OpenLog) -> None:
    """A second close is harmless."""
    log = open_log(1 << 30)
    log.close()
    log.close()


def test_depth_tells_what_the_log_holds(log: ReadableLog) -> None:
    """Records and bytes grow with what is appended, up to the limit that it knows."""
    empty = log.depth()
    log.append([*records("one", *"abc"), *records("two", "x" * 10_000)])
    filled = log.depth()
    assert (empty.records, filled.records) == (0, 4)
    assert filled.bytes >= empty.bytes + 10_000
    assert empty.max_bytes == filled.max_bytes == 1 << 30
