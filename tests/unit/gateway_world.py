"""A gateway on a free port, over fake engines and a log in memory, for the gateway's tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
from pydantic import SecretStr

from core.keys import Keys
from core.settings import (
    ApplicationSettings,
    CanarySettings,
    EngineSettings,
    GatewaySettings,
    LogSettings,
    Settings,
)
from feedback.events import INTERACTIONS_TOPIC, InteractionFinished, decode
from feedback.store import Store
from feedback.tables import Adapter, AdapterReplica, Application, Rollout
from serving.server import run_gateway
from tests.fakes.engine import FakeEngine
from tests.fakes.memory_log import MemoryLog
from tests.ports import free_port
from tests.ready_store import ready_store

KEYS = Keys(receipt=(b"a key for tests",), subject=b"another")
APPLICATION = "shop"
API_KEY = "shop-key"
LIVE = "shop--v1"
CANARY = "shop--v2"
REFRESH_S = 0.05
ORIGIN = "https://shop.example"


@dataclass
class World:
    """Everything around one gateway; `engine` is the first of its engines."""

    settings: Settings
    engine: FakeEngine
    store: Store
    log: MemoryLog
    forgotten: int = 0  # offset up to which `events` does not look
    others: Sequence[FakeEngine] = field(default_factory=list[FakeEngine])

    @property
    def engines(self) -> list[FakeEngine]:
        """All engines that the gateway may ask."""
        return [self.engine, *self.others]

    @property
    def url(self) -> str:
        """The gateway's base URL."""
        return self.settings.gateway.url

    def client(self, *, api_key: str = API_KEY) -> openai.OpenAI:
        """Return the official client, without retries: a fault must show. Close it."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key, max_retries=0, timeout=20)

    def post(self, path: str, body: Any, *, api_key: str = API_KEY) -> httpx.Response:
        """Send JSON as any client would."""
        headers = {"authorization": f"Bearer {api_key}"}
        return httpx.post(f"{self.url}{path}", json=body, headers=headers, timeout=20)

    def events(self) -> list[InteractionFinished]:
        """Return the interactions that the log holds."""
        records = self.log.read(INTERACTIONS_TOPIC, after=self.forgotten, limit=1000)
        events = [decode(record.topic, record.value) for record in records]
        return [event for event in events if isinstance(event, InteractionFinished)]

    def wait_for_event(self, timeout_s: float = 5.0) -> InteractionFinished:
        """Return the only interaction, which may come after its client has gone."""
        self.engine.wait_until(lambda: bool(self.events()), timeout_s)
        (event,) = self.events()
        return event

    def forget(self) -> None:
        """Make an engine without faults, and no interactions so far."""
        self.forgotten = self.log.end(INTERACTIONS_TOPIC)
        self.engine.behave()

    def add_live_adapter(self, name: str = LIVE, *, application: str = APPLICATION) -> None:
        """Make `name` the application's live adapter, registered, loaded and ready."""
        self.add_adapter(name, application=application)
        with self.store.session() as session:
            row = session.get(Application, application) or Application(name=application)
            row.live_adapter = name
            session.add(row)
            session.commit()

    def add_adapter(
        self,
        name: str,
        *,
        application: str = APPLICATION,
        on: Sequence[FakeEngine] | None = None,
    ) -> None:
        """Register an adapter that the engines in `on` (default: all) have ready."""
        with self.store.session() as session:
            session.add(registered(name, application))
            for engine in self.engines if on is None else on:
                engine.adapters[name] = f"adapters/{name}"
                session.add(AdapterReplica(adapter=name, engine=engine.url, state="ready"))
            session.commit()

    def add_rollout(self, *, share: float, state: str = "canary") -> None:
        """Start a rollout of the second adapter against the live one."""
        with self.store.session() as session:
            session.add(
                Rollout(
                    id="rollout-1",
                    application=APPLICATION,
                    baseline_adapter=LIVE,
                    canary_adapter=CANARY,
                    state=state,
                    step=1,
                    share=share,
                    salt="salt",
                )
            )
            session.commit()

    def wait_until_routed(self, model: str, *, served_by: str) -> None:
        """Return when the gateway's route table says so; forgets the requests that it took."""

        def is_served() -> bool:
            answer = self.post("/v1/completions", {"model": model, "prompt": "?"})
            return answer.headers.get("x-ratchet-adapter") == served_by

        self.engine.wait_until(is_served)
        self.forgotten = self.log.end(INTERACTIONS_TOPIC)
        for engine in self.engines:
            engine.bodies.clear()


def registered(name: str, application: str, folder: str | None = None) -> Adapter:
    """Return a row of the registry."""
    return Adapter(
        name=name,
        application=application,
        base_model="base",
        path=folder or f"adapters/{name}",
        content_hash=name,
        run_id="run",
        dataset_id="dataset",
        rank=8,
        created_by="test",
    )


def gateway_settings(
    folder: Path,
    engines: Sequence[FakeEngine],
    changes: Mapping[str, Mapping[str, Any]],
    **log: Any,
) -> Settings:
    """Return settings with two applications and short times.

    `changes` are to the sections `engine` and `canary`, and to the applications.
    """
    replicas = tuple(engine.url for engine in engines) if len(engines) > 1 else ()
    return Settings(
        data_dir=folder,
        applications={
            APPLICATION: ApplicationSettings(
                api_key=SecretStr(API_KEY), **changes.get(APPLICATION, {})
            ),
            "bank": ApplicationSettings(
                api_key=SecretStr("bank-key"),
                redaction="metadata_only",
                **changes.get("bank", {}),
            ),
        },
        engine=EngineSettings(port=engines[0].port, replicas=replicas, **changes.get("engine", {})),
        canary=CanarySettings(**changes.get("canary", {})),
        gateway=GatewaySettings(
            port=free_port(),
            route_refresh_s=REFRESH_S,
            max_body_bytes=20_000,
            request_timeout_s=3.0,
            allowed_origins=(ORIGIN,),
        ),
        log=LogSettings(**log),
    )


@contextmanager
def open_world(
    folder: Path,
    *,
    log: MemoryLog | None = None,
    prepare: Callable[[World], None] | None = None,
    embeds: bool = False,
    engines: int = 1,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    **log_settings: Any,
) -> Generator[World]:
    """Give a world whose gateway is up; `prepare` fills the store before it starts."""
    with ExitStack() as opened:
        fakes = [opened.enter_context(FakeEngine(embeds=embeds)) for _ in range(engines)]
        settings = gateway_settings(folder, fakes, changes or {}, **log_settings)
        store = ready_store(settings.store_address)
        world = World(settings, fakes[0], store, log or MemoryLog(), others=fakes[1:])
        if prepare is not None:
            prepare(world)
        with running_gateway(world):
            yield world
        store.close()


@contextmanager
def running_gateway(world: World) -> Generator[None]:
    """Run the gateway in a thread until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(
        target=run_gateway,
        args=(world.settings,),
        kwargs={"store": world.store, "log": world.log, "keys": KEYS, "stop": stop},
        name="gateway",
    )
    thread.start()
    try:
        world.engine.wait_until(lambda: _answers(world.url), 20)
        yield
    finally:
        stop.set()
        thread.join(40)
        assert not thread.is_alive(), "the gateway did not stop"


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False
