"""Acknowledged events a second through group commit and spool, beside bare fsyncs of the disk."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.log.events import records
from bench.log.figures import Extent
from core.settings import LogSettings
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import NewRecord
from feedback.log.slots import ProcessLog
from feedback.log.spool import SpoolLimits

SAMPLE = 1_000


def measure_commits(folder: Path, extent: Extent) -> dict[str, Any]:
    """Return fsyncs/s of the disk, and events/s by the number of callers that wait at once."""
    sample = list(records(SAMPLE))
    raw_per_s = _fsyncs_per_s(folder, sample, extent.commit_s)
    found: dict[str, Any] = {"fsyncs_per_s": raw_per_s, "fsync_ms": 1000 / raw_per_s, "callers": {}}
    for callers in extent.callers:
        per_s = asyncio.run(_appended_per_s(folder / str(callers), sample, callers, extent))
        found["callers"][str(callers)] = {"events_per_s": per_s, "to_fsyncs": per_s / raw_per_s}
    return found


def open_log(folder: Path, name: str = "gateway") -> ProcessLog:
    """Return a spool as a gateway opens it."""
    log = LogSettings()
    limits = SpoolLimits(log.max_bytes, log.segment_bytes, log.segment_s)
    return ProcessLog(folder, name, limits, durable=True)


def _fsyncs_per_s(folder: Path, sample: list[NewRecord], duration_s: float) -> float:
    values = cycle(record.value for record in sample)
    descriptor = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        count, began_s = 0, time.perf_counter()
        while time.perf_counter() - began_s < duration_s:
            os.write(descriptor, next(values))
            os.fdatasync(descriptor)
            count += 1
        return count / (time.perf_counter() - began_s)
    finally:
        os.close(descriptor)


async def _appended_per_s(
    folder: Path, sample: list[NewRecord], callers: int, extent: Extent
) -> float:
    log = open_log(folder)
    commits = GroupCommit(log, commit_every_ms=LogSettings().commit_every_ms)
    given = cycle(sample)
    await commits.append(next(given))  # opens the spool
    began_s, count = time.perf_counter(), 0

    async def call() -> None:
        nonlocal count
        while time.perf_counter() - began_s < extent.commit_s:
            await commits.append(next(given))
            count += 1

    await asyncio.gather(*(call() for _ in range(callers)))
    per_s = count / (time.perf_counter() - began_s)
    await commits.close()
    log.close()
    return per_s
