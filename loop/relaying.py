"""Runs the relay: what waits in this machine's spools goes to Kafka, for as long as it takes.

Settings go in. Needs no store, so that it works while that is away. Outages are told once and
waited out. Run it by `ratchet relay`; `ratchet up` does where Kafka is set.
"""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager

from core.errors import LogUnavailableError, SettingsError, StateError
from core.outage import Outage
from core.settings import Settings
from feedback.log.kafka_client import TOPICS
from feedback.log.relay import Relay
from feedback.log.spool_source import Keeping, SpoolSource
from loop.chores import Chores, spool_chores
from loop.log_metrics import serve_relay_metrics

LOCK_FILE = "relay.lock"


@contextmanager
def opened_relay(settings: Settings) -> Generator[Relay]:
    """Give the only relay of this machine's spools.

    Raises: SettingsError without Kafka; StateError when another process is the relay.
    """
    if not settings.log.kafka.servers:
        raise SettingsError(
            "log.kafka.servers is not set, so the spools are the event log and nothing is to be "
            'moved: set it to ["host:9092"] to use Kafka'
        )
    settings.spool_dir.mkdir(parents=True, exist_ok=True)
    with (settings.spool_dir / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(
                f"another process moves the spools in {settings.spool_dir} already: let it"
            ) from error
        source = SpoolSource(settings.spool_dir, TOPICS, Keeping(0.0, settings.log.max_bytes))
        with (
            closing(source),
            closing(Relay(source, settings.spool_dir, settings.log.kafka)) as relay,
        ):
            yield relay


def run_relay(settings: Settings, stop: threading.Event) -> None:
    """Move records until `stop` is set."""
    outage = Outage("kafka")
    with opened_relay(settings) as relay:
        serve_relay_metrics(settings, relay)
        chores = Chores(spool_chores(settings, relay.let_go))
        while not stop.is_set():
            try:
                moved = relay.run_once()
            except LogUnavailableError as error:
                stop.wait(outage.begin(error))
                continue
            outage.end()
            chores.run_due()
            if moved == 0:
                stop.wait(settings.log.kafka.relay_every_s)
