"""SERVE: the public front: one Litestar app with inference, models, feedback and health.

Settings and the process's parts come in, an ASGI app comes out; `run_gateway` serves it until
SIGTERM, then lets open answers finish. Starts in under 2 s and never imports torch or pandas.
Knows nothing of how any of its routes work.

    ratchet gateway
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from types import FrameType
from typing import Any

import msgspec
import structlog
import uvicorn
import uvloop
from litestar import Litestar, Request, Response, get
from litestar.config.cors import CORSConfig
from litestar.handlers import HTTPRouteHandler

from core.errors import StateError
from core.keys import Keys
from core.settings import Settings
from feedback.api_keys import authenticate
from feedback.http_errors import exception_handlers
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import EventLog
from feedback.routes import feedback_router
from feedback.store import Store
from serving.breaker import Breakers
from serving.dispatch import Serving
from serving.engine_list import EngineList
from serving.engine_pool import EnginePool
from serving.exchange import Ledger
from serving.hardware import BASE_MODEL_NAME
from serving.inference import inference_router
from serving.launcher import port_error
from serving.route_table import RouteTable
from serving.shadow import Shadows

SHUTDOWN_TIMEOUT_S = 30  # for answers that are on their way
KEEP_ALIVE_S = 75  # above common proxies' 60 s, so that the proxy closes first

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
    settings: Settings, *, store: Store, commits: GroupCommit, keys: Keys
) -> Litestar:
    """Return the gateway's app. It reads routes from `store`, and writes only to `commits`."""
    serving = _serving(settings, store, Ledger(settings, commits, keys))
    return Litestar(
        route_handlers=[
            inference_router(serving),
            feedback_router(settings=settings, commits=commits, keys=keys),
            *_reading_routes(serving),
        ],
        exception_handlers=exception_handlers,
        lifespan=[_running(serving)],
        request_max_body_size=settings.gateway.max_body_bytes,
        cors_config=_cors(settings),
        openapi_config=None,
        logging_config=None,
    )


def _serving(settings: Settings, store: Store, ledger: Ledger) -> Serving:
    engines = EngineList(settings.engine)
    return Serving(
        ledger=ledger,
        engines=EnginePool(
            engines, settings.engine, answer_timeout_s=settings.gateway.request_timeout_s
        ),
        table=RouteTable(store, lambda: engines.urls, settings.applications),
        breakers=Breakers(settings.engine.breaker_errors, settings.engine.breaker_pause_s),
    )


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
            app = create_gateway(settings, store=store, commits=commits, keys=keys)
            await _serve(app, listener, settings, stop)
        finally:
            await commits.close()

    with (
        _listening(settings) as listener,
        _signals_survived(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(serve(listener))


async def _serve(
    app: Litestar, listener: socket.socket, settings: Settings, stop: threading.Event | None
) -> None:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            backlog=settings.gateway.backlog,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            lifespan="on",
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


def _exit_when_set(stop: threading.Event, server: uvicorn.Server) -> None:
    stop.wait()
    server.should_exit = True


@contextmanager
def _listening(settings: Settings) -> Generator[socket.socket]:
    host, port = settings.gateway.host, settings.gateway.port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


def _reading_routes(serving: Serving) -> list[HTTPRouteHandler]:
    @get("/v1/models")
    async def list_models(request: AnyRequest) -> ModelList:
        settings = serving.ledger.settings
        application = authenticate(request.headers.get("authorization"), settings)
        snapshot = serving.table.current
        adapters = snapshot.ready_adapters(application) if snapshot else frozenset[str]()
        names = [application, BASE_MODEL_NAME, *sorted(adapters)]
        return ModelList([ModelCard(name) for name in names])

    @get("/health/live")
    async def report_alive() -> dict[str, str]:
        return {"status": "alive"}

    @get("/health/ready")
    async def report_ready() -> Response[dict[str, Any]]:
        parts = {
            "routes": serving.table.current is not None,
            "engine": await serving.engines.is_healthy(),
        }
        ready = all(parts.values())
        body = {
            "status": "ready" if ready else "not ready",
            **parts,
            "unlogged": serving.ledger.unlogged,
        }
        return Response(body, status_code=200 if ready else 503)

    return [list_models, report_alive, report_ready]


def _running(serving: Serving) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """Give what must run while the app does: engines, route table, and who listens to answers."""

    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncGenerator[None]:
        shadows = Shadows(serving)
        serving.ledger.listeners += [serving.heed, shadows.consider]
        async with serving.engines:  # first: the routes are read for the engines that there are
            await asyncio.to_thread(serving.table.refresh)
            every_s = serving.ledger.settings.gateway.route_refresh_s
            refreshing = asyncio.create_task(serving.table.refresh_forever(every_s))
            try:
                yield
            finally:
                await shadows.close()
                refreshing.cancel()
                with suppress(asyncio.CancelledError):
                    await refreshing

    return running


def _cors(settings: Settings) -> CORSConfig | None:
    if not settings.gateway.allowed_origins:
        return None
    return CORSConfig(
        allow_origins=list(settings.gateway.allowed_origins),
        allow_methods=["GET", "POST", "OPTIONS"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=[
            "x-ratchet-interaction",
            "x-ratchet-receipt",
            "x-ratchet-adapter",
            "x-ratchet-fallback",
        ],
    )
