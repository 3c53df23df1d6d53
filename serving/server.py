"""SERVE: the gateway's process: its port, its server, its signals, its end.

Settings and the process's parts come in; the app of `serving.gateway` is served until SIGTERM, then
open answers may finish, and what was handed to the log is committed. Knows nothing of routes.

    ratchet gateway
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn
import uvloop
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry

from core.errors import StateError
from core.keys import Keys
from core.settings import Settings
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import EventLog
from feedback.store import Store
from serving.gateway import create_gateway
from serving.launcher import port_error
from serving.metrics import Metrics
from serving.observed import Observed

if TYPE_CHECKING:
    from serving.otlp import Tracer

SHUTDOWN_TIMEOUT_S = 30  # for answers that are on their way
KEEP_ALIVE_S = 75  # above common proxies' 60 s, so that the proxy closes first

# For how long the event loop may keep the log's thread from running. Each commit lets go of the
# interpreter several times, and Python's own 5 ms each are more than the commit itself takes.
# Measured: docs/experiments.md, "Serving".
SWITCH_INTERVAL_S = 0.0005

_log = structlog.get_logger(__name__)


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
            proxy_headers=False,  # the client is whoever connects: metrics go by that
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
