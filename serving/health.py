"""SERVE: GET /health/live, /health/ready and /metrics: what orchestrators and Prometheus ask.

Live means that the process answers; ready, that an answer can be had, or else why not. Metrics are
given without a key, so by default only to the machine's own and private networks, and never through
a proxy. Cheap at any rate of asking. Knows nothing of what is served.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from core.errors import NotFoundError
from feedback.log.group_commit import GroupCommit
from serving.exchange import Ledger
from serving.metrics import Metrics, State
from serving.route_table import RouteTable

ENGINE_ASKED_EVERY_S = 1.0  # however often we are asked ourselves
FULL_FOR_S = 10.0  # then the log is tried again: without traffic nobody would learn of room in it
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip", "via")

AnyRequest = Request[Any, Any, Any]


class Readiness:
    """Knows why no answer can be had, if so; asks the engine at most once a second."""

    def __init__(
        self, ledger: Ledger, table: RouteTable, engine_is_healthy: Callable[[], Awaitable[bool]]
    ) -> None:
        self._ledger = ledger
        self._table = table
        self._engine_is_healthy = engine_is_healthy
        self._asking = asyncio.Lock()
        self._asked_at_s = -math.inf
        self._engine = False

    async def report(self) -> dict[str, Any]:
        """Return what is well and what is not; `reasons` is empty when all that is needed is."""
        parts = {
            "routes": self._table.current is not None,
            "engine": await self._engine_answers(),
            "log": time.monotonic() - self._ledger.full_at_s > FULL_FOR_S,
        }
        told = {
            "routes": "the routes were never read: the store does not answer",
            "engine": "the engine does not answer, or says that it is not healthy",
            "log": "the log is full: raise log.max_bytes, or free space on its disk",
        }
        refuses = self._ledger.settings.log.full_policy == "refuse"
        needed = {name for name in parts if name != "log" or refuses}
        reasons = [told[name] for name, well in parts.items() if name in needed and not well]
        return {
            "status": "not ready" if reasons else "ready",
            **parts,
            "unlogged": self._ledger.unlogged,
            "reasons": reasons,
        }

    async def _engine_answers(self) -> bool:
        async with self._asking:
            if time.monotonic() - self._asked_at_s >= ENGINE_ASKED_EVERY_S:
                self._engine = await self._engine_is_healthy()
                self._asked_at_s = time.monotonic()
            return self._engine


def health_routes(readiness: Readiness) -> list[HTTPRouteHandler]:
    """Return the routes that orchestrators ask."""

    @get("/health/live")
    async def report_alive() -> dict[str, str]:
        return {"status": "alive"}

    @get("/health/ready")
    async def report_ready() -> Response[dict[str, Any]]:
        report = await readiness.report()
        return Response(report, status_code=503 if report["reasons"] else 200)

    return [report_alive, report_ready]


def metrics_route(metrics: Metrics, *, to_everyone: bool) -> HTTPRouteHandler:
    """Return the route that Prometheus asks; who may not know of it gets 404."""

    @get("/metrics")
    async def scrape(request: AnyRequest) -> Response[bytes]:
        proxied = any(name in request.headers for name in PROXY_HEADERS)
        host = request.client.host if request.client else None
        if not to_everyone and (proxied or not is_private(host)):
            raise NotFoundError("metrics are served to private networks only: gateway.metrics")
        # in a thread: it reads the spool, which may be at work
        content = await asyncio.to_thread(metrics.render)
        return Response(content, headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4})

    return scrape


def is_private(host: str | None) -> bool:
    """Return whether `host` is an address of this machine or of a private network."""
    try:
        return ip_address(host or "").is_private
    except ValueError:
        return False


def gateway_state(ledger: Ledger, table: RouteTable, commits: GroupCommit) -> State:
    """Return what is true now, for a scrape."""
    depth = commits.depth()
    return State(
        log_records=depth.records,
        log_bytes=depth.bytes,
        log_max_bytes=depth.max_bytes,
        log_failures=commits.failures,
        unlogged=ledger.unlogged,
        routes_age_s=time.monotonic() - table.read_at_s,
    )
