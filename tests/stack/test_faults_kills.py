"""kill -9 of gateway, ingest and relay at random moments: what was acknowledged is there, once."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kafka_broker import Broker
from tests.stack.fault_world import FaultWorld, fault_world

pytestmark = pytest.mark.stack

RATE_PER_S = 40.0
LONGEST_PAUSE_S = 0.6  # between two kills, drawn anew each time


def _kill(world: FaultWorld, seed: int, victims: Sequence[str]) -> None:
    """Kill one or two processes, at a moment and in a manner that follow from the seed."""
    chance = random.Random(seed)
    time.sleep(chance.uniform(0.0, LONGEST_PAUSE_S))
    chosen = chance.sample(victims, k=1 if chance.random() < 0.8 else 2)
    for name in chosen:
        world.programs[name].kill()
        time.sleep(chance.uniform(0.0, 0.1))
    for name in chosen:
        world.programs[name].start()
    if "gateway" in chosen:
        world.wait_until(world.answers, what=f"seed {seed}: the gateway")


def _survive(world: FaultWorld, seeds: Sequence[int], victims: Sequence[str]) -> None:
    with world.load(RATE_PER_S, seed=seeds[0]) as load:
        for seed in seeds:
            _kill(world, seed, victims)
            world.require_kept(load.promises, why=f"after the kill of seed {seed}")
    world.require_kept(load.promises, why=f"in the end, after seeds {seeds[0]} to {seeds[-1]}")
    assert len(load.promises.interactions) > 5 * len(seeds), load.promises.statuses


def test_kills_of_gateway_and_ingest_lose_and_double_nothing(tmp_path: Path) -> None:
    """Thirty times one or both die under load; each time all that was acknowledged is stored."""
    with fault_world(tmp_path, segment_bytes=1 << 18) as world:
        _survive(world, range(30), ("gateway", "ingest"))


def test_kills_of_the_relay_too_lose_and_double_nothing(tmp_path: Path) -> None:
    """Twenty times the relay or the gateway die, with a broker between them and the store."""
    with (
        Broker() as broker,
        fault_world(
            tmp_path,
            ("gateway", "relay", "ingest"),
            kafka=broker.settings(),
            segment_bytes=1 << 18,
        ) as world,
    ):
        _survive(world, range(100, 120), ("relay", "gateway"))
        _survive(world, range(200, 204), ("ingest", "relay", "gateway"))
