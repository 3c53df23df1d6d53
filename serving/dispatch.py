"""SERVE: from a validated request to an answer that has begun: who answers, and from where.

An interaction that was asked comes in; it is given an arm by the route table, and the answer of an
engine that has the arm's adapter goes out with its exchange. What fails on the way is logged as an
error, a client that leaves as disconnected. Knows nothing of HTTP bodies or of how answers are
read.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import structlog

from core.errors import EngineError, EngineUnavailable, NotFoundError
from feedback.key_ring import KeyRing
from serving.admission import Admission
from serving.breaker import Breakers
from serving.engine_client import (
    EngineAnswer,
    EngineBusy,
    EngineRequest,
    ModelMissing,
    NotConnected,
)
from serving.engine_pool import EnginePool
from serving.exchange import Asked, Exchange, Ledger, Outcome
from serving.hardware import BASE_MODEL_NAME
from serving.requests import engine_body
from serving.route_table import RouteTable, Snapshot
from serving.routing import Assignment, Fallback, Route, assign, assign_forced, without
from serving.tracing import part

LIVE_ALIASES = frozenset({"live", "default"})  # beside the application's own name
OPENING_CHARS = 256  # some four of vLLM's cache blocks of 16 tokens

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """What answering needs."""

    ledger: Ledger
    engines: EnginePool
    table: RouteTable
    breakers: Breakers
    callers: KeyRing
    admission: Admission

    def heed(self, exchange: Exchange, outcome: Outcome) -> None:
        """Let the adapter's circuit breaker know how it went; a ledger's listener."""
        adapter = exchange.assignment.adapter
        if adapter is None or not outcome.reached_engine or outcome.status == "disconnected":
            return
        opened = self.breakers.note(adapter, ok=outcome.status == "ok", now_s=time.monotonic())
        if opened:
            _log.error("adapter_breaker_opened", adapter=adapter, error=outcome.error)


def choose(asked: Asked, snapshot: Snapshot, route: Route) -> Assignment:
    """Return who answers, by the request's `model`.

    `base` is the base model itself; the application's name, `live` and `default` follow the
    rollout; a name of one of its ready adapters is that adapter. Only the second is an exposure,
    unless an operator forces the arm.

    Raises: NotFoundError for anything else, RequestError for an arm where there is no rollout.
    """
    model, application = asked.request.model, asked.application
    if model == BASE_MODEL_NAME:
        return Assignment(None)
    if is_routed(asked):
        if asked.forced_arm is not None:
            return assign_forced(route, asked.forced_arm)
        return assign(route, asked.unit)
    ready = snapshot.ready_adapters(application)
    if model in ready:
        return Assignment(model)
    known = ", ".join([application, *sorted(LIVE_ALIASES), BASE_MODEL_NAME, *sorted(ready)])
    raise NotFoundError(f"no model {model!r} is served here; there are: {known}", field="model")


def is_routed(asked: Asked) -> bool:
    """Return whether who answers follows the application's route, not an exact name."""
    return asked.request.model == asked.application or asked.request.model in LIVE_ALIASES


async def begin(serving: Serving, asked: Asked) -> tuple[Exchange, EngineAnswer]:
    """Return the exchange and an engine's answer to it, which has begun.

    An adapter that no engine can answer with now (not ready, breaker open, or the engine
    restarted a moment ago) is answered for by the next one down: canary, baseline, base model.

    Raises: EngineError, with the interaction logged; RequestError when the engine says that the
        request itself is wrong: then nothing was answered, and nothing is logged.
    """
    snapshot = serving.table.current
    if snapshot is None:
        raise EngineUnavailable("the routes are not read yet: the store does not answer")
    route = snapshot.route(asked.application)
    while True:
        with part("routing"):
            assignment = choose(asked, snapshot, route)
        engines = serving.engines.usable(snapshot.having(assignment.adapter))
        replaceable = assignment.adapter if is_routed(asked) else None
        if replaceable and (fault := _fault(serving, replaceable, engines)):
            route = without(route, replaceable, fault)
            continue
        exchange = serving.ledger.exchange(asked, assignment)
        try:
            return exchange, await open_answer(serving, exchange, engines)
        except ModelMissing as error:
            if replaceable is None:
                raise await failed(serving.ledger, exchange, error) from error
            route = without(route, replaceable, "missing")


async def open_answer(serving: Serving, exchange: Exchange, engines: list[str]) -> EngineAnswer:
    """Open the answer. A fault, and a client that leaves, is logged; `ModelMissing` is not yet."""
    asked = exchange.asked
    key = _prefix_key(exchange) if len(engines) > 1 else b""
    try:
        with part("engine"):
            body = engine_body(asked.request, exchange.served_by)
            timeout_s = serving.ledger.settings.request_timeout_s(asked.application)
            request = EngineRequest(asked.endpoint, body, timeout_s)
            return await serving.engines.open(engines, key, request)
    except ModelMissing:
        raise
    except EngineError as error:
        raise await failed(serving.ledger, exchange, error) from error
    except asyncio.CancelledError:
        await left(serving.ledger, exchange)
        raise


async def failed(ledger: Ledger, exchange: Exchange, error: EngineError) -> EngineError:
    """Log the interaction as an error; return the error to raise."""
    outcome = Outcome(
        status="error",
        latency_s=exchange.elapsed_s(),
        error=error.message,
        reached_engine=not isinstance(error, NotConnected | EngineBusy),  # the adapter was not used
    )
    await ledger.write(exchange, outcome)
    return error


async def left(ledger: Ledger, exchange: Exchange) -> None:
    """Log an interaction whose client left before any of its answer was sent."""
    await ledger.write(exchange, Outcome("disconnected", exchange.elapsed_s()))
    asked = exchange.asked
    _log.info(
        "client_disconnected", interaction=asked.interaction_id, application=asked.application
    )


def _fault(serving: Serving, adapter: str, engines: list[str]) -> Fallback | None:
    """Return why nobody can answer with `adapter` now, or None if somebody can."""
    if not engines:
        return "not_ready"
    if not serving.breakers.permits(adapter, time.monotonic()):
        return "breaker_open"
    return None


def _prefix_key(exchange: Exchange) -> bytes:
    """Return what requests have in common whose beginnings an engine may have cached."""
    asked = exchange.asked
    opening = asked.turns[0].content[:OPENING_CHARS] if asked.turns else ""
    return f"{asked.application}\x00{exchange.served_by}\x00{opening}".encode(
        errors="surrogatepass"
    )
