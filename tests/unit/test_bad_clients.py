"""Clients that do not behave, and a gateway that is told to stop while it answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.events import INTERACTIONS_TOPIC, InteractionFinished, decode
from feedback.log.slots import spool_folders
from feedback.log.spool_reader import SpoolReader
from serving.inference import DIALECTS
from tests.fakes.engine import FakeEngine
from tests.ports import free_port
from tests.unit.gateway_world import API_KEY, World, open_world

ROOT = Path(__file__).resolve().parents[2]
PATHS = [dialect.path for dialect in DIALECTS]
CHAT = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "shop", "messages": [{"role": "user", "content": "Hi"}]}
HEADERS = {"authorization": f"Bearer {API_KEY}"}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("gateway"), embeds=True) as world:
        yield world


@pytest.fixture
def world(opened: World) -> World:
    opened.forget()
    return opened


def connected(world: World, body: bytes, *, length: int | None = None) -> socket.socket:
    """Return a connection on which a chat request was sent, byte by byte as given."""
    raw = socket.create_connection(("127.0.0.1", world.settings.gateway.port), timeout=20)
    head = (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {API_KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {length or len(body)}\r\n\r\n"
    )
    raw.sendall(head.encode() + body)
    return raw


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["model", "messages", "input", "role", "content", "type", "tools"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(raw=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_no_body_crashes_a_route(opened: World, path: str, raw: bytes) -> None:
    """Whatever the bytes, the answer is an error in the path's shape, and never a 5xx."""
    answer = httpx.post(f"{opened.url}{path}", content=raw, headers=HEADERS, timeout=20)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "raw", [b"[" * 9_000, b'{"model":' * 1_900, b'{"model":"\xff"}', b'{"model":"\\ud800"}', b""]
)
def test_what_is_no_json_is_the_clients_error(world: World, path: str, raw: bytes) -> None:
    """Nested without end, no UTF-8, half a character, nothing at all."""
    answer = httpx.post(f"{world.url}{path}", content=raw, headers=HEADERS, timeout=20)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_too_large_is_refused_in_the_paths_shape(world: World, path: str) -> None:
    """413 before the engine hears of it."""
    answer = world.post(path, {"model": "x" * 30_000})
    assert answer.status_code == 413
    assert "20,000" in answer.json()["error"]["message"]
    assert not world.engine.bodies


@pytest.mark.parametrize("stream", [False, True])
def test_a_half_closed_connection_is_a_client_that_left(world: World, stream: bool) -> None:
    """Who closes its sending side waits for nothing: the engine stops, the log says why."""
    world.engine.word_pause_s = 0.3
    with connected(world, msgspec.json.encode(ASKED | {"stream": stream})) as raw:
        world.engine.wait_until(lambda: world.engine.running == 1)
        raw.shutdown(socket.SHUT_WR)
        assert world.wait_for_event().status == "disconnected"
        world.engine.wait_until(lambda: world.engine.aborted == 1)


def test_a_body_that_never_comes_is_given_up(world: World) -> None:
    """After gateway.request_timeout_s without its body, the client is told, and let go."""
    with connected(world, b'{"model":', length=1_000) as raw:
        answer = raw.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout_s" in answer
    assert not world.events()


def test_a_client_that_stops_reading_is_let_go(world: World) -> None:
    """Its stream is aborted once nothing could be sent for gateway.request_timeout_s.

    The engine's answer takes too long by then too: whichever is seen first is logged.
    """
    world.engine.reply = lambda _model, _prompt: " ".join(["x" * 400_000] * 100)
    with connected(world, msgspec.json.encode(ASKED | {"stream": True})):
        event = world.wait_for_event(15)
    assert event.status in {"disconnected", "error"}
    assert event.answer.startswith("xxx")
    world.engine.wait_until(lambda: world.engine.running == 0)


def test_a_slow_reader_gets_everything(world: World) -> None:
    """Backpressure: the stream waits for its reader, and is whole."""
    world.engine.reply = lambda _model, _prompt: " ".join(["x" * 100_000] * 30)
    seen, last = 0, b""
    with httpx.stream(
        "POST", f"{world.url}{CHAT}", json=ASKED | {"stream": True}, headers=HEADERS, timeout=20
    ) as answer:
        for number, piece in enumerate(answer.iter_raw(65_536)):
            seen += piece.count(b"x")
            time.sleep(0.02 if number < 30 else 0)
            last = piece
    assert seen >= 3_000_000
    assert last.endswith(b"data: [DONE]\n\n")
    assert world.wait_for_event().status == "ok"


def test_sigterm_lets_a_stream_finish_and_its_event_stay(tmp_path: Path) -> None:
    """The stream ends whole, the process ends with code 0, and the spool has the interaction."""
    with FakeEngine() as engine:
        engine.word_pause_s = 0.3
        port = free_port()
        with subprocess.Popen(
            (sys.executable, "-m", "loop.cli", "gateway"),
            cwd=ROOT,
            env=os.environ | _environment(tmp_path, engine, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as gateway:
            url = f"http://127.0.0.1:{port}"
            engine.wait_until(lambda: _lives(url), 30)
            text = _stream_and_stop(url, gateway)
            out, _ = gateway.communicate(timeout=40)
    assert gateway.returncode == 0, out
    assert text.endswith("data: [DONE]\n\n")
    (folder,) = spool_folders(tmp_path / "data" / "spool")
    spool = SpoolReader(folder)
    (record,) = spool.read(INTERACTIONS_TOPIC, after=0, limit=10)
    spool.close()
    event = decode(record.topic, record.value)
    assert isinstance(event, InteractionFinished)
    assert (event.status, event.answer) == ("ok", "base answers: Hi")
    assert event.interaction_id in text


def _stream_and_stop(url: str, gateway: subprocess.Popen[str]) -> str:
    """Return the whole stream of an answer during which the gateway was told to stop."""
    text, stopped = "", threading.Event()
    with httpx.stream(
        "POST", f"{url}{CHAT}", json=ASKED | {"stream": True}, headers=HEADERS, timeout=20
    ) as answer:
        for piece in answer.iter_text():
            text += piece
            if "base" in text and not stopped.is_set():
                gateway.send_signal(signal.SIGTERM)
                stopped.set()
    assert stopped.is_set()
    return text


def _environment(folder: Path, engine: FakeEngine, port: int) -> dict[str, str]:
    file = folder / "ratchet.toml"
    file.write_text(
        f'data_dir = "{folder / "data"}"\n'
        f'[applications.shop]\napi_key = "{API_KEY}"\n'
        f"[engine]\nport = {engine.port}\n[gateway]\nport = {port}\n"
    )
    return {"RATCHET_SETTINGS": str(file)}


def _lives(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False
