"""What Ratchet relies on in an engine: the fake and the real vLLM pass the same tests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from core.errors import AdapterRefused, EngineError, RequestError
from serving.dialects.chat import CHAT, COMPLETIONS
from serving.dialects.messages import MESSAGES
from serving.dialects.protocol import Dialect, Fate
from serving.dialects.responses import RESPONSES
from serving.engine_client import (
    EngineAnswer,
    EngineClient,
    EngineRequest,
    ModelMissing,
    NotConnected,
    NotOffered,
)
from serving.requests import InferenceRequest, engine_body, parse
from serving.sse import Splitter
from tests.fakes.engine import FakeEngine
from tests.fakes.lora import write_base_config, write_lora

PROMPT = "The capital of France is"
TURNS = [{"role": "user", "content": "Say hello."}]
ASKED: list[tuple[Dialect, dict[str, Any]]] = [
    (CHAT, {"messages": TURNS, "max_tokens": 4}),
    (COMPLETIONS, {"prompt": PROMPT, "max_tokens": 4}),
    (RESPONSES, {"input": "Say hello.", "max_output_tokens": 4}),
    (MESSAGES, {"messages": TURNS, "max_tokens": 4}),
]
DIALECTS = pytest.mark.parametrize(
    ("dialect", "fields"), ASKED, ids=[dialect.path for dialect, _ in ASKED]
)


@dataclass(frozen=True)
class World:
    """An engine and the base model for which adapters are written."""

    url: str
    base_model: Path


@pytest.fixture(scope="module", params=["fake", pytest.param("vllm", marks=pytest.mark.stack)])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    if request.param == "vllm":
        yield World(request.getfixturevalue("vllm_engine"), request.getfixturevalue("base_model"))
        return
    with FakeEngine() as engine:
        yield World(engine.url, write_base_config(tmp_path_factory.mktemp("base")))


@pytest.fixture
async def client(world: World) -> AsyncIterator[EngineClient]:
    async with EngineClient(world.url) as opened:
        yield opened


def body(model: str = "base", **fields: Any) -> bytes:
    return msgspec.json.encode({"model": model, "temperature": 0, **fields})


async def read_json(client: EngineClient, path: str, request: bytes) -> Any:
    answer = await client.open(EngineRequest(path, request))
    try:
        return msgspec.json.decode(await answer.read())
    finally:
        answer.close()


async def read_events(answer: EngineAnswer) -> list[bytes]:
    """Return the events of a whole stream."""
    splitter, events = Splitter(), list[bytes]()
    async for piece in answer.chunks():
        events += splitter.feed(piece)
    answer.close()
    assert splitter.rest == b""
    return events


def request_of(dialect: Dialect, **fields: Any) -> InferenceRequest:
    """Return a request as the gateway would have it from a client."""
    return parse(body("shop", **fields), dialect.request)


async def test_a_running_engine_is_healthy(client: EngineClient) -> None:
    """Health is told by the engine itself."""
    assert await client.is_healthy()


@DIALECTS
async def test_an_answer_is_read_with_its_counts(
    client: EngineClient, dialect: Dialect, fields: dict[str, Any]
) -> None:
    """In each dialect an answer has text, a finish reason in OpenAI's words, and token counts."""
    asked = engine_body(request_of(dialect, **fields), "base")
    answer = await client.open(EngineRequest(dialect.path, asked))
    said = dialect.read_answer(await answer.read())
    answer.close()
    assert said.text
    assert said.finish_reason in {"stop", "length"}
    assert said.prompt_tokens
    assert said.completion_tokens is not None
    assert 0 < said.completion_tokens <= 4


async def test_a_completion_is_cut_at_max_tokens(client: EngineClient) -> None:
    """One token was asked for, one is given, and the finish reason says so."""
    answer = await read_json(client, "/v1/completions", body(prompt=PROMPT, max_tokens=1))
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 1
    assert answer["choices"][0]["text"]


@DIALECTS
async def test_a_stream_is_read_to_its_end(
    client: EngineClient, dialect: Dialect, fields: dict[str, Any]
) -> None:
    """Text, finish reason and token counts come before the one event that ends the stream."""
    request = request_of(dialect, stream=True, **fields)
    assert dialect.open_stream is not None
    reader = dialect.open_stream(request)
    answer = await client.open(EngineRequest(dialect.path, engine_body(request, "base")))
    events = await read_events(answer)
    fates = [reader.read(event) for event in events]
    said = reader.transcript.said()
    assert said.text
    assert said.finish_reason in {"stop", "length"}
    assert said.prompt_tokens
    assert said.completion_tokens is not None
    assert 0 < said.completion_tokens <= 4
    assert fates.index(Fate.END) == len(fates) - 1
    assert Fate.DROP in fates or dialect in (RESPONSES, MESSAGES), "who asked for the counts?"


@DIALECTS
async def test_what_passes_early_passes_whole(
    client: EngineClient, dialect: Dialect, fields: dict[str, Any]
) -> None:
    """An event whose start may go on is never one that is dropped or held."""
    request = request_of(dialect, stream=True, **fields)
    assert dialect.open_stream is not None
    reader = dialect.open_stream(request)
    answer = await client.open(EngineRequest(dialect.path, engine_body(request, "base")))
    early = 0
    for event in await read_events(answer):
        starts = [reader.passes(event[:size]) for size in range(len(event))]
        assert not any(starts) or reader.read(event) is Fate.PASS
        early += any(starts)
    assert early >= 2, "nothing went on before it was whole"


@DIALECTS
async def test_an_unknown_model_is_missing(
    client: EngineClient, dialect: Dialect, fields: dict[str, Any]
) -> None:
    """A model that the engine does not have is told apart from other faults."""
    asked = engine_body(request_of(dialect, **fields), "nobody--v1")
    with pytest.raises(ModelMissing, match="nobody--v1"):
        await client.open(EngineRequest(dialect.path, asked))


async def test_a_path_without_a_model_for_it_is_not_offered(client: EngineClient) -> None:
    """A generative model makes no embeddings, and that is no missing model."""
    with pytest.raises(NotOffered, match="does not offer"):
        await client.open(EngineRequest("/v1/embeddings", body(input=PROMPT)))


async def test_too_many_tokens_are_the_clients_fault(client: EngineClient) -> None:
    """A request beyond the context window comes back as the client's own error."""
    with pytest.raises(RequestError, match="100000"):
        await client.open(EngineRequest("/v1/completions", body(prompt=PROMPT, max_tokens=100_000)))


async def test_an_adapter_comes_answers_and_goes(
    client: EngineClient, world: World, tmp_path: Path
) -> None:
    """A loaded adapter is listed with its folder, answers, and is gone once unloaded."""
    folder = str(write_lora(tmp_path / "lora", world.base_model))
    await client.load("contract--v1", folder)
    assert (await client.adapters())["contract--v1"] == folder
    await client.try_adapter("contract--v1")
    answer = await read_json(
        client, "/v1/completions", body("contract--v1", prompt=PROMPT, max_tokens=2)
    )
    assert answer["model"] == "contract--v1"
    await client.unload("contract--v1")
    assert "contract--v1" not in await client.adapters()
    with pytest.raises(ModelMissing):
        await client.try_adapter("contract--v1")


async def test_an_adapter_is_not_loaded_twice(
    client: EngineClient, world: World, tmp_path: Path
) -> None:
    """A name in use is refused, whatever is in the folder."""
    folder = str(write_lora(tmp_path / "lora", world.base_model))
    await client.load("contract--v2", folder)
    with pytest.raises(AdapterRefused, match="already been loaded"):
        await client.load("contract--v2", folder)
    await client.unload("contract--v2")


async def test_a_folder_without_an_adapter_is_refused(client: EngineClient, tmp_path: Path) -> None:
    """An empty folder will never become an adapter."""
    with pytest.raises(AdapterRefused, match="contract--v3"):
        await client.load("contract--v3", str(tmp_path))


async def test_a_rank_that_is_too_large_is_the_engines_error(
    client: EngineClient, world: World, tmp_path: Path
) -> None:
    """vLLM says 500 for what it will never load: the reconciler counts attempts for that."""
    folder = write_lora(tmp_path / "lora", world.base_model, rank=64)
    with pytest.raises(EngineError, match="rank 64") as caught:
        await client.load("contract--v4", str(folder))
    assert not isinstance(caught.value, AdapterRefused)
    assert "contract--v4" not in await client.adapters()


async def test_unloading_what_is_not_there_is_no_error(client: EngineClient) -> None:
    """The wish is that it is gone, and it is."""
    await client.unload("contract--v5")


async def test_an_answer_that_is_left_is_aborted(client: EngineClient) -> None:
    """Closing a stream early ends the request in the engine too."""
    asked = body(prompt=PROMPT, max_tokens=1500, stream=True, ignore_eos=True)
    answer = await client.open(EngineRequest("/v1/completions", asked))
    async for _ in answer.chunks():
        break
    answer.close()
    async with asyncio.timeout(30):
        while await running_requests(client.url) > 0:
            await asyncio.sleep(0.05)


async def test_nobody_there_is_not_connected() -> None:
    """A port without an engine is told apart from an engine that fails."""
    async with EngineClient("http://127.0.0.1:9") as nobody:
        assert not await nobody.is_healthy()
        with pytest.raises(NotConnected, match="no engine"):
            await nobody.open(EngineRequest("/v1/completions", body(prompt=PROMPT)))


async def running_requests(url: str) -> float:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        found = re.search(r"^vllm:num_requests_running\{.*\} (\S+)$", await response.text(), re.M)
    assert found is not None
    return float(found[1])
