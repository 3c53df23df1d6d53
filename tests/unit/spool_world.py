"""What the tests of the spool share: small records, and what a spool holds of them."""

from __future__ import annotations

import itertools
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from core.errors import LogFullError
from feedback.log.protocol import NewRecord
from feedback.log.spool import Spool, SpoolLimits
from feedback.log.spool_reader import SpoolReader

ROOT = Path(__file__).parents[2]
LIMITS = SpoolLimits(1 << 24)
SMALL = SpoolLimits(1 << 24, segment_bytes=1 << 16)  # a new segment every 100 records or so


def one(key: str, size: int = 10) -> list[NewRecord]:
    """Return a batch of one record."""
    return [NewRecord("t", key, b"x" * size)]


def keys(spool: Spool | SpoolReader) -> list[str]:
    """Return the keys of all records of topic t."""
    return [record.key for record in spool.read("t", after=0, limit=1_000_000)]


def contents(spool: Spool | SpoolReader) -> dict[int, tuple[str, bytes]]:
    """Return key and value of all records of topic t by offset."""
    records = spool.read("t", after=0, limit=1_000_000)
    return {record.offset: (record.key, record.value) for record in records}


def fill(spool: Spool) -> tuple[int, LogFullError]:
    """Append until the log is full; return how many records went in, and the error."""
    for number in itertools.count():
        try:
            spool.append(one(str(number), 10_000))
        except LogFullError as error:
            return number, error
    raise AssertionError("never")


def append_until_killed(folder: Path, first: int, told: Connection) -> None:
    """Append records of small segments, and tell each one's number once it is durable."""
    spool = Spool(folder, SpoolLimits(1 << 26, segment_bytes=1 << 16))
    for number in itertools.count(first):
        spool.append(one(str(number), 500))
        told.send(number)


class DoomedWriter:
    """A process that appends to the spool in `folder` from number `first` on, until it is killed.

    Forked from a server that has imported everything, so that many of them take little time.
    """

    def __init__(self, folder: Path, first: int) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._told, telling = context.Pipe(duplex=False)
        self._process = context.Process(target=append_until_killed, args=(folder, first, telling))
        self._process.start()
        telling.close()

    def next(self) -> int:
        """Return the next number that is durable, when it is."""
        return self._told.recv()

    def kill(self) -> list[int]:
        """Kill it by signal 9; return the numbers that it had still told."""
        self._process.kill()
        self._process.join()
        rest: list[int] = []
        while True:
            try:
                rest.append(self._told.recv())
            except EOFError:
                self._told.close()
                return rest
