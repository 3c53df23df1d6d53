"""The spools of a folder as a consumer reads them: a partition for each topic of each spool.

Spools that appear later are found. Knows nothing of who appends to them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from feedback.log.protocol import Partition, Record
from feedback.log.spool import Spool


class SpoolSource:
    """An `EventSource` over the files of `folder`; build one for each consumer."""

    def __init__(self, folder: Path, topics: Sequence[str], *, max_bytes: int) -> None:
        self._folder = folder
        self._topics = topics
        self._max_bytes = max_bytes
        self._spools: dict[str, Spool] = {}

    def assigned(self) -> list[Partition]:
        """Return every topic of every spool there is now, one topic after the other."""
        for path in sorted(self._folder.glob("*.db")):
            if path.stem not in self._spools:
                self._spools[path.stem] = Spool(path, max_bytes=self._max_bytes)
        return [Partition(topic, name) for topic in self._topics for name in self._spools]

    def read(self, after: Mapping[Partition, int], *, limit: int) -> list[Record]:
        """Return at most `limit` records of each partition in `after`."""
        return [
            record
            for partition, position in after.items()
            for record in self._spools[partition.name].read(
                partition.topic, after=position, limit=limit
            )
        ]

    def ends(self) -> dict[Partition, int]:
        """Return the newest offset of each partition."""
        return {part: self._spools[part.name].end(part.topic) for part in self.assigned()}

    def applied(self, positions: Mapping[Partition, int]) -> None:
        """Keep everything: the files are the embedded log."""

    def close(self) -> None:
        """Close the files; closing twice does nothing."""
        for spool in self._spools.values():
            spool.close()
