"""Group commit: few transactions for many appends, and every caller learns how its batch went."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from core.errors import LogFullError, StateError
from feedback.log import group_commit
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import NewRecord
from tests.fakes.memory_log import MemoryLog

SLOW_S = 0.6


class GatedLog(MemoryLog):
    """A log whose disk answers only while `open_gate` is set, and then takes `delay_s`."""

    def __init__(self) -> None:
        super().__init__()
        self.open_gate = threading.Event()
        self.waiting = threading.Event()
        self.delay_s = 0.0

    def append(self, records: Sequence[NewRecord]) -> None:
        """Wait for the gate, then keep the records."""
        delay_s = self.delay_s
        self.waiting.set()
        assert self.open_gate.wait(timeout=10)
        time.sleep(delay_s)
        super().append(records)


@pytest.fixture
def log() -> MemoryLog:
    """An empty log with room for a little."""
    return MemoryLog(max_bytes=100_000)


@pytest.fixture
async def commits(log: MemoryLog) -> AsyncIterator[GroupCommit]:
    """A group commit over `log`."""
    commits = GroupCommit(log, commit_every_ms=5)
    yield commits
    await commits.close()


def record(number: int, size: int = 10) -> NewRecord:
    """Return a record of topic t."""
    return NewRecord("t", str(number), b"x" * size)


def count(log: MemoryLog) -> int:
    """Return how many records of topic t the log holds."""
    return len(log.read("t", after=0, limit=1_000_000))


async def test_a_record_is_in_the_log_when_append_returns(
    log: MemoryLog, commits: GroupCommit
) -> None:
    """The caller may answer its client as soon as it goes on."""
    await commits.append(record(1))
    assert [read.key for read in log.read("t", after=0, limit=10)] == ["1"]


async def test_many_concurrent_appends_share_few_commits(
    log: MemoryLog, commits: GroupCommit
) -> None:
    """500 callers at once need a handful of transactions."""
    await asyncio.gather(*(commits.append(record(number)) for number in range(500)))
    assert count(log) == 500
    assert log.commits <= 5


async def test_records_keep_the_order_in_which_they_were_handed_over(
    log: MemoryLog, commits: GroupCommit
) -> None:
    """Batches follow each other and none overtakes."""
    await asyncio.gather(*(commits.append(record(number)) for number in range(100)))
    keys = [read.key for read in log.read("t", after=0, limit=200)]
    assert keys == [str(number) for number in range(100)]


async def test_a_lone_append_does_not_wait_for_company() -> None:
    """Where nobody shares commits, waiting would only cost time."""
    commits = GroupCommit(MemoryLog(), commit_every_ms=5_000)
    began = time.monotonic()
    for number in range(3):
        await commits.append(record(number))
    assert time.monotonic() - began < 2
    await commits.close()


async def share_a_slow_commit(log: GatedLog, commits: GroupCommit) -> None:
    """Let one lone commit be followed by a shared one that takes SLOW_S."""
    tasks = [asyncio.create_task(commits.append(record(0)))]
    await asyncio.sleep(0)
    assert log.waiting.wait(timeout=10)
    tasks += [asyncio.create_task(commits.append(record(number))) for number in range(1, 10)]
    await asyncio.sleep(0)
    log.delay_s = SLOW_S
    log.open_gate.set()
    await asyncio.gather(*tasks)
    assert log.commits == 2
    log.delay_s = 0


async def test_after_a_shared_commit_the_next_gathers_company() -> None:
    """For as long as that one took, others may join."""
    log = GatedLog()
    commits = GroupCommit(log, commit_every_ms=5_000)
    await share_a_slow_commit(log, commits)
    late = asyncio.create_task(commits.append(record(10)))
    await asyncio.sleep(SLOW_S / 6)
    await asyncio.gather(late, commits.append(record(11)))
    assert log.commits == 3
    await commits.close()


async def test_company_is_waited_for_no_longer_than_the_setting_says() -> None:
    """However long the last commit took."""
    log = GatedLog()
    commits = GroupCommit(log, commit_every_ms=1)
    await share_a_slow_commit(log, commits)
    began = time.monotonic()
    await commits.append(record(10))
    assert time.monotonic() - began < SLOW_S * 0.9
    await commits.close()


async def test_closing_does_not_wait_for_company() -> None:
    """A process that stops commits at once what it has."""
    log = GatedLog()
    commits = GroupCommit(log, commit_every_ms=5_000)
    await share_a_slow_commit(log, commits)
    late = asyncio.create_task(commits.append(record(10)))
    await asyncio.sleep(0)
    began = time.monotonic()
    await commits.close()
    await late
    assert time.monotonic() - began < SLOW_S * 0.9


async def test_an_error_of_the_log_reaches_every_caller_of_the_batch(
    log: MemoryLog, commits: GroupCommit
) -> None:
    """All of them are told that their record is not durable; the next append works."""
    outcomes = await asyncio.gather(
        *(commits.append(record(number, size=5_000)) for number in range(50)),
        return_exceptions=True,
    )
    assert all(isinstance(outcome, LogFullError) for outcome in outcomes[-40:])
    assert count(log) == outcomes.count(None)
    await commits.append(record(51))
    assert commits.failures == 0


async def test_closing_commits_what_was_handed_over() -> None:
    """Both awaited and unawaited records are in the log when close returns."""
    log = GatedLog()
    commits = GroupCommit(log, commit_every_ms=5)
    waiting = [asyncio.create_task(commits.append(record(number))) for number in range(20)]
    await asyncio.sleep(0)
    commits.append_later(record(20))
    log.open_gate.set()
    await commits.close()
    assert count(log) == 21
    await asyncio.gather(*waiting)


async def test_after_closing_nothing_is_taken(commits: GroupCommit) -> None:
    """A record that nobody will write is refused at once, and closing twice does nothing."""
    await commits.close()
    await commits.close()
    with pytest.raises(StateError, match="closed"):
        await commits.append(record(1))
    with pytest.raises(StateError, match="closed"):
        commits.append_later(record(1))


async def test_append_later_returns_before_the_disk_answers() -> None:
    """Mode async does not wait, and the record is written all the same."""
    log = GatedLog()
    commits = GroupCommit(log, commit_every_ms=5)
    commits.append_later(record(1))
    assert count(log) == 0
    log.open_gate.set()
    await commits.close()
    assert count(log) == 1
    assert commits.failures == 0


async def test_append_later_counts_what_the_log_refuses(
    log: MemoryLog, commits: GroupCommit
) -> None:
    """Nobody awaits such a record, so its loss is counted."""
    commits.append_later(record(1, size=200_000))
    await commits.close()
    assert count(log) == 0
    assert commits.failures == 1


async def test_append_later_keeps_memory_flat_when_the_disk_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond a limit records are dropped and counted instead of piled up."""
    monkeypatch.setattr(group_commit, "MAX_LATER", 10)
    log = GatedLog()
    commits = GroupCommit(log, commit_every_ms=5)
    commits.append_later(record(0))
    assert log.waiting.wait(timeout=10)
    for number in range(1, 31):
        commits.append_later(record(number))
    assert commits.failures == 20
    log.open_gate.set()
    await commits.close()
    assert count(log) == 11


async def test_a_cancelled_caller_does_not_disturb_the_others() -> None:
    """A client that hangs up leaves its batch to the rest of it."""
    log = GatedLog()
    commits = GroupCommit(log, commit_every_ms=5)
    tasks = [asyncio.create_task(commits.append(record(number))) for number in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    log.open_gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert outcomes[1:] == [None] * 4
    await commits.close()
    assert count(log) == 5


def test_callers_in_several_event_loops_share_one_group_commit(log: MemoryLog) -> None:
    """Each caller is woken in its own loop."""
    commits = GroupCommit(log, commit_every_ms=5)

    async def append_some() -> None:
        await asyncio.gather(*(commits.append(record(number)) for number in range(20)))

    threads = [threading.Thread(target=lambda: asyncio.run(append_some())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert count(log) == 60
    asyncio.run(commits.close())


async def test_a_loop_that_is_gone_does_not_stop_the_writer(log: MemoryLog) -> None:
    """A caller whose loop closed while it waited is forgotten; others are served."""
    gated = GatedLog()
    commits = GroupCommit(gated, commit_every_ms=5)

    def leave_waiting() -> None:
        async def hand_over() -> None:
            task = asyncio.create_task(commits.append(record(1)))
            await asyncio.sleep(0)
            task.cancel()

        asyncio.run(hand_over())

    thread = threading.Thread(target=leave_waiting)
    thread.start()
    thread.join()
    gated.open_gate.set()
    await commits.append(record(2))
    assert count(gated) == 2
    await commits.close()


async def test_idle_it_uses_no_processor(commits: GroupCommit) -> None:
    """With nothing to write the thread sleeps."""
    await commits.append(record(1))
    began = time.process_time()
    await asyncio.sleep(0.3)
    assert time.process_time() - began < 0.1
