"""SERVE: the routes that answer: one for each dialect, all of them the same way.

A request with an API key comes in; it is validated, given an arm, answered by the engine, logged,
and goes out with its receipt, in that order. Knows nothing of what a dialect says, how routes are
read, how the engine is kept, or how the log stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, Router, post
from litestar.background_tasks import BackgroundTask
from litestar.exceptions import InternalServerException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from core.errors import BodyTooLargeError, EngineError, RequestTimeout
from core.settings import Settings
from feedback.api_keys import Caller
from feedback.origins import require_origin
from serving.dialects.chat import CHAT, COMPLETIONS
from serving.dialects.embeddings import EMBEDDINGS
from serving.dialects.messages import MESSAGES
from serving.dialects.protocol import Dialect, Said, stamped
from serving.dialects.responses import RESPONSES
from serving.dispatch import Serving, begin, failed, left
from serving.error_shapes import shaped_handlers
from serving.exchange import Asked, Exchange, Outcome
from serving.relay import Relay
from serving.requests import InferenceRequest, parse
from serving.routing import ARM_HEADER, forced_arm

DIALECTS = (CHAT, COMPLETIONS, RESPONSES, MESSAGES, EMBEDDINGS)
CLIENT_LEFT = 499  # nginx's number for it; nobody reads it

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection before its answer was there."""


def inference_router(serving: Serving) -> Router:
    """Return the routes that answer."""
    return Router(
        path="/",
        route_handlers=[_route(serving, dialect) for dialect in DIALECTS],
        exception_handlers=shaped_handlers,
    )


def _route(serving: Serving, dialect: Dialect) -> HTTPRouteHandler:
    @post(dialect.path, status_code=200)
    async def answer(request: AnyRequest) -> Response[Any]:
        settings = serving.ledger.settings
        caller = _caller(serving, request)
        try:
            raw = await _body(request, settings.gateway.request_timeout_s)
            _require_size(raw, caller, settings)
            body = parse(raw, dialect.request)
            return await _admitted(serving, request, dialect, caller, body)
        except ClientLeft:
            return Response(b"", status_code=CLIENT_LEFT)

    return answer


def _caller(serving: Serving, request: AnyRequest) -> Caller:
    """Return who asks.

    Raises: AuthenticationError, PermissionDeniedError.
    """
    caller = serving.callers.authenticate(request.headers)
    caller.require("infer")
    require_origin(request.headers, caller.application, serving.ledger.settings)
    return caller


def _require_size(raw: bytes, caller: Caller, settings: Settings) -> None:
    """Return if the application may send so much. Raises: BodyTooLargeError."""
    own = settings.applications[caller.application].max_body_bytes
    max_bytes = own or settings.gateway.max_body_bytes
    if len(raw) > max_bytes:
        raise BodyTooLargeError(
            f"the body has {len(raw):,} bytes, {caller.application} may send {max_bytes:,}: "
            "send a smaller one"
        )


async def _admitted(
    serving: Serving,
    request: AnyRequest,
    dialect: Dialect,
    caller: Caller,
    body: InferenceRequest,
) -> Response[Any]:
    """Answer within the limits of the caller's key.

    Raises: RateLimitError.
    """
    arm = forced_arm(request.headers.get(ARM_HEADER), caller.allowed)
    ticket = await serving.admission.admit(caller, body)
    try:
        asked = serving.ledger.asked(
            caller.application, dialect.path, body, forced_arm=arm, settled=ticket.settle
        )
        response = await _respond(serving, request, dialect, asked)
    except BaseException:
        await ticket.settle(0)  # nothing was answered and logged, which would have settled it
        raise
    response.headers.update(ticket.headers)
    return response


async def _body(request: AnyRequest, timeout_s: float) -> bytes:
    """Return the whole body.

    Raises: RequestTimeout when it does not come; ClientLeft.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await request.body()
    except TimeoutError as error:
        raise RequestTimeout(
            f"the body was not there after gateway.request_timeout_s = {timeout_s:g} s: "
            "send it whole"
        ) from error
    except InternalServerException as error:  # Litestar's word for a client that left
        raise ClientLeft from error


async def _respond(
    serving: Serving, request: AnyRequest, dialect: Dialect, asked: Asked
) -> Response[Any]:
    if dialect.open_stream is None or not asked.request.is_streamed():
        return await _unless_left(request, _answer_whole(serving, dialect, asked))
    exchange, answer = await _unless_left(request, begin(serving, asked))
    relay = Relay(serving.ledger, exchange, answer, dialect.open_stream(asked.request))
    return Stream(
        relay.events(),
        media_type="text/event-stream",
        headers=exchange.headers() | {"cache-control": "no-cache"},
        background=BackgroundTask(relay.close),
    )


async def _answer_whole(serving: Serving, dialect: Dialect, asked: Asked) -> Response[bytes]:
    """Return the finished answer, logged."""
    exchange, answer = await begin(serving, asked)
    try:
        raw = await answer.read()
        said = _read(dialect, raw)
    except EngineError as error:
        raise await failed(serving.ledger, exchange, error) from error
    except asyncio.CancelledError:
        await left(serving.ledger, exchange)
        raise
    finally:
        answer.close()
    await serving.ledger.write(exchange, _outcome(exchange, said))
    content = stamped(raw, exchange.stamp())
    return Response(content, media_type="application/json", headers=exchange.headers())


def _read(dialect: Dialect, raw: bytes) -> Said:
    """Return what the engine's answer says.

    Raises: EngineError when it is no answer of this dialect.
    """
    try:
        return dialect.read_answer(raw)
    except msgspec.DecodeError as error:
        raise EngineError(f"the engine's answer cannot be read: {error}") from error


def _outcome(exchange: Exchange, said: Said) -> Outcome:
    return Outcome(
        status="ok",
        latency_s=exchange.elapsed_s(),
        answer=said.text,
        finish_reason=said.finish_reason,
        prompt_tokens=said.prompt_tokens,
        completion_tokens=said.completion_tokens,
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
