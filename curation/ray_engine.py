"""CURATE: the passes over shards on a Ray cluster, with the results of `LocalEngine`.

Shards lie on storage that every node sees, and their paths are what Ray Data hands out: each task
reads a shard, runs the chain and writes the result. Like prompts are found by a shuffle: the bands
of all go to parts by their hashes, and each part gives the pairs of its buckets. Needs the extra
`ray`. The cluster comes from `RAY_ADDRESS`, as everywhere in Ray; without it one starts here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core.errors import SettingsError
from curation.chain import Account, Chain
from curation.engine import Done
from curation.minhash import BandHashes, Pairs, distinct_pairs, pairs_in_buckets
from curation.shards import Report, work_through

BLOCK_TEXTS = 100_000  # whose bands are handed to Ray at a time


class RayEngine:
    """An `Engine` on Ray; `shuffle_parts`: into how many parts bands are shuffled."""

    def __init__(self, shuffle_parts: int = 32) -> None:
        self._ray = _ray()
        self._parts = shuffle_parts

    def map(self, chain: Chain, sources: Sequence[Path], folder: Path, done: Done) -> list[Report]:
        """Run every shard through the chain into `folder`; return the accounts in their order."""
        folder.mkdir(parents=True, exist_ok=True)
        kept_chain = self._ray.put(chain)  # once for the cluster
        ray = self._ray

        def work(row: dict[str, Any]) -> dict[str, Any]:
            report = work_through(ray.get(kept_chain), Path(row["source"]), folder)
            return {**row, "report": json.dumps([account.entry() for account in report])}

        rows = [{"number": number, "source": str(path)} for number, path in enumerate(sources)]
        shards = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
        reports: dict[int, Report] = {}
        for row in shards.map(work).iter_rows():
            reports[row["number"]] = [Account.from_entry(e) for e in json.loads(row["report"])]
            done(len(reports), len(sources))
        return [reports[number] for number in range(len(sources))]

    def colliding(self, bands: BandHashes) -> Pairs:
        """Return the pairs of rows of `bands`, shape [texts, bands], that share a band."""
        if len(bands) == 0:
            return np.empty((0, 2), np.int64)
        data: Any = self._ray.data.from_arrow(list(_long(bands, self._parts)))
        found = data.groupby("part", num_partitions=self._parts).map_groups(
            _pairs_of_part, batch_format="pyarrow"
        )
        parts = [np.empty((0, 2), np.int64)]
        for batch in found.iter_batches(batch_format="pyarrow", batch_size=None):
            if batch.num_rows:
                parts.append(np.stack([batch["one"].to_numpy(), batch["other"].to_numpy()], axis=1))
        return distinct_pairs(np.concatenate(parts))


def _long(bands: BandHashes, parts: int) -> Iterator[Any]:
    """Yield tables with a row for each text and band: its bucket, the part that this goes to."""
    texts, count = bands.shape
    seeds = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for start in range(0, texts, BLOCK_TEXTS):
        buckets = (bands[start : start + BLOCK_TEXTS] ^ seeds).ravel()  # two bands share none
        numbers = np.repeat(np.arange(start, start + len(buckets) // count), count)
        yield pa.table({
            "part": (buckets % np.uint64(parts)).astype(np.int32),
            "bucket": buckets,
            "text": numbers,
        })  # fmt: skip


def _pairs_of_part(part: Any) -> Any:
    """Return the pairs of the buckets of one part, as a local pass would make them."""
    ordered = part.sort_by("text")  # the first of a bucket are the most wanted
    texts = ordered["text"].to_numpy()
    pairs = texts[pairs_in_buckets(ordered["bucket"].to_numpy())].reshape(-1, 2)
    return pa.table({"one": pairs[:, 0], "other": pairs[:, 1]})


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SettingsError(
            "curation.engine is ray, which is not installed: `pip install ratchet-llm[ray]`, or "
            "set curation.engine to local"
        ) from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
