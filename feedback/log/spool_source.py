"""The spools of a machine as a consumer reads them: a partition for each topic of each spool.

Spools that appear later are found. What a consumer has applied is let go by whole segments, once
it has been kept for replay as long as the settings say, or when its spool runs out of room. The
segment that is being written stays; a damaged one is set aside. Knows nothing of who appends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from feedback.log.protocol import Partition, Record
from feedback.log.salvage import is_new, set_aside
from feedback.log.segment import held_bytes, remove, segment_files
from feedback.log.slots import spool_folders
from feedback.log.spool_reader import SpoolReader

CROWDED = 0.8  # of max_bytes: applied records go before the writer runs into its limit


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long applied segments stay, and how large a spool may be before they do not."""

    keep_s: float
    max_bytes: int


class SpoolSource:
    """An `EventSource` over the spools in `spool_dir`; build one for each consumer."""

    def __init__(self, spool_dir: Path, topics: Sequence[str], keeping: Keeping) -> None:
        self._spool_dir = spool_dir
        self._topics = topics
        self._keeping = keeping
        self._readers: dict[str, SpoolReader] = {}

    def assigned(self) -> list[Partition]:
        """Return every topic of every spool there is now, one topic after the other."""
        for folder in spool_folders(self._spool_dir):
            if folder.name not in self._readers:
                self._readers[folder.name] = SpoolReader(folder)
        return [Partition(topic, name) for topic in self._topics for name in self._readers]

    def read(self, after: Mapping[Partition, int], *, limit: int) -> list[Record]:
        """Return at most `limit` records of each partition in `after`."""
        records: list[Record] = []
        for (topic, name), position in after.items():
            records += self._readers[name].read(topic, after=position, limit=limit)
        return records

    def ends(self) -> dict[Partition, int]:
        """Return the newest offset of each partition, 0 where it holds nothing."""
        assigned = self.assigned()
        found = {name: reader.ends() for name, reader in self._readers.items()}
        return {part: found[part.name].get(part.topic, 0) for part in assigned}

    def behind(self, positions: Mapping[Partition, int]) -> dict[Partition, int]:
        """Return how many records lie above each position, where there are any."""
        counts = {
            part: self._readers[part.name].waiting(part.topic, position).records
            for part, position in positions.items()
        }
        return {part: count for part, count in counts.items() if count}

    def positions_at(self, since: datetime | None) -> dict[Partition, int]:
        """Return the position before the first record since then; None: before all."""
        if since is None:
            return dict.fromkeys(self.assigned(), 0)
        assigned, moment = self.assigned(), since.timestamp()
        found = {name: reader.offset_at(moment) for name, reader in self._readers.items()}
        return {part: found[part.name] for part in assigned}

    def applied(self, positions: Mapping[Partition, int]) -> None:
        """Let go of the sealed segments in which nothing lies above `positions`."""
        for name, reader in self._readers.items():
            wanted = {topic: positions.get(Partition(topic, name), 0) for topic in self._topics}
            with suppress(FileNotFoundError):  # another consumer was quicker
                self._let_go(reader, wanted)

    def close(self) -> None:
        """Close the files; closing twice does nothing."""
        for reader in self._readers.values():
            reader.close()

    def _let_go(self, reader: SpoolReader, positions: Mapping[str, int]) -> None:
        sealed = segment_files(reader.folder)[:-1]
        crowded_bytes = held_bytes(reader.folder) - CROWDED * self._keeping.max_bytes
        for path in sealed:
            old = time.time() - path.stat().st_mtime >= self._keeping.keep_s
            if not (old or crowded_bytes > 0) or not self._is_applied(reader, path, positions):
                break
            crowded_bytes -= path.stat().st_size
            (set_aside if reader.is_damaged(path) else remove)(path)

    def _is_applied(self, reader: SpoolReader, path: Path, positions: Mapping[str, int]) -> bool:
        ends = reader.ends_of(path)
        if ends is None:  # it has no table, and so nothing in it
            return is_new(path)
        return all(ends.get(topic, 0) <= position for topic, position in positions.items())
