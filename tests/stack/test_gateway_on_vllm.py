"""The gateway and the reconciler on the real vLLM with the real model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr
from sqlmodel import select

from core.settings import ApplicationSettings, EngineSettings, GatewaySettings, Settings
from feedback.events import INTERACTIONS_TOPIC, InteractionFinished, decode
from feedback.log.spool import Spool, SpoolLimits
from feedback.store import Store
from feedback.tables import AdapterReplica, Application, Rollout
from serving.engine_client import EngineClient
from serving.reconciler import MAX_ATTEMPTS, Reconciler
from serving.server import run_gateway
from tests.fakes.lora import write_lora
from tests.ports import free_port
from tests.ready_store import ready_store
from tests.unit.gateway_world import KEYS, registered

pytestmark = pytest.mark.stack

STRONG = 0.5  # enough that an adapter says something else than the base model
PROMPTS = ["The capital of France is", "Once upon a time there was a", "To return a parcel you"]


@dataclass
class World:
    """A gateway in front of vLLM."""

    settings: Settings
    store: Store
    log: Spool
    folder: Path
    base_model: Path

    @property
    def url(self) -> str:
        return self.settings.gateway.url

    def register(self, name: str, **lora: Any) -> None:
        folder = write_lora(self.folder / name, self.base_model, **lora)
        with self.store.session() as session:
            session.add(registered(name, "shop", str(folder)))
            session.commit()

    def start_rollout(self, baseline: str | None, canary: str) -> None:
        with self.store.session() as session:
            session.merge(Application(name="shop", live_adapter=baseline))
            session.merge(
                Rollout(
                    id=f"to-{canary}",
                    application="shop",
                    baseline_adapter=baseline,
                    canary_adapter=canary,
                    state="canary",
                    step=0,
                    share=0.5,
                    salt="salt",
                )
            )
            session.commit()

    def end_rollouts(self) -> None:
        with self.store.session() as session:
            for row in session.exec(select(Rollout)).all():
                session.delete(row)
            session.merge(Application(name="shop", live_adapter=None))
            session.commit()

    async def reconcile(self, *, times: int = 1) -> None:
        async with EngineClient(self.settings.engine.url) as client:
            for _ in range(times):
                await Reconciler(self.store, client).reconcile_once()
        await asyncio.sleep(4 * self.settings.gateway.route_refresh_s)  # the gateway sees it too

    def event(self, interaction: str) -> InteractionFinished:
        for record in self.log.read(INTERACTIONS_TOPIC, after=0, limit=10_000):
            event = decode(record.topic, record.value)
            if isinstance(event, InteractionFinished) and event.interaction_id == interaction:
                return event
        raise AssertionError(f"interaction {interaction} is not in the log")


@pytest.fixture(scope="module")
def world(
    vllm_engine: str, base_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("gateway")
    settings = Settings(
        data_dir=folder,
        applications={"shop": ApplicationSettings(api_key=SecretStr("shop-key"), redaction="full")},
        engine=EngineSettings(port=int(vllm_engine.rsplit(":", 1)[1])),
        gateway=GatewaySettings(port=free_port(), route_refresh_s=0.05),
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
        _wait_until_alive(settings.gateway.url)
        yield World(settings, store, log, folder, base_model)
    finally:
        stop.set()
        thread.join(40)
        log.close()
        store.close()


def _wait_until_alive(url: str) -> None:
    transport = httpx.HTTPTransport(retries=8)  # its pauses double from half a second
    with httpx.Client(transport=transport) as client:
        assert client.get(f"{url}/health/live").status_code == 200


@pytest.fixture
async def client(world: World) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{world.url}/v1", api_key="shop-key", max_retries=0, timeout=120
    ) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def tidy(world: World) -> AsyncIterator[None]:
    """Leave the shared engine without adapters."""
    yield
    world.end_rollouts()
    await world.reconcile()


async def complete(client: openai.AsyncOpenAI, model: str, prompt: str) -> str:
    answer = await client.completions.create(
        model=model, prompt=prompt, max_tokens=12, temperature=0
    )
    return answer.choices[0].text


async def test_a_chat_streams_and_is_logged(world: World, client: openai.AsyncOpenAI) -> None:
    """Real tokens, counted by the engine, and a receipt in the last chunk."""
    stream = await client.chat.completions.create(
        model="shop",
        messages=[{"role": "user", "content": "Say hello to the world."}],
        max_tokens=12,
        stream=True,
        user="ann",
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    stamp: Any = (chunks[-1].model_extra or {})["ratchet"]
    event = world.event(stamp["interaction"])
    assert text
    assert event.answer == text
    assert event.status == "ok"
    assert event.prompt_tokens
    assert event.completion_tokens is not None
    assert 0 < event.completion_tokens <= 12
    assert event.ttft_s is not None
    assert 0 < event.ttft_s <= event.latency_s


async def test_pace_is_what_the_engine_measures(world: World, client: openai.AsyncOpenAI) -> None:
    """Time to first token and between tokens agree with vLLM's own metrics of the same stream."""
    names = ("vllm:time_to_first_token_seconds_sum", "vllm:inter_token_latency_seconds_sum")
    before = [_summed(f"{world.settings.engine.url}/metrics", name) for name in names]
    stream = await client.chat.completions.create(
        model="shop",
        messages=[{"role": "user", "content": "Tell me about the sea."}],
        max_tokens=40,
        stream=True,
        extra_body={"seed": 1},
    )
    chunks = [chunk async for chunk in stream]
    stamp: Any = (chunks[-1].model_extra or {})["ratchet"]
    event = world.event(stamp["interaction"])
    after = [_summed(f"{world.settings.engine.url}/metrics", name) for name in names]
    engines_ttft_s, engines_pauses_s = (new - old for new, old in zip(after, before, strict=True))
    assert event.completion_tokens is not None
    assert event.itl_s is not None
    assert event.ttft_s is not None
    pauses_s = event.itl_s * (event.completion_tokens - 1)
    assert pauses_s == pytest.approx(engines_pauses_s, rel=0.2, abs=0.05)
    assert event.ttft_s == pytest.approx(engines_ttft_s, rel=0.5, abs=0.2)
    assert _summed(f"{world.url}/metrics", "ratchet_inter_token_latency_seconds_sum") > 0


def _summed(url: str, name: str) -> float:
    """Return the sum of a metric's samples over all labels."""
    lines = httpx.get(url).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_both_arms_of_a_canary_answer(world: World, client: openai.AsyncOpenAI) -> None:
    """The reconciler loads the canary, the gateway splits, and each arm is its own model."""
    world.register("shop--v1", seed=1, strength=STRONG)
    world.start_rollout(None, "shop--v1")
    await world.reconcile()
    texts: dict[str, set[str]] = {"base": set(), "shop--v1": set()}
    for number in range(12):
        raw = await client.completions.with_raw_response.create(
            model="shop", prompt=PROMPTS[0], max_tokens=8, temperature=0, user=f"user-{number}"
        )
        adapter = raw.headers["x-ratchet-adapter"]
        texts[adapter].add(raw.parse().choices[0].text)
        event = world.event(raw.headers["x-ratchet-interaction"])
        assert event.rollout_id == "to-shop--v1"
        assert event.arm == ("baseline" if adapter == "base" else "canary")
    assert texts["base"]
    assert texts["shop--v1"]
    assert not texts["base"] & texts["shop--v1"], "the adapter changed nothing"


async def test_base_answers_do_not_change_beside_adapters(
    world: World, client: openai.AsyncOpenAI
) -> None:
    """With every slot taken, base tokens in a mixed batch stay the base model's."""
    alone = [await complete(client, "base", prompt) for prompt in PROMPTS]
    names = [f"shop--v1{number}" for number in range(world.settings.engine.max_adapters)]
    for number, name in enumerate(names):
        world.register(name, seed=10 + number, strength=STRONG)
        world.start_rollout(None, name)
    await world.reconcile()
    for name in names:  # their slots are taken when they answer
        await complete(client, name, PROMPTS[0])
    mixed = await asyncio.gather(
        *[complete(client, "base", prompt) for prompt in PROMPTS],
        *[complete(client, name, prompt) for name in names for prompt in PROMPTS],
    )
    assert list(mixed[: len(PROMPTS)]) == alone


async def test_vllm_refuses_a_rank_that_is_too_large(world: World) -> None:
    """After some attempts the replica says `refused`, with vLLM's own words."""
    world.register("shop--v90", rank=64)
    world.start_rollout(None, "shop--v90")
    engine = world.settings.engine.url
    for _ in range(MAX_ATTEMPTS):
        with world.store.session() as session:  # let the pause pass
            if row := session.get(AdapterReplica, ("shop--v90", engine)):
                row.checked_at = row.checked_at.replace(year=2000)
                session.add(row)
                session.commit()
        await world.reconcile()
    with world.store.session() as session:
        row = session.get(AdapterReplica, ("shop--v90", engine))
    assert row is not None
    assert row.state == "refused"
    assert "rank" in (row.error or "")
