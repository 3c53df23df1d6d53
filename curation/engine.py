"""CURATE: where the passes over shards run: in processes of this machine.

`Engine` is what the pipeline asks for; `LocalEngine` works on all cores with bounded memory, a
shard in each worker. `ray_engine` does the same on a cluster, with equal results. Knows nothing of
what the stages do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

from core.errors import DataError
from curation.chain import Chain
from curation.minhash import BandHashes, Pairs, colliding
from curation.shards import Report, work_through

Done = Callable[[int, int], None]  # shards finished, shards in all


class Engine(Protocol):
    """Runs passes over shards; `LocalEngine` and `RayEngine` give equal results."""

    def map(self, chain: Chain, sources: Sequence[Path], folder: Path, done: Done) -> list[Report]:
        """Run every shard through the chain into `folder`; return the accounts in their order."""
        ...

    def colliding(self, bands: BandHashes) -> Pairs:
        """Return the pairs of rows of `bands`, shape [texts, bands], that share a band."""
        ...


class LocalEngine:
    """An `Engine` of worker processes; `workers` None: one for each core."""

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or len(os.sched_getaffinity(0))

    def map(self, chain: Chain, sources: Sequence[Path], folder: Path, done: Done) -> list[Report]:
        """Run every shard through the chain into `folder`; return the accounts in their order.

        Raises: DataError when a worker process dies.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self._workers == 1 or len(sources) <= 1:
            return [self._one(chain, source, folder, done, sources) for source in sources]
        workers = min(self._workers, len(sources))
        # spawned: a fork of a process with threads (the tokenizer's, the store's) may hang
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            waiting = [pool.submit(work_through, chain, source, folder) for source in sources]
            try:
                for number, future in enumerate(waiting, start=1):
                    future.result()
                    done(number, len(sources))
            except BrokenProcessPool as error:
                raise DataError(
                    "a worker of curation died, as when memory runs out: build again, which goes "
                    "on where it was; lower curation.workers or curation.shard_rows if it recurs"
                ) from error
            finally:
                pool.shutdown(cancel_futures=True)
        return [future.result() for future in waiting]

    def colliding(self, bands: BandHashes) -> Pairs:
        """Return the pairs of rows of `bands`, shape [texts, bands], that share a band."""
        return colliding(bands)

    @staticmethod
    def _one(
        chain: Chain, source: Path, folder: Path, done: Done, sources: Sequence[Path]
    ) -> Report:
        report = work_through(chain, source, folder)
        done(sources.index(source) + 1, len(sources))
        return report
