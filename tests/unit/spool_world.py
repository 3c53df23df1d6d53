"""What the tests of the spool share: small records, and what a spool holds of them."""

from __future__ import annotations

import itertools
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
