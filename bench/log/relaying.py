"""The relay to a real broker beside a bare producer, and how soon all is well after an outage.

The broker is Tansu, which speaks Kafka's protocol and keeps everything in memory: what is compared
is what our side costs, not a cluster.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from sqlmodel import func, select

from bench.gateway.process import Server, start
from bench.gateway.targets import ROOT
from bench.log.events import APPLICATION, records
from bench.log.figures import Extent, missed, ratio_of_medians
from bench.log.ingest import fill, settings_for
from core.settings import KafkaSettings, LogSettings, Settings
from feedback.log.kafka_client import TOPICS, make_producer, make_topics
from feedback.log.relay import POSITIONS_FILE, RelayPositions
from feedback.log.spool_status import spool_statuses
from feedback.store import Store
from feedback.tables import Feedback, Interaction
from loop.relaying import opened_relay
from tests.kafka_broker import Broker

CAUGHT_UP_WITHIN_S = 600.0
LOOK_EVERY_S = 0.2

Say = Callable[[str], None]


def measure_relay(folder: Path, extent: Extent) -> dict[str, Any]:
    """Return events/s of the relay and of a producer that only sends the same bytes."""
    ours: list[float] = []
    raw: list[float] = []
    for number in range(extent.relay_rounds):
        with Broker() as broker:
            kafka = broker.settings()
            settings = settings_for(folder / str(number), log=LogSettings(kafka=kafka))
            fill(settings_for(folder / str(number)), extent.relayed)
            make_topics(kafka)
            with opened_relay(settings) as relay:
                began_s = time.perf_counter()
                moved = relay.drain()
                ours.append(moved / (time.perf_counter() - began_s))
            raw.append(_produced_per_s(kafka, extent.relayed))
    return {
        "events_per_s": statistics.median(ours),
        "raw_per_s": statistics.median(raw),
        "to_raw": ratio_of_medians(ours, raw),
        "rounds": {"events_per_s": ours, "raw_per_s": raw},
    }


def _produced_per_s(kafka: KafkaSettings, interactions: int) -> float:
    """Return records/s of a producer with the relay's own options, which waits once at the end."""
    given = list(records(interactions))
    with closing(make_producer(kafka)) as producer:
        began_s = time.perf_counter()
        for record in given:
            producer.send(record.topic, record.value, record.key.encode())
        producer.flush(timeout=CAUGHT_UP_WITHIN_S)
        return len(given) / (time.perf_counter() - began_s)


def measure_catch_up(folder: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return how long relay and ingest need for what came in during an outage of the broker."""
    with ExitStack() as closing_all:
        broker = Broker()
        closing_all.callback(broker.kill)
        settings = settings_for(folder / "data", log=LogSettings(kafka=broker.settings()))
        events = fill(settings_for(folder / "data"), missed(extent) * 3 // 4)
        for name in ("relay", "ingest"):
            closing_all.enter_context(ratchet(folder, name, settings))
        say(f"{events:,} events wait; the broker comes in {extent.outage_waited_s:.0f} s")
        time.sleep(extent.outage_waited_s)
        broker.start()
        began_s = time.perf_counter()
        relayed_s = _wait_until(lambda: _is_relayed(settings), began_s)
        stored_s = _wait_until(lambda: _stored(settings) >= events, began_s)
    return {
        "events": events,
        "outage_s": extent.outage_s,
        "per_s": extent.outage_per_s,
        "relayed_s": relayed_s,
        "stored_s": stored_s,
    }


def _is_relayed(settings: Settings) -> bool:
    """Return whether nothing waits for the relay; a broker's own count may be too low (Tansu)."""
    positions = RelayPositions(settings.spool_dir / POSITIONS_FILE).read()
    spools = spool_statuses(settings.spool_dir, TOPICS, positions, settings.log.max_bytes)
    return all(spool.waiting == 0 for spool in spools)


@contextmanager
def ratchet(folder: Path, name: str, settings: Settings) -> Generator[Server]:
    """Run a process of Ratchet until the block ends."""
    file, log = folder / "ratchet.toml", folder / f"{name}.log"
    (server,) = settings.log.kafka.servers
    file.write_text(
        f'data_dir = "{settings.data_dir}"\nlog_level = "WARNING"\n'
        f'[applications.{APPLICATION}]\napi_key = "bench-key-0123456789"\n'
        f'[log.kafka]\nservers = ["{server}"]\npartitions = 3\nreplication = 1\n'
        "session_timeout_ms = 6000\n"
    )
    command = (sys.executable, "-m", "loop.cli", "--settings", str(file), name)
    process = start(name, command, 0, log=log, core=None, environment={"PWD": str(ROOT)})
    try:
        yield process
    finally:
        process.stop()


def _stored(settings: Settings) -> int:
    with closing(Store(settings.store_address)) as store, store.session() as session:
        interactions = session.exec(select(func.count()).select_from(Interaction)).one()
        return interactions + session.exec(select(func.count()).select_from(Feedback)).one()


def _wait_until(reached: Callable[[], bool], began_s: float) -> float | None:
    """Return how long it took since `began_s`, or None if it never came to that."""
    while time.perf_counter() - began_s < CAUGHT_UP_WITHIN_S:
        if reached():
            return time.perf_counter() - began_s
        time.sleep(LOOK_EVERY_S)
    return None
