"""SERVE: POST /v1/chat/completions and POST /v1/completions.

A request with an API key comes in; it is validated, given an arm, answered by the engine, logged,
and goes out with its receipt, in that order. Knows nothing of how routes are read, how the engine
is kept, or how the log stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, Router, post
from litestar.background_tasks import BackgroundTask
from litestar.response import Stream

from core.errors import EngineError
from feedback.api_keys import authenticate
from feedback.http_errors import exception_handlers
from serving.dispatch import Serving, begin, failed, left
from serving.exchange import Asked, Exchange, Outcome
from serving.relay import Relay
from serving.requests import ChatRequest, CompletionRequest, InferenceRequest, parse
from serving.routing import ARM_HEADER, forced_arm

CLIENT_LEFT = 499  # nginx's number for it; nobody reads it

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")


class _Turn(msgspec.Struct):
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    message: _Turn | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class ClientLeft(Exception):
    """The client closed its connection before its answer was there."""


def inference_router(serving: Serving) -> Router:
    """Return the routes that answer."""

    @post("/chat/completions", status_code=200)
    async def complete_chat(request: AnyRequest) -> Response[Any]:
        application = authenticate(request.headers.get("authorization"), serving.ledger.settings)
        body = parse(await request.body(), ChatRequest)
        return await _respond(serving, request, application, body)

    @post("/completions", status_code=200)
    async def complete(request: AnyRequest) -> Response[Any]:
        application = authenticate(request.headers.get("authorization"), serving.ledger.settings)
        body = parse(await request.body(), CompletionRequest)
        return await _respond(serving, request, application, body)

    return Router(
        path="/v1", route_handlers=[complete_chat, complete], exception_handlers=exception_handlers
    )


async def _respond(
    serving: Serving, request: AnyRequest, application: str, body: InferenceRequest
) -> Response[Any]:
    # no key has scopes yet: the header is refused to everyone
    arm = forced_arm(request.headers.get(ARM_HEADER), frozenset())
    asked = serving.ledger.asked(application, request.url.path, body, forced_arm=arm)
    try:
        if not body.stream:
            return await _unless_left(request, _answer_whole(serving, asked))
        exchange, answer = await _unless_left(request, begin(serving, asked))
    except ClientLeft:
        return Response(b"", status_code=CLIENT_LEFT)
    relay = Relay(serving.ledger, exchange, answer)
    return Stream(
        relay.events(),
        media_type="text/event-stream",
        headers=exchange.headers() | {"cache-control": "no-cache"},
        background=BackgroundTask(relay.close),
    )


async def _answer_whole(serving: Serving, asked: Asked) -> Response[bytes]:
    """Return the finished answer, logged."""
    exchange, answer = await begin(serving, asked)
    try:
        content, outcome = _stamped(await answer.read(), exchange)
    except EngineError as error:
        raise await failed(serving.ledger, exchange, error) from error
    except asyncio.CancelledError:
        await left(serving.ledger, exchange)
        raise
    finally:
        answer.close()
    await serving.ledger.write(exchange, outcome)
    return Response(content, media_type="application/json", headers=exchange.headers())


def _stamped(raw: bytes, exchange: Exchange) -> tuple[bytes, Outcome]:
    """Return the engine's answer with `ratchet` in it, and what is to be logged of it.

    Raises: EngineError when it is not such an answer.
    """
    try:
        answer = msgspec.json.decode(raw, type=_Answer)
        whole = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise EngineError(f"the engine's answer cannot be read: {error}") from error
    whole["ratchet"] = msgspec.Raw(msgspec.json.encode(exchange.stamp()))
    first = answer.choices[0] if answer.choices else _Choice()
    usage = answer.usage or _Usage()
    outcome = Outcome(
        status="ok",
        latency_s=exchange.elapsed_s(),
        answer=_text(first),
        finish_reason=first.finish_reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )
    return msgspec.json.encode(whole), outcome


def _text(choice: _Choice) -> str:
    if choice.message is None:
        return choice.text or ""
    if choice.message.content or not choice.message.tool_calls:
        return choice.message.content or ""
    return msgspec.json.encode(choice.message.tool_calls).decode()


async def _unless_left(request: AnyRequest, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, but cancel it when the client closes its connection.

    Raises: ClientLeft.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_client_leaves(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _client_leaves(request: AnyRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
