"""SERVE: the outermost layer of the gateway: every HTTP request is counted and, if wanted, traced.

Wraps the app, so that it also sees what never reaches a route: wrong paths, bodies that are too
large, preflights. Knows nothing of what routes do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from serving.metrics import OTHER, Metrics
from serving.tracing import current_trace

if TYPE_CHECKING:
    from serving.otlp import Trace, Tracer

TRACE_HEADERS = (b"traceparent", b"tracestate")  # W3C Trace Context
UNANSWERED = 500  # what the server sends for an app that raised


class Observed:
    """An ASGI app around `app`; `paths` are those that metrics know by name."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics | None, tracer: Tracer | None, paths: frozenset[str]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, and count how that ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = UNANSWERED

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        trace = self._begin(scope)
        token = current_trace.set(trace)
        try:
            await self._app(scope, receive, note_status)
        finally:
            current_trace.reset(token)
            self._end(scope["path"], status, trace)

    def _begin(self, scope: HTTPScope) -> Trace | None:
        if self._metrics is not None:
            self._metrics.begin_request()
        # reading (health, models, metrics, the chat page's files) is not worth a trace
        if self._tracer is None or scope["method"] != "POST" or scope["path"] not in self._paths:
            return None
        headers = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in TRACE_HEADERS
        }
        return self._tracer.begin(scope["method"], scope["path"], headers)

    def _end(self, path: str, status: int, trace: Trace | None) -> None:
        if self._metrics is not None:
            self._metrics.end_request(path if path in self._paths else OTHER, status)
        if trace is not None:
            trace.end(status)
