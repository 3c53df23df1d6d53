"""Engines of curation: worker processes here, tasks on Ray, and the same results of both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curation.chain import Chain, Step
from curation.engine import Engine, LocalEngine
from curation.keys import AddKeys
from curation.minhash import Sign, colliding
from curation.pipeline import build_dataset
from curation.shards import read_shard, shard_paths, write_shards
from curation.stages.encoding import MendEncoding
from curation.stages.structure import CheckStructure
from tests.unit.candidate_tables import row, table_of
from tests.unit.curation_world import World, name, open_world

CHAIN = Chain(
    (
        Step("encoding", MendEncoding(), "every"),
        Step("structure", CheckStructure(1_000)),
        Step("keys", AddKeys(), "every", is_told=False),
        Step("signatures", Sign(0.95), "every", is_told=False),
    )
)


@pytest.fixture(scope="module", params=["local", "workers", "ray"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Give each engine; Ray's cluster is this machine."""
    if request.param != "ray":
        yield LocalEngine(1 if request.param == "local" else 2)
        return
    ray = pytest.importorskip("ray") if not os.environ.get("CI") else __import__("ray")
    from curation.ray_engine import RayEngine

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        yield RayEngine(4)
    finally:
        ray.shutdown()


def unheard(_finished: int, _shards: int) -> None:
    """Listen to no progress."""


def shards(folder: Path) -> list[Path]:
    """Write four shards of seven rows, some of which are ill formed."""
    rows = [
        row(f"Where is {name(n)}?" if n % 7 else "", f"With {name(n + 1)}.", id_=f"i{n:03}")
        for n in range(28)
    ]
    return write_shards(folder, [table_of(*rows)], 7)


def test_a_pass_over_shards_gives_the_same(engine: Engine, tmp_path: Path) -> None:
    """Rows, their columns and the account are those of one call over everything."""
    sources = shards(tmp_path / "in")
    told: list[tuple[int, int]] = []
    reports = engine.map(
        CHAIN, sources, tmp_path / "out", lambda shard, of: told.append((shard, of))
    )
    whole, account = CHAIN(pa.concat_tables([read_shard(path) for path in sources]))
    found = pa.concat_tables([read_shard(path) for path in shard_paths(tmp_path / "out")])
    assert found.equals(whole)
    assert [sum(r[place].after for r in reports) for place in (0, 1)] == [28, 24]
    assert account[1].dropped == {"empty text": 4}
    assert told[-1] == (4, 4)


def test_what_is_there_is_not_done_again(engine: Engine, tmp_path: Path) -> None:
    """A pass that died goes on: whole shards stay as they are, half ones are unknown."""
    sources = shards(tmp_path / "in")
    first = engine.map(CHAIN, sources[:2], tmp_path / "out", unheard)
    before = {path: path.stat().st_mtime_ns for path in shard_paths(tmp_path / "out")}
    (tmp_path / "out" / sources[2].name).write_bytes(b"half")  # its account is missing
    again = engine.map(CHAIN, sources, tmp_path / "out", unheard)
    assert again[:2] == first
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(shard_paths(tmp_path / "out")) == 4
    assert read_shard(tmp_path / "out" / sources[2].name).num_rows == 6


def test_a_fault_of_a_stage_comes_out(engine: Engine, tmp_path: Path) -> None:
    """A shard that is no Parquet file stops the pass, and is named by its library."""
    sources = shards(tmp_path / "in")
    sources[1].write_bytes(b"no parquet")
    with pytest.raises(Exception, match="Parquet"):
        engine.map(CHAIN, sources, tmp_path / "out", unheard)


def test_colliding_rows_are_the_same(engine: Engine) -> None:
    """Small and large buckets, over several bands."""
    hashes = np.random.default_rng(5).integers(0, 40, (300, 5)).astype(np.uint64)
    assert engine.colliding(hashes).tolist() == colliding(hashes).tolist()
    assert engine.colliding(hashes[:0]).tolist() == []


def test_datasets_are_equal(engine: Engine, tmp_path: Path) -> None:
    """The whole build gives the same content hash on every engine, in shards of any size."""
    hashes: set[str] = set()
    kind = "ray" if type(engine).__name__ == "RayEngine" else "local"
    for number, rules in enumerate(({"shard_rows": 1_000}, {"shard_rows": 5, "engine": kind})):
        world = open_world(tmp_path / str(number), **rules)
        fill(world)
        hashes.add(build_dataset(world.store, world.settings, world.application).content_hash)
        world.store.close()
    assert len(hashes) == 1


def fill(world: World) -> None:
    """Store examples with duplicates, near duplicates, conflicts and personal data."""
    for number in range(12):
        question = " ".join(name(number * 20 + word) for word in range(20))
        subject = name(number)
        world.say(f"{question} a", f"It is with {subject}.", subject=subject, thumbs=True)
        world.say(f"{question} b", f"It is with {subject}.", subject=subject, rating=5)
        world.say(f"{question} a", "No.", subject=name(number ^ 1), thumbs=number % 2 == 0)
        world.say(
            f"Mail {subject}@example.org on {question[:40]}?",
            f"Yes {number}.",
            subject=subject,
            thumbs=True,
        )
