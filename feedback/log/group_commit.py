"""One fsync for many: concurrent appends to the event log share a transaction.

Coroutines of any event loop hand over a record and wait; one thread gathers what came, commits
it as a batch and wakes everyone in it, also with the batch's error. A record that is alone does
not wait for company; after a shared commit the next batch gathers for as long as that one took,
at most `commit_every_ms`. Idle, the thread sleeps. Does not own the log.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import structlog

from core.errors import StateError
from feedback.log.protocol import Depth, EventLog, NewRecord

MAX_LATER = 10_000  # records that nobody waits for: memory stays flat when the disk is slow

_log = structlog.get_logger(__name__)

Waiter = asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Entry:
    record: NewRecord
    waiter: Waiter | None  # None: nobody waits for it


class GroupCommit:
    """The async front of an event log; build one for each process and close it at the end."""

    def __init__(self, log: EventLog, *, commit_every_ms: float) -> None:
        self._log = log
        self._company_s = commit_every_ms / 1000
        self._arrival = threading.Condition()
        self._closing = threading.Event()
        self._entries: list[_Entry] = []
        self._failures = 0
        self._thread = threading.Thread(target=self._write, name="group-commit", daemon=True)
        self._thread.start()

    @property
    def failures(self) -> int:
        """How many records of `append_later` were lost, since the start."""
        return self._failures

    def depth(self) -> Depth:
        """Return what the log holds; records that wait for their commit are not in it."""
        return self._log.depth()

    async def append(self, record: NewRecord) -> None:
        """Return once the batch that holds `record` is durable.

        Raises: what the log raised for the batch (LogFullError); StateError after `close`.
        """
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._enter(_Entry(record, waiter))
        await waiter

    def append_later(self, record: NewRecord) -> None:
        """Return at once; if the log cannot take `record`, that only counts in `failures`.

        Raises: StateError after `close`.
        """
        if len(self._entries) >= MAX_LATER:
            self._count_failures(1)
            return
        self._enter(_Entry(record, None))

    async def close(self) -> None:
        """Commit what has been handed over, then stop; closing twice does nothing."""
        with self._arrival:
            self._closing.set()
            self._arrival.notify()
        await asyncio.to_thread(self._thread.join)

    def _enter(self, entry: _Entry) -> None:
        with self._arrival:
            if self._closing.is_set():
                raise StateError("the event log is closed: the process is stopping, try another")
            self._entries.append(entry)
            if len(self._entries) == 1:  # later ones are company: the thread is awake already
                self._arrival.notify()

    def _write(self) -> None:
        company_s = 0.0
        while batch := self._next_batch(company_s):
            began_s = time.monotonic()
            self._commit(batch)
            took_s = time.monotonic() - began_s
            # Waiting longer than a commit takes only costs. Source: PostgreSQL's advice on
            # commit_delay; measured: 64 callers, 0.3 ms a commit: 45,000/s, 9,000/s with 5 ms.
            company_s = min(took_s, self._company_s) if len(batch) > 1 else 0.0

    def _next_batch(self, company_s: float) -> list[_Entry]:
        with self._arrival:
            self._arrival.wait_for(lambda: self._entries or self._closing.is_set())
        self._closing.wait(company_s)
        with self._arrival:
            batch, self._entries = self._entries, []
        return batch

    def _commit(self, batch: list[_Entry]) -> None:
        error: Exception | None = None
        try:
            self._log.append([entry.record for entry in batch])
        except Exception as caught:  # whatever it is, it goes to everyone who waits
            error = caught
        _wake([entry.waiter for entry in batch if entry.waiter is not None], error)
        unawaited = sum(entry.waiter is None for entry in batch)
        if error is not None and unawaited:
            self._count_failures(unawaited)
            _log.error("log_records_lost", count=unawaited, error=str(error))

    def _count_failures(self, count: int) -> None:
        with self._arrival:
            self._failures += count


def _wake(waiters: list[Waiter], error: Exception | None) -> None:
    """Settle the waiters, each in its own event loop, with one call per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}
    for waiter in waiters:
        by_loop.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, own in by_loop.items():
        with suppress(RuntimeError):  # a closed loop: nobody waits there any more
            loop.call_soon_threadsafe(_settle, own, error)


def _settle(waiters: list[Waiter], error: Exception | None) -> None:
    for waiter in waiters:
        if waiter.done():  # its caller was cancelled; the record is written all the same
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
