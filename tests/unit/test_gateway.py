"""The gateway over a fake engine, asked with the official OpenAI client and with plain HTTP."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from sqlalchemy import text

from core.clock import utc_now
from core.errors import SettingsError
from core.ids import subject_hash
from feedback.events import FEEDBACK_TOPIC
from feedback.log.protocol import NewRecord
from feedback.receipts import verify
from serving.exchange import REDACTED_AT_ONCE_CHARS
from serving.server import run_gateway
from tests.fakes.memory_log import MemoryLog
from tests.unit.gateway_world import (
    APPLICATION,
    CANARY,
    KEYS,
    LIVE,
    ORIGIN,
    REFRESH_S,
    World,
    open_world,
)

ASKED: Any = [{"role": "user", "content": "Where is my parcel? Write to ann@example.org"}]
ANSWER = "base answers: Where is my parcel? Write to ann@example.org"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


@pytest.fixture
def rollout_world(tmp_path: Path) -> Iterator[World]:
    """A world with a live adapter, and a canary that takes everyone."""

    def prepare(world: World) -> None:
        world.add_live_adapter()
        world.add_adapter(CANARY)
        world.add_rollout(share=1.0)

    with open_world(tmp_path, prepare=prepare) as opened:
        yield opened


def stream_lines(world: World, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the data events of a streamed answer, as a client without a library sees them."""
    answer = world.post("/v1/chat/completions", {"stream": True, "messages": ASKED, **body})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_a_chat_is_answered_logged_and_signed(world: World) -> None:
    """The answer carries its ids in headers and body; the log holds it, redacted."""
    with world.client() as client:
        raw = client.chat.completions.with_raw_response.create(
            model="shop", messages=ASKED, user="ann", temperature=0.5, max_tokens=50
        )
    answer = raw.parse()
    stamp: Any = (answer.model_extra or {})["ratchet"]
    assert answer.choices[0].message.content == ANSWER
    assert raw.headers["x-ratchet-interaction"] == stamp["interaction"]
    assert raw.headers["x-ratchet-receipt"] == stamp["receipt"]
    assert raw.headers["x-ratchet-adapter"] == stamp["adapter"] == "base"
    (event,) = world.events()
    assert event.interaction_id == stamp["interaction"]
    assert event.subject == subject_hash(KEYS.subject, "shop", "ann")
    assert (event.status, event.finish_reason, event.stream) == ("ok", "stop", False)
    assert (event.adapter, event.arm, event.rollout_id) == (None, "baseline", None)
    assert event.parameters == {"temperature": 0.5, "max_tokens": 50}
    assert "ann@example.org" not in event.messages[0].content + event.answer
    assert event.answer.startswith("base answers: Where is my parcel?")
    assert event.prompt_tokens
    assert event.completion_tokens
    assert event.latency_s > 0
    receipt = verify(stamp["receipt"], KEYS.receipt, utc_now())
    assert (receipt.interaction_id, receipt.subject) == (event.interaction_id, event.subject)


def test_a_streamed_chat_ends_with_its_receipt(world: World) -> None:
    """The client reads the whole text, then one chunk without choices that carries `ratchet`."""
    with world.client() as client:
        stream = client.chat.completions.create(model="live", messages=ASKED, stream=True)
        chunks = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == ANSWER
    stamp: Any = (chunks[-1].model_extra or {})["ratchet"]
    assert chunks[-1].choices == []
    assert all(chunk.choices for chunk in chunks[:-1]), "the engine's usage chunk came through"
    (event,) = world.events()
    assert event.interaction_id == stamp["interaction"]
    assert (event.status, event.finish_reason, event.stream) == ("ok", "stop", True)
    assert event.completion_tokens == len(ANSWER.split())
    assert event.ttft_s is not None
    assert 0 < event.ttft_s <= event.latency_s


def test_a_client_that_asks_for_usage_gets_it(world: World) -> None:
    """With `include_usage` the engine's usage chunk goes through too."""
    events = stream_lines(world, {"model": "shop", "stream_options": {"include_usage": True}})
    assert [event["usage"] for event in events if event.get("usage")]
    assert "ratchet" in events[-1]


@pytest.mark.parametrize("stream", [False, True])
def test_a_completion_is_answered(world: World, stream: bool) -> None:
    """The text endpoint works like the chat endpoint."""
    with world.client() as client:
        made: Any = client.completions.create(model="default", prompt="Hello", stream=stream)
        parts: list[Any] = list(made) if stream else [made]
    assert "".join(part.choices[0].text for part in parts if part.choices) == "base answers: Hello"
    (event,) = world.events()
    assert event.endpoint == "/v1/completions"
    assert (event.messages[0].role, event.messages[0].content) == ("user", "Hello")


async def test_the_async_client_works_too(world: World) -> None:
    """Many streams at once, each logged."""
    async with openai.AsyncOpenAI(
        base_url=f"{world.url}/v1", api_key="shop-key", max_retries=0
    ) as client:

        async def ask(number: int) -> str:
            stream = await client.chat.completions.create(
                model="shop", messages=[{"role": "user", "content": f"q{number}"}], stream=True
            )
            return "".join(
                [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
            )

        texts = await asyncio.gather(*[ask(number) for number in range(20)])
    assert texts == [f"base answers: q{number}" for number in range(20)]
    assert len(world.events()) == 20


def test_neither_user_nor_its_model_name_reaches_the_engine(world: World) -> None:
    """What goes to the engine is the engine's model and the sampling fields, nobody's name."""
    world.post("/v1/chat/completions", {"model": "shop", "messages": ASKED, "user": "ann"})
    (body,) = world.engine.bodies
    assert body == {"model": "base", "messages": ASKED}


def test_models_lists_what_can_be_asked_for(rollout_world: World) -> None:
    """The application's name, the base model and its own ready adapters."""
    with rollout_world.client() as client:
        names = {model.id for model in client.models.list()}
    assert names == {"shop", "base", LIVE, CANARY}


def test_a_wrong_key_is_refused(world: World) -> None:
    """Nothing is answered or logged without a valid API key."""
    with world.client(api_key="stolen") as client, pytest.raises(openai.AuthenticationError):
        client.chat.completions.create(model="shop", messages=ASKED)
    assert not world.engine.bodies
    assert not world.events()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lora_request": {"name": "x"}}, "lora_request"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 9}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"stream_options": {"speed": 1}}, "stream_options.speed"),
        ({"model": 7}, "model"),
    ],
)
def test_a_malformed_request_names_its_field(
    world: World, change: dict[str, Any], field: str
) -> None:
    """An unknown field, a wrong type or value: 400 in OpenAI's shape, and the field's name."""
    answer = world.post("/v1/chat/completions", {"model": "shop", "messages": ASKED} | change)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert field in answer.json()["error"]["message"]
    assert not world.engine.bodies


def test_what_is_not_json_is_refused(world: World) -> None:
    """A body that cannot be read is the client's error, told without a stack trace."""
    headers = {"authorization": "Bearer shop-key"}
    answer = httpx.post(f"{world.url}/v1/chat/completions", content=b"{", headers=headers)
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(world: World) -> None:
    """More than gateway.max_body_bytes is 413."""
    body = {"model": "shop", "messages": [{"role": "user", "content": "x" * 30_000}]}
    assert world.post("/v1/chat/completions", body).status_code == 413


def test_an_unknown_model_is_not_found(rollout_world: World) -> None:
    """404 in OpenAI's shape, which names what there is."""
    with rollout_world.client() as client, pytest.raises(openai.NotFoundError, match=LIVE):
        client.chat.completions.create(model="gpt-5", messages=ASKED)


def test_an_adapter_answers_only_its_owner(rollout_world: World) -> None:
    """An exact adapter name is that adapter, unexposed, and unknown to other applications."""
    asked = {"model": CANARY, "messages": ASKED}
    own = rollout_world.post("/v1/chat/completions", asked)
    foreign = rollout_world.post("/v1/chat/completions", asked, api_key="bank-key")
    assert own.headers["x-ratchet-adapter"] == CANARY
    assert foreign.status_code == 404
    (event,) = rollout_world.events()
    assert (event.adapter, event.rollout_id, event.arm) == (CANARY, None, "baseline")


def test_the_base_model_can_be_asked_for(rollout_world: World) -> None:
    """`base` is the base model, whatever is live, and no exposure."""
    answer = rollout_world.post("/v1/chat/completions", {"model": "base", "messages": ASKED})
    assert answer.headers["x-ratchet-adapter"] == "base"
    (event,) = rollout_world.events()
    assert (event.adapter, event.rollout_id) == (None, None)


def test_an_exposure_is_logged_with_its_rollout(rollout_world: World) -> None:
    """In a canary the answer comes from the arm's adapter, and the log says in which step."""
    answer = rollout_world.post(
        "/v1/chat/completions", {"model": "shop", "messages": ASKED, "user": "ann"}
    )
    assert answer.json()["ratchet"]["adapter"] == CANARY
    assert answer.json()["ratchet"]["arm"] == "canary"
    (event,) = rollout_world.events()
    assert (event.adapter, event.arm, event.rollout_id, event.step) == (
        CANARY,
        "canary",
        "rollout-1",
        1,
    )


def test_an_adapter_that_the_engine_forgot_falls_back(rollout_world: World) -> None:
    """The engine restarted: the next one down answers, and nobody counts it as an exposure."""
    rollout_world.engine.adapters.clear()
    answer = rollout_world.post("/v1/chat/completions", {"model": "shop", "messages": ASKED})
    assert answer.headers["x-ratchet-adapter"] == "base"
    (event,) = rollout_world.events()
    assert (event.status, event.rollout_id) == ("ok", None)
    assert event.parameters == {"fell_back": "missing"}


def test_a_new_live_adapter_reaches_traffic_without_a_restart(world: World) -> None:
    """The route table follows the store."""
    world.add_live_adapter()
    world.wait_until_routed("shop", served_by=LIVE)


def test_routes_outlive_a_failing_store(rollout_world: World) -> None:
    """A store that breaks leaves the last good routes in place."""
    with rollout_world.store.engine.begin() as connection:
        connection.execute(text("DROP TABLE rollout"))
    time.sleep(4 * REFRESH_S)
    answer = rollout_world.post("/v1/chat/completions", {"model": "shop", "messages": ASKED})
    assert answer.headers["x-ratchet-adapter"] == CANARY


def test_a_dead_engine_is_unavailable_and_no_exposure(rollout_world: World) -> None:
    """Nobody was reached: 503, logged as an error, charged to no arm."""
    rollout_world.engine.stop()
    with rollout_world.client() as client, pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="shop", messages=ASKED)
    assert caught.value.status_code == 503
    (event,) = rollout_world.events()
    assert (event.status, event.rollout_id) == ("error", None)


def test_an_engine_fault_is_charged_to_its_arm(rollout_world: World) -> None:
    """The engine failed on this adapter: 502, logged as an error of the exposure."""
    rollout_world.engine.fail_next(500, path="chat")
    answer = rollout_world.post("/v1/chat/completions", {"model": "shop", "messages": ASKED})
    assert answer.status_code == 502
    assert "Traceback" not in answer.text
    (event,) = rollout_world.events()
    assert (event.status, event.arm, event.rollout_id) == ("error", "canary", "rollout-1")
    assert "injected" in (event.error or "")


def test_what_the_engine_calls_the_clients_fault_is_not_logged(world: World) -> None:
    """Too many tokens: the engine's own words, as 400, and no interaction."""
    answer = world.post(
        "/v1/chat/completions", {"model": "shop", "messages": ASKED, "max_tokens": 99_999}
    )
    assert answer.status_code == 400
    assert "99999" in answer.json()["error"]["message"]
    assert not world.events()


def test_an_engine_that_takes_too_long_is_given_up(world: World) -> None:
    """After gateway.request_timeout_s: 503, an error in the log, an aborted request."""
    world.engine.word_pause_s = 1.0
    answer = world.post("/v1/chat/completions", {"model": "shop", "messages": ASKED})
    assert answer.status_code == 503
    assert "request_timeout_s" in answer.json()["error"]["message"]
    world.engine.wait_until(lambda: world.engine.aborted == 1)
    assert world.events()[0].status == "error"


def test_a_fault_inside_a_stream_reaches_the_client(world: World) -> None:
    """The client raises; what had been said is logged as an error."""
    world.engine.stream_fault = "out of memory"
    with world.client() as client, pytest.raises(openai.APIError, match="out of memory"):
        list(client.chat.completions.create(model="shop", messages=ASKED, stream=True))
    (event,) = world.events()
    assert event.status == "error"
    assert event.answer.startswith("base answers:")


def test_a_stream_that_breaks_off_is_an_error(world: World) -> None:
    """The engine dies in the middle: an error event, no [DONE], and the log has the part."""
    world.engine.broken_after = 3
    answer = world.post(
        "/v1/chat/completions", {"model": "shop", "messages": ASKED, "stream": True}
    )
    assert "[DONE]" not in answer.text
    assert "engine_unavailable" in answer.text
    (event,) = world.events()
    assert (event.status, event.answer) == ("error", "base answers: Where")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_aborts_its_answer(world: World, stream: bool) -> None:
    """The engine stops working for it, and the log says how far it came."""
    world.engine.word_pause_s = 0.5
    body = {"model": "shop", "messages": ASKED, "stream": stream}
    headers = {"authorization": "Bearer shop-key"}
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.stream(
            "POST",
            f"{world.url}/v1/chat/completions",
            json=body,
            headers=headers,
            timeout=httpx.Timeout(5.0, read=0.3),
        ) as answer,
    ):
        for _ in answer.iter_raw():
            pass
    event = world.wait_for_event()
    world.engine.wait_until(lambda: world.engine.aborted == 1)
    assert event.status == "disconnected"
    assert world.engine.running == 0
    assert len(event.answer) < len(ANSWER)


class GatedLog(MemoryLog):
    """A log whose disk is slow: nothing is durable before `gate` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def append(self, records: Sequence[NewRecord]) -> None:
        self.gate.wait(20)
        super().append(records)


def test_an_answer_ends_only_when_it_is_durable(tmp_path: Path) -> None:
    """All text of a stream arrives, but neither its receipt nor [DONE], before the log has it."""
    log = GatedLog()
    headers = {"authorization": "Bearer shop-key"}
    body = {"model": "shop", "messages": ASKED, "stream": True}
    with (
        open_world(tmp_path, log=log) as world,
        httpx.stream(
            "POST", f"{world.url}/v1/chat/completions", json=body, headers=headers, timeout=10
        ) as answer,
    ):
        seen = ""
        pieces = answer.iter_text()
        while "ann@example.org" not in seen:
            seen += next(pieces)
        waiting = threading.Event()
        threading.Timer(0.3, lambda: (waiting.set(), log.gate.set())).start()
        rest = next(pieces)
        assert waiting.is_set(), "the end came before the log had the interaction"
        rest += "".join(pieces)
    assert "[DONE]" not in seen
    assert "ratchet" in rest
    assert rest.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_log_refuses_by_default(tmp_path: Path, stream: bool) -> None:
    """What cannot be logged is not finished: 503, or an error at the end of the stream."""
    with open_world(tmp_path, log=MemoryLog(max_bytes=10)) as world:
        body = {"model": "shop", "messages": ASKED, "stream": stream}
        answer = world.post("/v1/chat/completions", body)
    assert "log_full" in answer.text
    assert "[DONE]" not in answer.text
    assert answer.status_code == (200 if stream else 503)


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_log_may_be_served_through(tmp_path: Path, stream: bool) -> None:
    """With `serve_unlogged` the answer goes out whole, and the loss is counted."""
    with open_world(tmp_path, log=MemoryLog(max_bytes=10), full_policy="serve_unlogged") as world:
        body = {"model": "shop", "messages": ASKED, "stream": stream}
        answer = world.post("/v1/chat/completions", body)
        health = httpx.get(f"{world.url}/health/ready").json()
    assert answer.status_code == 200
    assert "receipt" in answer.text
    assert health["unlogged"] == 1


def test_metadata_only_writes_no_text(world: World) -> None:
    """An application that wants no text stored has none in the log."""
    world.post("/v1/chat/completions", {"model": "live", "messages": ASKED}, api_key="bank-key")
    (event,) = world.events()
    assert event.answer == ""
    assert event.messages[0].content == ""
    assert event.completion_tokens


def test_an_answer_can_be_rated_with_its_receipt(world: World) -> None:
    """The receipt alone, without an API key, is enough for POST /v1/feedback."""
    answer = world.post("/v1/chat/completions", {"model": "shop", "messages": ASKED})
    receipt = answer.headers["x-ratchet-receipt"]
    rated = httpx.post(
        f"{world.url}/v1/feedback", json={"receipt": receipt, "kind": "thumbs", "value": True}
    )
    assert rated.status_code == 201, rated.text
    assert len(world.log.read(FEEDBACK_TOPIC, after=0, limit=10)) == 1


def test_a_browser_of_an_allowed_origin_may_ask(world: World) -> None:
    """Preflights answer for the origins in the settings, and for no other."""
    preflight = {"access-control-request-method": "POST"}
    allowed, foreign = (
        httpx.options(f"{world.url}/v1/feedback", headers=preflight | {"origin": origin})
        for origin in (ORIGIN, "https://evil.example")
    )
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-origin" not in foreign.headers


def test_readiness_follows_the_engine(world: World) -> None:
    """Ready means that an answer can be had; alive means that the process is."""
    assert httpx.get(f"{world.url}/health/ready").status_code == 200
    world.engine.stop()
    world.engine.wait_until(lambda: httpx.get(f"{world.url}/health/ready").status_code == 503)
    assert httpx.get(f"{world.url}/health/live").status_code == 200


def test_a_taken_port_is_named(world: World) -> None:
    """A second gateway on the same port says which port, and which setting to change."""
    with pytest.raises(SettingsError, match=str(world.settings.gateway.port)) as caught:
        run_gateway(world.settings, store=world.store, log=world.log, keys=KEYS)
    assert caught.value.field == "gateway.port"
    with socket.create_connection(("127.0.0.1", world.settings.gateway.port)):
        pass  # the first one still listens


def test_the_gateway_starts_light() -> None:
    """It is imported in under 2 s of CPU, and without torch or pandas."""
    code = (
        "import sys, time, serving.server;"
        "heavy = {'torch', 'pandas', 'vllm', 'transformers'} & set(sys.modules);"
        "assert not heavy, heavy; print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.0


def test_long_texts_are_redacted_too(world: World) -> None:
    """Redaction moves to a thread for them; nothing of it is skipped."""
    world.engine.reply = lambda _model, _prompt: f"{'x' * 25_000} ann@example.com"
    assert (
        world.post("/v1/chat/completions", {"model": APPLICATION, "messages": ASKED}).status_code
        == 200
    )
    event = world.wait_for_event()
    assert len(event.answer) > REDACTED_AT_ONCE_CHARS
    assert "ann@example.com" not in event.answer
