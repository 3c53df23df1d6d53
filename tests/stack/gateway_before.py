"""A gateway in front of a real engine, with the log that it writes."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.settings import ApplicationSettings, EngineSettings, GatewaySettings, Settings
from feedback.events import INTERACTIONS_TOPIC, InteractionFinished, decode
from feedback.log.spool import Spool, SpoolLimits
from serving.server import run_gateway
from tests.ports import free_port
from tests.ready_store import ready_store
from tests.unit.gateway_world import KEYS

KEY = "shop-key"


@dataclass
class World:
    """A gateway in front of vLLM."""

    url: str
    log: Spool

    def event(self, carrier: Any) -> InteractionFinished:
        """Return the interaction whose stamp the answer (or its last event) carries."""
        return self.find((carrier.model_extra or {})["ratchet"]["interaction"])

    def find(self, interaction: str, *, timeout_s: float = 10.0) -> InteractionFinished:
        """Return the interaction of that id, which may come after its client has gone."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for record in self.log.read(INTERACTIONS_TOPIC, after=0, limit=10_000):
                event = decode(record.topic, record.value)
                if isinstance(event, InteractionFinished) and event.interaction_id == interaction:
                    return event
            time.sleep(0.1)
        raise AssertionError(f"interaction {interaction} is not in the log")


@contextmanager
def gateway_before(engine: str, folder: Path) -> Generator[World]:
    """Give a gateway of the application `shop` before the engine at that URL.

    What is logged is not redacted: tests compare it, and a model may answer with anybody's name.
    """
    settings = Settings(
        data_dir=folder,
        applications={"shop": ApplicationSettings(api_key=SecretStr(KEY), redaction="full")},
        engine=EngineSettings(port=int(engine.rsplit(":", 1)[1])),
        gateway=GatewaySettings(port=free_port()),
    )
    store = ready_store(settings.store_address)
    log = Spool(settings.spool_dir / "service-0-test", SpoolLimits(1 << 30))
    stop = threading.Event()
    thread = threading.Thread(
        target=run_gateway,
        args=(settings,),
        kwargs={"store": store, "log": log, "keys": KEYS, "stop": stop},
    )
    thread.start()
    try:
        yield World(settings.gateway.url, log)
    finally:
        stop.set()
        thread.join(40)
        log.close()
        store.close()
