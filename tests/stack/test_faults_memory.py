"""An outage of 100,000 events: they wait on the disk, and not in the memory of any process."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.log.outage import measure_outage
from core.settings import KafkaSettings
from tests.ports import free_port
from tests.stack.fault_world import fault_world

pytestmark = pytest.mark.stack

EVENTS = 100_000
GROWTH_MB = 20.0


def test_an_outage_grows_the_spool_and_not_the_processes(tmp_path: Path) -> None:
    """100,000 events through a spool's writer, and a relay beside it whose broker is away."""
    found = measure_outage(tmp_path, EVENTS)
    assert found.spool_bytes > EVENTS * 1_000
    assert found.writer_growth_mb < GROWTH_MB
    assert found.relay_growth_mb < GROWTH_MB


def test_a_gateway_without_its_broker_stays_as_it_is(tmp_path: Path) -> None:
    """Some thousand answers are logged while nobody takes them away."""
    away = KafkaSettings(servers=(f"127.0.0.1:{free_port()}",))
    with fault_world(tmp_path, ("gateway", "relay"), kafka=away) as world:
        with world.load(150.0) as load:
            world.wait_until(lambda: len(load.promises.interactions) > 500)
            warm = {name: program.resident_mb() for name, program in world.programs.items()}
            world.wait_until(lambda: len(load.promises.interactions) > 2_500)
        for name, program in world.programs.items():
            assert program.resident_mb() - warm[name] < GROWTH_MB, name
