"""SERVE: the public front: one Litestar app with inference, models, feedback and health.

Settings and the process's parts come in, an ASGI app comes out; `run_gateway` serves it until
SIGTERM, then lets open answers finish. Starts in under 2 s and never imports torch or pandas.
Knows nothing of how any of its routes work.

    ratchet gateway
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
import uvicorn
import uvloop
from litestar import Litestar, Request, get
from litestar.config.cors import CORSConfig
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry

from core.errors import StateError
from core.keys import Keys
from core.settings import Settings
from feedback.key_ring import KeyRing
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import EventLog
from feedback.origins import all_origins, require_origin
from feedback.routes import feedback_router
from feedback.store import Store
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
from serving.launcher import port_error
from serving.limits import Budget, MemoryBudget
from serving.metrics import Metrics
from serving.observed import Observed
from serving.openapi import openapi_route
from serving.route_table import RouteTable
from serving.shadow import Shadows
from serving.shared_limits import SharedBudget

if TYPE_CHECKING:
    from serving.otlp import Tracer

SHUTDOWN_TIMEOUT_S = 30  # for answers that are on their way
KEEP_ALIVE_S = 75  # above common proxies' 60 s, so that the proxy closes first

# For how long the event loop may keep the log's thread from running. Each commit lets go of the
# interpreter several times, and Python's own 5 ms each are more than the commit itself takes.
# Measured: docs/experiments.md, "Serving".
SWITCH_INTERVAL_S = 0.0005

_log = structlog.get_logger(__name__)

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
    return Litestar(
        route_handlers=[
            inference_router(serving),
            feedback_router(
                settings=settings,
                commits=commits,
                keys=keys,
                callers=serving.callers,
                notice=metrics and metrics.count_feedback,
            ),
            *widget_routes(),
            *chat_routes(settings),
            _models_route(serving),
            *_watching_routes(serving, commits, metrics),
            openapi_route(),
        ],
        exception_handlers=shaped_handlers,
        lifespan=[_running(serving)],
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


def run_gateway(
    settings: Settings,
    *,
    store: Store,
    log: EventLog,
    keys: Keys,
    stop: threading.Event | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`; open answers may finish first.

    Raises: SettingsError when the port cannot be had.
    """

    async def serve(listener: socket.socket) -> None:
        commits = GroupCommit(log, commit_every_ms=settings.log.commit_every_ms)
        try:
            with _observers(settings) as (metrics, tracer):
                app = create_gateway(
                    settings, store=store, commits=commits, keys=keys, metrics=metrics
                )
                paths = frozenset(route.path for route in app.routes)
                _tune_process()
                await _serve(Observed(app, metrics, tracer, paths), listener, settings, stop)
        finally:
            await commits.close()

    with (
        _listening(settings) as listener,
        _signals_survived(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve(listener))


@contextmanager
def _observers(settings: Settings) -> Generator[tuple[Metrics | None, Tracer | None]]:
    """Give what counts and what traces, as far as the settings want them; send the last traces."""
    metrics = Metrics(CollectorRegistry()) if settings.gateway.metrics != "off" else None
    if settings.traces.endpoint is None:
        yield metrics, None
        return
    from serving.otlp import Tracer  # 0.2 s that a gateway without traces does not pay

    tracer = Tracer(settings.traces)
    try:
        yield metrics, tracer
    finally:
        tracer.close()


async def _serve(
    app: ASGIApp, listener: socket.socket, settings: Settings, stop: threading.Event | None
) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            backlog=settings.gateway.backlog,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            lifespan="on",
            http="httptools",
            ws="none",
            proxy_headers=False,  # nothing here reads the client's address
            access_log=False,
            server_header=False,
            log_config=None,
        )
    )
    if stop is not None:
        threading.Thread(target=_exit_when_set, args=(stop, server), daemon=True).start()
    _log.info("gateway_listening", url=settings.gateway.url)
    await server.serve(sockets=[listener])
    if not server.started:
        raise StateError("the gateway could not start: its log above says why")
    _log.info("gateway_stopped", url=settings.gateway.url)


def _tune_process() -> None:
    """Keep collections and other threads from holding answers up, if the process is all ours."""
    if threading.current_thread() is threading.main_thread():
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()  # what start-up made is there to stay: no collection walks over it again


def _exit_when_set(stop: threading.Event, server: uvicorn.Server) -> None:
    stop.wait()
    server.should_exit = True


@contextmanager
def _listening(settings: Settings) -> Generator[socket.socket]:
    host, port = settings.gateway.host, settings.gateway.port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # A client that stops reading is cut by the kernel: connections inherit this. Nothing in
        # the process could do it, because closing a connection waits for what is not yet sent.
        stalled_ms = int(settings.gateway.request_timeout_s * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, stalled_ms)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise port_error(error, host, port, "gateway") from error
        yield listener


@contextmanager
def _signals_survived() -> Generator[None]:
    """Keep the process alive when uvicorn, once stopped, raises the signal that stopped it again.

    What comes after it (the last commit, closing the store) would else never run.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


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
