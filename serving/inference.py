"""SERVE: POST /v1/chat/completions and POST /v1/completions.

A request with an API key comes in; it is validated, given an arm, answered by the engine, logged,
and goes out with its receipt, in that order. Knows nothing of how routes are read, how the engine
is kept, or how the log stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import structlog
from litestar import Request, Response, Router, post
from litestar.background_tasks import BackgroundTask
from litestar.response import Stream

from core.errors import EngineError, EngineUnavailable, NotFoundError
from feedback.api_keys import authenticate
from feedback.http_errors import exception_handlers
from serving.engine_client import EngineAnswer, EngineClient, ModelMissing, NotConnected
from serving.exchange import Asked, Exchange, Ledger, Outcome
from serving.hardware import BASE_MODEL_NAME
from serving.relay import Relay
from serving.requests import ChatRequest, CompletionRequest, InferenceRequest, engine_body, parse
from serving.route_table import RouteTable, Snapshot
from serving.routing import Assignment, assign, without

LIVE_ALIASES = frozenset({"live", "default"})  # beside the application's own name
CLIENT_LEFT = 499  # nginx's number for it; nobody reads it

_log = structlog.get_logger(__name__)

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


@dataclass(frozen=True, slots=True)
class Serving:
    """What answering needs."""

    ledger: Ledger
    engine: EngineClient
    table: RouteTable


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


def choose(asked: Asked, snapshot: Snapshot) -> Assignment:
    """Return who answers, by the request's `model`.

    `base` is the base model itself; the application's name, `live` and `default` follow the
    rollout; a name of one of its ready adapters is that adapter. Only the second is an exposure.

    Raises: NotFoundError for anything else.
    """
    model, application = asked.request.model, asked.application
    if model == BASE_MODEL_NAME:
        return Assignment(None)
    if _is_routed(asked):
        return assign(snapshot.route(application), asked.unit)
    ready = snapshot.ready_adapters(application)
    if model in ready:
        return Assignment(model)
    known = ", ".join([application, *sorted(LIVE_ALIASES), BASE_MODEL_NAME, *sorted(ready)])
    raise NotFoundError(f"no model {model!r} is served here; there are: {known}", field="model")


async def _respond(
    serving: Serving, request: AnyRequest, application: str, body: InferenceRequest
) -> Response[Any]:
    asked = serving.ledger.asked(application, request.url.path, body)
    try:
        if not body.stream:
            return await _unless_left(request, _answer_whole(serving, asked))
        exchange, answer = await _unless_left(request, _open(serving, asked))
    except ClientLeft:
        return Response(b"", status_code=CLIENT_LEFT)
    relay = Relay(serving.ledger, exchange, answer)
    return Stream(
        relay.events(),
        media_type="text/event-stream",
        headers=exchange.headers() | {"cache-control": "no-cache"},
        background=BackgroundTask(relay.close),
    )


async def _open(serving: Serving, asked: Asked) -> tuple[Exchange, EngineAnswer]:
    """Return the exchange and the engine's answer to it, which has begun.

    An adapter that the engine turns out not to have (it restarted a moment ago) is answered for
    by the next one down: canary, baseline, base model.

    Raises: EngineError, with the interaction logged; RequestError when the engine says that the
        request itself is wrong: then nothing was answered, and nothing is logged.
    """
    snapshot = serving.table.current
    if snapshot is None:
        raise EngineUnavailable("the routes are not read yet: the store does not answer")
    missing: frozenset[str] = frozenset()
    assignment = choose(asked, snapshot)
    while True:
        exchange = serving.ledger.exchange(asked, assignment)
        try:
            return exchange, await _ask(serving, exchange)
        except ModelMissing as error:
            if assignment.adapter is None or not _is_routed(asked):
                raise await _failed(serving.ledger, exchange, error) from error
            missing |= {assignment.adapter}
            assignment = assign(without(snapshot.route(asked.application), missing), asked.unit)


async def _ask(serving: Serving, exchange: Exchange) -> EngineAnswer:
    """Open the answer. A fault, and a client that leaves, is logged; `ModelMissing` is not yet."""
    asked = exchange.asked
    try:
        return await serving.engine.open(
            asked.endpoint, engine_body(asked.request, exchange.served_by)
        )
    except ModelMissing:
        raise
    except EngineError as error:
        raise await _failed(serving.ledger, exchange, error) from error
    except asyncio.CancelledError:
        await _left(serving.ledger, exchange)
        raise


async def _answer_whole(serving: Serving, asked: Asked) -> Response[bytes]:
    """Return the finished answer, logged."""
    exchange, answer = await _open(serving, asked)
    try:
        content, outcome = _stamped(await answer.read(), exchange)
    except EngineError as error:
        raise await _failed(serving.ledger, exchange, error) from error
    except asyncio.CancelledError:
        await _left(serving.ledger, exchange)
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


async def _failed(ledger: Ledger, exchange: Exchange, error: EngineError) -> EngineError:
    """Log the interaction as an error; return the error to raise."""
    outcome = Outcome(
        status="error",
        latency_s=exchange.elapsed_s(),
        error=error.message,
        reached_engine=not isinstance(error, NotConnected),
    )
    await ledger.write(exchange, outcome)
    return error


async def _left(ledger: Ledger, exchange: Exchange) -> None:
    """Log an interaction whose client left before any of its answer was sent."""
    await ledger.write(exchange, Outcome("disconnected", exchange.elapsed_s()))
    asked = exchange.asked
    _log.info(
        "client_disconnected", interaction=asked.interaction_id, application=asked.application
    )


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


def _is_routed(asked: Asked) -> bool:
    return asked.request.model == asked.application or asked.request.model in LIVE_ALIASES
