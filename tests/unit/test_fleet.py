"""All engines are kept right side by side: those of the settings, restarted ones, late ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from pydantic import SecretStr
from sqlmodel import select

from core.settings import ApplicationSettings, EngineSettings, Settings
from feedback.store import Store
from feedback.tables import AdapterReplica, Application, EngineReplica
from serving.engine_list import EngineList
from serving.fleet import pinned_adapters, reconcile_fleet
from tests.fakes.engine import FakeEngine
from tests.ready_store import ready_store
from tests.unit.gateway_world import registered

LIVE = "shop--v1"


@dataclass
class World:
    """Engines and the store that says what they should have."""

    settings: Settings
    store: Store
    engines: list[FakeEngine]

    def states(self) -> dict[str, str]:
        """Return what the store says of each engine."""
        with self.store.session() as session:
            return {row.engine: row.state for row in session.exec(select(EngineReplica)).all()}

    def ready(self) -> set[str]:
        """Return the engines where the live adapter is ready."""
        with self.store.session() as session:
            rows = session.exec(
                select(AdapterReplica).where(
                    AdapterReplica.adapter == LIVE, AdapterReplica.state == "ready"
                )
            ).all()
        return {row.engine for row in rows}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Three engines run by others, and a live adapter that none of them has yet."""
    folder = tmp_path / LIVE
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8}))
    with ExitStack() as opened:
        engines = [opened.enter_context(FakeEngine()) for _ in range(3)]
        settings = Settings(
            data_dir=tmp_path,
            engine=EngineSettings(
                replicas=tuple(engine.url for engine in engines),
                reconcile_every_s=0.02,
                discover_every_s=0.05,
            ),
        )
        store = ready_store(settings.store_address)
        opened.callback(store.close)
        with store.session() as session:
            session.add(registered(LIVE, "shop", str(folder)))
            session.add(Application(name="shop", live_adapter=LIVE))
            session.commit()
        yield World(settings, store, engines)


@asynccontextmanager
async def running(world: World, engines: EngineList | None = None) -> AsyncGenerator[None]:
    """Keep the fleet while inside."""
    engines = engines or EngineList(world.settings.engine)
    task = asyncio.create_task(reconcile_fleet(world.settings, world.store, engines))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.02)


async def test_every_engine_gets_the_adapters(world: World) -> None:
    """Each for itself, and the store says so of each."""
    urls = {engine.url for engine in world.engines}
    async with running(world):
        await until(lambda: world.ready() == urls)
        assert world.states() == dict.fromkeys(urls, "up")
    assert all(LIVE in engine.adapters for engine in world.engines)


async def test_an_engine_that_is_away_holds_up_no_other_and_heals(world: World) -> None:
    """It is down in the store, the others are served; when it is back it gets its adapters."""
    away = world.engines[1]
    away.stop()
    async with running(world):
        await until(lambda: len(world.ready()) == 2)
        await until(lambda: world.states().get(away.url) == "down")
        away.restart()
        await until(lambda: len(world.ready()) == 3 and world.states()[away.url] == "up")
        for engine in world.engines:
            engine.restart()
        await until(lambda: all(LIVE in engine.adapters for engine in world.engines))


async def test_what_is_no_engine_is_down_and_harms_no_other(world: World) -> None:
    """A wrong URL in the settings: something answers there, but not as vLLM does."""

    async def greet(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/v1/models", greet)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    other = f"http://127.0.0.1:{runner.addresses[0][1]}"
    engines = EngineList(world.settings.engine)
    engines.urls = (*engines.urls, other)
    async with running(world, engines):
        await until(lambda: len(world.ready()) == 3)
        await until(lambda: world.states().get(other) == "down")
    await runner.cleanup()


async def test_engines_that_come_and_go_are_followed(world: World) -> None:
    """As Kubernetes adds and removes pods: rows of one that is gone are dropped."""
    engines = EngineList(world.settings.engine)
    first, second, third = (engine.url for engine in world.engines)
    engines.urls = (first, second)
    async with running(world, engines):
        await until(lambda: world.ready() == {first, second})
        engines.urls = (second, third)
        await until(lambda: world.ready() == {second, third})
        await until(lambda: set(world.states()) == {second, third})


async def test_what_outside_engines_have_stays_ready_over_a_restart_of_ours(world: World) -> None:
    """The reconcilers start anew, the engines did not: traffic goes on."""
    async with running(world):
        await until(lambda: len(world.ready()) == 3)
    asked = [len(engine.bodies) for engine in world.engines]
    async with running(world):
        await asyncio.sleep(0.2)
        assert len(world.ready()) == 3
    assert [len(engine.bodies) for engine in world.engines] == asked


def test_pins_are_those_of_the_settings() -> None:
    """`base` is no adapter, and needs no loading."""
    key = SecretStr("key")
    applications = {
        "a": ApplicationSettings(api_key=key, adapter="shop--v1"),
        "b": ApplicationSettings(api_key=key, adapter="base"),
        "c": ApplicationSettings(api_key=key),
    }
    assert pinned_adapters(Settings(applications=applications)) == {"shop--v1"}
