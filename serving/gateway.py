"""SERVE: the public front: one Litestar app with inference, models, feedback and health.

Settings and the process's parts come in, an ASGI app comes out, which `serving.server` serves.
Starts in under 2 s and never imports torch or pandas. Knows nothing of how any of its routes work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec
from litestar import Litestar, Request, get
from litestar.config.cors import CORSConfig
from litestar.handlers import HTTPRouteHandler

from core.keys import Keys
from core.settings import Settings
from feedback.desk import Desk
from feedback.key_ring import KeyRing
from feedback.limits import Budget, MemoryBudget
from feedback.log.group_commit import GroupCommit
from feedback.origins import all_origins, require_origin
from feedback.routes import feedback_router
from feedback.store import Store
from feedback.subjects import subject_router
from feedback.widget import widget_routes
from serving.admission import Admission
from serving.breaker import Breakers
from serving.chat_page import chat_routes
from serving.dispatch import Serving
from serving.engine_list import EngineList
from serving.engine_pool import EnginePool
from serving.error_shapes import shaped_handlers
from serving.exchange import Ledger
from serving.hardware import BASE_MODEL_NAME
from serving.health import Readiness, gateway_state, health_routes, metrics_route
from serving.inference import inference_router
from serving.metrics import Metrics
from serving.openapi import openapi_route
from serving.route_table import RouteTable
from serving.shadow import Shadows
from serving.shared_limits import SharedBudget

AnyRequest = Request[Any, Any, Any]


class ModelCard(msgspec.Struct):
    """A model as the OpenAI API lists it."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "ratchet"


class ModelList(msgspec.Struct):
    """The answer of GET /v1/models."""

    data: list[ModelCard]
    object: str = "list"


def create_gateway(
    settings: Settings,
    *,
    store: Store,
    commits: GroupCommit,
    keys: Keys,
    metrics: Metrics | None = None,
) -> Litestar:
    """Return the gateway's app. It reads routes from `store`, and writes only to `commits`."""
    serving = _serving(settings, store, Ledger(settings, commits, keys, metrics))
    desk = Desk(settings, commits, keys, serving.callers, metrics and metrics.count_feedback)
    return Litestar(
        route_handlers=[
            inference_router(serving),
            feedback_router(desk),
            subject_router(store=store, commits=commits, keys=keys, callers=serving.callers),
            *widget_routes(),
            *chat_routes(settings),
            _models_route(serving),
            *_watching_routes(serving, commits, metrics),
            openapi_route(),
        ],
        exception_handlers=shaped_handlers,
        lifespan=[_running(serving), _remembering(desk, store)],
        request_max_body_size=settings.max_body_bytes,
        cors_config=_cors(settings),
        openapi_config=None,
        logging_config=None,
    )


def _serving(settings: Settings, store: Store, ledger: Ledger) -> Serving:
    engines = EngineList(settings.engine)
    return Serving(
        ledger=ledger,
        engines=EnginePool(engines, settings.engine),
        table=RouteTable(store, lambda: engines.urls, settings.applications),
        breakers=Breakers(settings.engine.breaker_errors, settings.engine.breaker_pause_s),
        callers=KeyRing(settings, store),
        admission=Admission(_budget(settings, store)),
    )


def _budget(settings: Settings, store: Store) -> Budget:
    return SharedBudget(store) if settings.gateway.shared_limits else MemoryBudget()


def _models_route(serving: Serving) -> HTTPRouteHandler:
    @get("/v1/models")
    async def list_models(request: AnyRequest) -> ModelList:
        settings = serving.ledger.settings
        caller = serving.callers.authenticate(request.headers)
        caller.require("infer")
        require_origin(request.headers, caller.application, settings)
        application = caller.application
        snapshot = serving.table.current
        adapters = snapshot.ready_adapters(application) if snapshot else frozenset[str]()
        names = [application, BASE_MODEL_NAME, *sorted(adapters)]
        return ModelList([ModelCard(name) for name in names])

    return list_models


def _watching_routes(
    serving: Serving, commits: GroupCommit, metrics: Metrics | None
) -> list[HTTPRouteHandler]:
    """Return the routes by which machines watch the gateway."""
    ledger, table = serving.ledger, serving.table
    routes = health_routes(Readiness(ledger, table, serving.engines.is_healthy))
    if metrics is None:
        return routes
    metrics.watch(lambda: gateway_state(ledger, table, commits))
    to_everyone = ledger.settings.gateway.metrics == "everyone"
    return [*routes, metrics_route(metrics, to_everyone=to_everyone)]


def _running(serving: Serving) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """Give what must run while the app does: engines, route table, and who listens to answers."""

    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncGenerator[None]:
        shadows = Shadows(serving)
        serving.ledger.listeners += [serving.heed, shadows.consider]
        async with serving.engines:  # first: the routes are read for the engines that there are
            every_s = serving.ledger.settings.gateway.route_refresh_s
            refreshing: list[asyncio.Task[None]] = []
            for known in (serving.table, serving.callers):
                await asyncio.to_thread(known.refresh)
                refreshing.append(asyncio.create_task(known.refresh_forever(every_s)))
            try:
                yield
            finally:
                await shadows.close()
                for task in refreshing:
                    task.cancel()
                await asyncio.gather(*refreshing, return_exceptions=True)
                await serving.admission.close()

    return running


def _remembering(
    desk: Desk, store: Store
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """Give what fills the memory of feedback ids; nobody waits for it."""

    @asynccontextmanager
    async def remembering(_app: Litestar) -> AsyncGenerator[None]:
        loading = asyncio.create_task(asyncio.to_thread(desk.repeats.load, store))
        try:
            yield
        finally:
            await loading

    return remembering


def _cors(settings: Settings) -> CORSConfig | None:
    origins = all_origins(settings)
    if not origins:
        return None
    return CORSConfig(
        allow_origins=origins,
        allow_methods=["GET", "POST", "OPTIONS"],
        allow_headers=["*"],  # official clients send several of their own
        expose_headers=[
            "x-ratchet-interaction",
            "x-ratchet-receipt",
            "x-ratchet-adapter",
            "retry-after",
            "x-ratchet-fallback",
        ],
    )
