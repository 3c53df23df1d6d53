"""The pool: loads add up, engines come and go, and answers under way may end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from core.errors import RequestError
from core.settings import EngineSettings
from serving.engine_client import EngineAnswer, EngineRequest, NotConnected
from serving.engine_list import EngineList
from serving.engine_pool import EnginePool
from tests.fakes.engine import FakeEngine
from tests.fakes.kubernetes import FakeKubernetes

PATH = "/v1/completions"


def body(**fields: object) -> bytes:
    return msgspec.json.encode({"model": "base", "prompt": "Hello", **fields})


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[FakeKubernetes]:
    async with FakeKubernetes(tmp_path) as opened:
        yield opened


def pool_of(*engines: FakeEngine, **changes: object) -> EnginePool:
    urls = tuple(engine.url for engine in engines)
    settings = EngineSettings.model_validate({"replicas": urls, **changes})
    return EnginePool(EngineList(settings), settings)


async def ask(pool: EnginePool, key: bytes = b"", **fields: object) -> EngineAnswer:
    return await pool.open(pool.usable(), key, EngineRequest(PATH, body(**fields)))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_open_answers_are_the_load_until_they_are_closed() -> None:
    """Six streams with one key spread over three engines; closed, again or not, they are gone."""
    with FakeEngine() as a, FakeEngine() as b, FakeEngine() as c:
        a.word_pause_s = b.word_pause_s = c.word_pause_s = 0.2
        async with pool_of(a, b, c) as pool:
            answers = [await ask(pool, b"same", stream=True) for _ in range(6)]
            loads = sorted(pool.in_flight(engine.url) for engine in (a, b, c))
            assert (sum(loads), loads[0] >= 1, loads[-1] <= 3) == (6, True, True)
            for answer in [*answers, *answers]:
                answer.close()
            assert [pool.in_flight(engine.url) for engine in (a, b, c)] == [0, 0, 0]


async def test_what_fails_is_no_load() -> None:
    """Neither an engine's no nor a client that leaves stays in the count."""
    with FakeEngine() as engine:
        async with pool_of(engine) as pool:
            with pytest.raises(RequestError):
                await ask(pool, max_tokens=99_999)
            engine.word_pause_s = 1.0
            waiting = asyncio.create_task(ask(pool))
            await until(lambda: pool.in_flight(engine.url) == 1)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert pool.in_flight(engine.url) == 0


async def test_refused_connections_tell_of_health_too() -> None:
    """They eject before the next look does; only a look brings the engine back."""
    with FakeEngine() as well, FakeEngine() as sick:
        sick.stop()
        async with pool_of(well, sick, eject_after=2, check_every_s=0.5) as pool:
            for _ in range(2):
                with pytest.raises(NotConnected):
                    await pool.open([sick.url], b"", EngineRequest(PATH, body()))
            assert pool.usable() == [well.url]
            sick.restart()
            await until(lambda: set(pool.usable()) == {well.url, sick.url})


async def test_a_pool_without_engines_is_not_connected() -> None:
    """The message names the setting."""
    with FakeEngine() as engine:
        async with pool_of(engine) as pool:
            with pytest.raises(NotConnected, match=r"engine\.replicas"):
                await pool.open([], b"", EngineRequest(PATH, body()))
            with pytest.raises(NotConnected):
                await pool.open(["http://gone"], b"", EngineRequest(PATH, body()))


async def test_the_pool_follows_kubernetes(api: FakeKubernetes) -> None:
    """A pod that goes gets no more requests, and may end its answer; one that comes is used."""
    with FakeEngine() as engine:
        settings = EngineSettings(
            kubernetes_service="models/vllm:http",
            kubernetes_url=api.url,
            kubernetes_account=api.account,
            discover_every_s=0.02,
        )
        api.put("127.0.0.1", port=engine.port)
        engine.word_pause_s = 0.1
        async with EnginePool(EngineList(settings), settings) as pool:
            assert pool.usable() == [engine.url]
            answer = await ask(pool, stream=True)
            api.put()
            await until(lambda: pool.usable() == [])
            text = b"".join([piece async for piece in answer.chunks()])
            answer.close()
            assert text.endswith(b"data: [DONE]\n\n")
            api.put("127.0.0.1", port=engine.port)
            await until(lambda: pool.usable() == [engine.url])
            (await ask(pool)).close()
