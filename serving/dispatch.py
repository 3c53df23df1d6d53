"""SERVE: from a validated request to an answer that has begun: who answers, and from where.

An interaction that was asked comes in; it is given an arm by the route table, and the engine's
answer to it goes out with its exchange. What fails on the way is logged as an error, a client that
leaves as disconnected. Knows nothing of HTTP bodies or of how answers are read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from core.errors import EngineError, EngineUnavailable, NotFoundError
from feedback.key_ring import KeyRing
from serving.admission import Admission
from serving.engine_client import EngineAnswer, EngineClient, ModelMissing, NotConnected
from serving.exchange import Asked, Exchange, Ledger, Outcome
from serving.hardware import BASE_MODEL_NAME
from serving.requests import engine_body
from serving.route_table import RouteTable, Snapshot
from serving.routing import Assignment, assign, without
from serving.tracing import part

LIVE_ALIASES = frozenset({"live", "default"})  # beside the application's own name

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """What answering needs."""

    ledger: Ledger
    engine: EngineClient
    table: RouteTable
    callers: KeyRing
    admission: Admission


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


async def begin(serving: Serving, asked: Asked) -> tuple[Exchange, EngineAnswer]:
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
    with part("routing"):
        assignment = choose(asked, snapshot)
    while True:
        exchange = serving.ledger.exchange(asked, assignment)
        try:
            return exchange, await _ask(serving, exchange)
        except ModelMissing as error:
            if assignment.adapter is None or not _is_routed(asked):
                raise await failed(serving.ledger, exchange, error) from error
            missing |= {assignment.adapter}
            assignment = assign(without(snapshot.route(asked.application), missing), asked.unit)


async def _ask(serving: Serving, exchange: Exchange) -> EngineAnswer:
    """Open the answer. A fault, and a client that leaves, is logged; `ModelMissing` is not yet."""
    asked = exchange.asked
    try:
        with part("engine"):
            return await serving.engine.open(
                asked.endpoint, engine_body(asked.request, exchange.served_by)
            )
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
        reached_engine=not isinstance(error, NotConnected),
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


def _is_routed(asked: Asked) -> bool:
    return asked.request.model == asked.application or asked.request.model in LIVE_ALIASES
