"""A vLLM that answers by rule: the same routes, shapes and faults, no model and no wait.

Keeps to what tests/contract/test_engine.py holds for the real one too. In a test:

    with FakeEngine() as engine: ... engine.url, engine.fail_next(503), engine.restart()

As a process, for what starts and stops engines: `python -m tests.fakes.engine PORT`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.fakes.engine_shapes import (
    Answer,
    ChatShape,
    MessagesShape,
    ResponsesShape,
    Shape,
    TextShape,
)

MAX_MODEL_LEN = 2048
MAX_LORA_RANK = 16
BASE = "base"


def answer_by_rule(model: str, prompt: str) -> str:
    """Return an answer from which a test can tell who answered what."""
    return f"{model} answers: {prompt.strip()}"


class FakeEngine:
    """An engine on a free port of the loopback, in its own thread."""

    def __init__(self, port: int = 0, *, embeds: bool = False) -> None:
        self.port = port
        self.embeds = embeds  # an embedding model is served; vLLM then has the route
        self.adapters: dict[str, str] = {}
        self.running = 0
        self.behave()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None

    def behave(self) -> None:
        """Answer by rule and without faults from now on; forget what came."""
        self.reply: Callable[[str, str], str] = answer_by_rule
        self.bodies: list[dict[str, Any]] = []  # of the inference requests that came
        self.traceparents: list[str | None] = []  # that came with them
        self.word_pause_s = 0.0
        self.aborted = 0
        self.broken_after: int | None = None  # words of a stream, then the connection is cut
        self.stream_fault: str | None = None  # message of an error inside the stream
        self.cut_bytes: int | None = None  # write streams in pieces of so many bytes
        self.cut_pause_s = 0.0
        self.healthy = True
        self.health_asked = 0
        self.root = "fake"  # folder of the base model, as /v1/models tells it
        self._faults: list[tuple[str, int, str]] = []

    @property
    def url(self) -> str:
        """The engine's base URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fail_next(
        self, status: int, *, times: int = 1, path: str = "", message: str = "injected"
    ) -> None:
        """Answer the next `times` requests whose path contains `path` with `status`."""
        self._faults += [(path, status, message)] * times

    def stop(self) -> None:
        """Go away, as an engine that crashed: connections are refused."""
        self._call(self._stop())

    def restart(self) -> None:
        """Come (back) up on the same port, knowing no adapters."""
        self._call(self._stop())
        self.adapters.clear()
        self._call(self._start())

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Return when the condition holds; the test fails if it never does."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the fake engine did not come to that in time"
            time.sleep(0.005)

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _start(self) -> None:
        # handler_cancellation: a client that leaves aborts its request, as in vLLM
        self._runner = web.AppRunner(
            self.app(), handler_cancellation=True, shutdown_timeout=0.1, access_log=None
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def app(self) -> web.Application:
        """Return the routes."""

        @web.middleware
        async def inject(request: web.Request, handler: Any) -> web.StreamResponse:
            return await self._inject(request, handler)

        app = web.Application(middlewares=[inject])
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/load_lora_adapter", self._load)
        app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/responses", self._respond)
        app.router.add_post("/v1/messages", self._message)
        if self.embeds:
            app.router.add_post("/v1/embeddings", self._embed)
        return app

    async def _inject(self, request: web.Request, handler: Any) -> web.StreamResponse:
        for fault in self._faults:
            path, status, message = fault
            if path in request.path:
                self._faults.remove(fault)
                return error_response(status, message)
        return await handler(request)

    async def _health(self, _request: web.Request) -> web.Response:
        self.health_asked += 1
        return web.Response(status=200 if self.healthy else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(text=f'vllm:num_requests_running{{engine="0"}} {self.running}.0\n')

    async def _models(self, _request: web.Request) -> web.Response:
        cards = [{"id": BASE, "object": "model", "root": self.root, "parent": None}]
        cards += [
            {"id": name, "object": "model", "root": path, "parent": BASE}
            for name, path in self.adapters.items()
        ]
        return web.json_response({"object": "list", "data": cards})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, folder = body["lora_name"], body["lora_path"]
        if name in self.adapters:
            return error_response(400, f"The lora adapter '{name}' has already been loaded.")
        config = Path(folder) / "adapter_config.json"
        if not config.is_file():
            return error_response(404, f"Loading lora {name} failed: No adapter found for {folder}")
        rank = json.loads(config.read_text())["r"]
        if rank > MAX_LORA_RANK:
            return error_response(
                500, f"LoRA rank {rank} is greater than max_lora_rank {MAX_LORA_RANK}."
            )
        self.adapters[name] = folder
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json())["lora_name"]
        if self.adapters.pop(name, None) is None:
            return error_response(404, f"The lora adapter '{name}' cannot be found.")
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = str(body["messages"][-1]["content"])
        return await self._answer(request, body, prompt, ChatShape())

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = body["prompt"]
        if not isinstance(prompt, str):  # several texts, or one as token ids
            prompt = prompt[0] if isinstance(prompt[0], str) else " ".join(map(str, prompt))
        return await self._answer(request, body, prompt, TextShape())

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked = body["input"] if isinstance(body["input"], str) else body["input"][-1]
        prompt = asked if isinstance(asked, str) else str(asked.get("content"))
        return await self._answer(request, body, prompt, ResponsesShape())

    async def _message(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        prompt = str(body["messages"][-1]["content"])
        return await self._answer(request, body, prompt, MessagesShape())

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        if body["model"] not in {BASE, *self.adapters}:
            return error_response(404, f"The model `{body['model']}` does not exist.")
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        vectors = [
            {"object": "embedding", "index": number, "embedding": [float(len(text)), 0.5]}
            for number, text in enumerate(texts)
        ]
        tokens = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response(
            {"object": "list", "model": body["model"], "data": vectors, "usage": usage}
        )

    async def _answer(
        self, request: web.Request, body: dict[str, Any], prompt: str, shape: Shape
    ) -> web.StreamResponse:
        self.bodies.append(body)
        self.traceparents.append(request.headers.get("traceparent"))
        model = body["model"]
        max_tokens = body.get("max_tokens") or body.get("max_output_tokens") or 256
        if model not in {BASE, *self.adapters}:
            return web.json_response(
                shape.error(404, f"The model `{model}` does not exist."), status=404
            )
        if max_tokens > MAX_MODEL_LEN:
            message = f"max_tokens={max_tokens} is too large: {MAX_MODEL_LEN} tokens."
            return web.json_response(shape.error(400, message), status=400)
        words = self.reply(model, prompt).split(" ")
        if body.get("ignore_eos"):  # goes on to max_tokens, as vLLM does
            words = (words * max_tokens)[:max_tokens]
        said = words[:max_tokens]
        answer = Answer(model, said, len(words) > max_tokens, len(prompt.split()))
        self.running += 1
        try:
            if body.get("stream"):
                return await self._stream(request, body, shape, answer)
            await asyncio.sleep(self.word_pause_s * len(said))
            return web.json_response(shape.whole(answer))
        except (asyncio.CancelledError, ConnectionError):
            self.aborted += 1
            raise
        finally:
            self.running -= 1

    async def _stream(
        self, request: web.Request, body: dict[str, Any], shape: Shape, answer: Answer
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        shape.with_usage = (body.get("stream_options") or {}).get("include_usage", False)
        for event in shape.first(answer):
            await self._write(response, event)
        for number, word in enumerate(answer.said[: self.broken_after]):
            await asyncio.sleep(self.word_pause_s or 1e-4)
            ends = number == len(answer.said) - 1 and self.stream_fault is None
            text = word if number == 0 else f" {word}"
            await self._write(response, shape.part(answer, text, ends=ends))
        if self.broken_after is not None and request.transport is not None:
            request.transport.abort()
            return response
        if self.stream_fault is not None:
            await self._write(response, shape.fault(self.stream_fault))
        else:
            for event in shape.last(answer):
                await self._write(response, event)
        return response

    async def _write(self, response: web.StreamResponse, event: bytes) -> None:
        step = self.cut_bytes or len(event)
        for start in range(0, len(event), step):
            if start:
                await asyncio.sleep(self.cut_pause_s)
            await response.write(event[start : start + step])


def error_response(status: int, message: str) -> web.Response:
    """Return an error as vLLM tells it."""
    body = {"message": message, "type": "FakeError", "param": None, "code": status}
    return web.json_response({"error": body}, status=status)


def main() -> None:
    """Serve on the given port.

    `--crash` ends badly at once; `--crash-when FILE` when the file is there (and removes it), and
    `--sick-when FILE` then only stops being healthy;
    `--child FILE` leaves a process that ignores SIGTERM, like a worker that hangs, and notes it.
    """
    port, options = int(sys.argv[1]), dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    if "--crash" in options:
        raise SystemExit(f"fake engine: {options['--crash']}")
    if "--child" in options and os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(options["--child"]).write_text(str(os.getpid()))
        time.sleep(600)
    crash, sick = (Path(options.get(name, "never")) for name in ("--crash-when", "--sick-when"))
    with FakeEngine(port) as engine:
        while not crash.exists():
            time.sleep(0.02)
            if sick.exists():
                sick.unlink()
                engine.healthy = False
        crash.unlink()
        print("fake engine: crashed as asked", flush=True)
        os._exit(3)


if __name__ == "__main__":
    main()
