"""How the spools of a machine stand: what each holds, who writes it, how far it has been read.

A folder and a consumer's positions go in, plain values come out. Reads only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from feedback.log.protocol import Partition
from feedback.log.segment import DAMAGED_SUFFIX, SUFFIX, segment_files
from feedback.log.slots import owner, spool_folders
from feedback.log.spool_reader import SpoolReader


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """One spool. `waiting` records are those that its consumer has not dealt with."""

    name: str
    writer: int | None  # process id; None: nobody writes it now
    waiting: int
    waiting_s: float  # age of the oldest record, if any is waiting
    bytes: int
    max_bytes: int
    segments: int
    damaged: int  # segments that were set aside

    @property
    def share(self) -> float:
        """How full it is, 0-1."""
        return self.bytes / self.max_bytes


def spool_statuses(
    spool_dir: Path, topics: Sequence[str], positions: Mapping[Partition, int], max_bytes: int
) -> list[SpoolStatus]:
    """Return how each spool stands for a consumer that is at `positions`."""
    return [_status(folder, topics, positions, max_bytes) for folder in spool_folders(spool_dir)]


def _status(
    folder: Path, topics: Sequence[str], positions: Mapping[Partition, int], max_bytes: int
) -> SpoolStatus:
    reader = SpoolReader(folder)
    try:
        waiting = {
            topic: reader.count_after(topic, positions.get(Partition(topic, folder.name), 0))
            for topic in topics
        }
        oldest_at = reader.oldest_at()
    finally:
        reader.close()
    some = oldest_at is not None and any(waiting.values())
    files = segment_files(folder)
    return SpoolStatus(
        name=folder.name,
        writer=owner(folder),
        waiting=sum(waiting.values()),
        waiting_s=max(0.0, time.time() - oldest_at) if oldest_at is not None and some else 0.0,
        bytes=sum(path.stat().st_size for path in files),
        max_bytes=max_bytes,
        segments=len(files),
        damaged=len(list(folder.glob(f"*{SUFFIX}{DAMAGED_SUFFIX}"))),
    )
