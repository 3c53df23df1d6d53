"""How the spools of a machine stand: what each holds, who writes it, how far it has been read.

A folder and a consumer's positions go in, plain values come out. Reads only.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from feedback.log.protocol import Partition
from feedback.log.salvage import damaged_files
from feedback.log.segment import held_bytes, segment_files
from feedback.log.slots import owner, spool_folders
from feedback.log.spool_reader import SpoolReader


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """One spool. `waiting` records are those that its consumer has not dealt with."""

    name: str
    writer: int | None  # process id; None: nobody writes it now
    records: int
    oldest_s: float  # age of the oldest of them, 0 if there is none
    waiting: int
    waiting_s: float  # age of the oldest that waits, 0 if none does
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
    with closing(SpoolReader(folder)) as reader:
        waiting = [
            reader.waiting(topic, positions.get(Partition(topic, folder.name), 0))
            for topic in topics
        ]
        records, oldest_at = reader.count(), reader.oldest_at()
    return SpoolStatus(
        name=folder.name,
        writer=owner(folder),
        records=records,
        oldest_s=_age_s([oldest_at]),
        waiting=sum(part.records for part in waiting),
        waiting_s=_age_s([part.since for part in waiting]),
        bytes=held_bytes(folder),
        max_bytes=max_bytes,
        segments=len(segment_files(folder)),
        damaged=len(damaged_files(folder)),
    )


def _age_s(instants: Sequence[float | None]) -> float:
    """Return how long ago the first of the instants was, 0 if there is none."""
    first = min((at for at in instants if at is not None), default=None)
    return 0.0 if first is None else max(0.0, time.time() - first)
