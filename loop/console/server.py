"""The console's process: its port, its server, its end.

ratchet console
"""

from __future__ import annotations

import asyncio
import socket
import threading

import structlog
import uvicorn

from loop.console.app import create_console
from loop.console.warming import warm
from loop.wiring import Parts
from serving.launcher import port_error

STOP_S = 5  # pages are short

_log = structlog.get_logger(__name__)


def run_console(parts: Parts, stop: threading.Event) -> None:
    """Serve until `stop` is set.

    Raises: SettingsError when the port cannot be had.
    """
    settings = parts.settings
    host, port = settings.console.host, settings.console.port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # asyncio does so only for sockets that say TCP: without it each page waits 40 ms for an ACK
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise port_error(error, host, port, "console") from error
        app = create_console(parts)
        server = _server(app)
        app.state.live.is_ending = lambda: server.should_exit  # streams would hold it up
        threading.Thread(target=warm, args=(app,), name="console-warm", daemon=True).start()
        waiting = threading.Thread(target=_exit_when_set, args=(stop, server), daemon=True)
        waiting.start()
        _log.info("console_listening", url=settings.console.url)
        # uvicorn takes the signals while it serves, and raises them again when it has stopped
        asyncio.run(server.serve(sockets=[listener]))
        _log.info("console_stopped", url=settings.console.url)


def _server(app: object) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,  # pyright: ignore[reportArgumentType] (uvicorn's own type is narrower than ASGI)
            timeout_graceful_shutdown=STOP_S,
            lifespan="on",
            ws="none",
            proxy_headers=False,
            access_log=False,
            server_header=False,
            log_config=None,
        )
    )


def _exit_when_set(stop: threading.Event, server: uvicorn.Server) -> None:
    stop.wait()
    server.should_exit = True
