"""The console's app: pages for operators, rendered here, that work without JavaScript.

Settings and the process's parts come in, a Litestar app comes out. Nothing is fetched from
elsewhere; no page may be framed or kept in a cache; every form carries a token against forgery.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
from litestar import Litestar, Request, Response, Router, get, post
from litestar.config.csrf import CSRFConfig
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.template.config import TemplateConfig
from sqlalchemy.exc import SQLAlchemyError

from core.errors import RatchetError, RateLimitError
from core.keys import Keys
from curation.review.desk import ReviewDesk
from feedback.key_ring import KeyRing
from feedback.web_file import load_web_file
from loop.console.keys import key_routes
from loop.console.live import Live, live_routes
from loop.console.login import login_routes
from loop.console.oidc_login import oidc_routes
from loop.console.pages.account import account_routes
from loop.console.pages.adapters import adapter_routes
from loop.console.pages.audit import audit_routes
from loop.console.pages.datasets import dataset_routes
from loop.console.pages.drift import drift_routes
from loop.console.pages.incidents import incident_acts, incident_routes
from loop.console.pages.jobs import job_routes
from loop.console.pages.metrics import metrics_routes
from loop.console.pages.overview import overview_routes
from loop.console.pages.rollouts import rollout_acts, rollout_routes
from loop.console.pages.runs import run_routes
from loop.console.pages.users import user_routes
from loop.console.review import review_routes
from loop.console.sessions import (
    CookieConfig,
    NotSignedIn,
    Sessions,
    guard,
    home,
    require_own_page,
)
from loop.console.shown import prepare
from loop.console.user_ring import UserRing
from loop.console.visitors import Right
from loop.review_api import review_handlers
from loop.wiring import Parts

FOLDER = Path(__file__).parent
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",  # review's script sends forms by itself
        "style-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # forms of our own pages still say where they came from
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

MAX_BODY_BYTES = 65_536  # of a form; the largest is some hundred bytes

AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


def create_console(parts: Parts) -> Litestar:
    """Return the console's app."""
    settings, store, keys = parts.settings, parts.store, parts.keys
    callers = KeyRing(settings, store)
    users = UserRing(store)
    sessions = Sessions(callers, users, tuple(settings.applications), settings.console.session_s)
    secure = settings.console.is_https
    keys_pages = key_routes(store, sessions)
    desk = ReviewDesk(store, settings)
    review = review_routes(desk, sessions)
    live = Live(store, sessions, settings.console.live_every_s)
    by_right: dict[Right, list[Any]] = {
        "view": [
            *overview_routes(parts, sessions),
            *metrics_routes(parts, sessions),
            *rollout_routes(parts, sessions),
            *adapter_routes(parts, sessions),
            *run_routes(parts, sessions),
            *dataset_routes(parts, sessions),
            *drift_routes(parts, sessions),
            *incident_routes(parts, sessions),
            *job_routes(parts, sessions),
            *live_routes(live, sessions),
            *account_routes(settings, store, sessions),
        ],
        "review": review,
        "operate": [
            *keys_pages,
            *rollout_acts(parts, sessions),
            *incident_acts(parts, sessions),
            *audit_routes(parts, sessions),
        ],
        "administer": user_routes(parts, sessions),
    }
    pages = [
        Router("/", route_handlers=routes, guards=[guard(sessions, right)])
        for right, routes in by_right.items()
    ]
    cookies = CookieConfig(
        secret=_secret(keys, "session"),
        key="__Host-ratchet-console" if secure else "ratchet-console",  # __Host-: RFC 6265bis
        max_age=int(settings.console.session_s),
        httponly=True,
        secure=secure,
        samesite="strict",
    )
    return Litestar(
        route_handlers=[
            *pages,
            *review_handlers(desk, callers),
            *login_routes(settings, store, sessions),
            *oidc_routes(settings, store, sessions, _secret(keys, "oidc")),
            *_files(),
            _home(sessions),
            _choice(sessions),
            _live,
        ],
        middleware=[cookies.middleware],
        csrf_config=CSRFConfig(
            secret=_secret(keys, "csrf").hex(),
            cookie_name="__Host-ratchet-form" if secure else "ratchet-form",
            cookie_secure=secure,
            cookie_httponly=True,  # the forms carry the token themselves
            cookie_samesite="strict",
        ),
        request_max_body_size=MAX_BODY_BYTES,
        before_request=require_own_page,
        template_config=TemplateConfig(
            directory=FOLDER / "templates", engine=JinjaTemplateEngine, engine_callback=prepare
        ),
        exception_handlers={
            NotSignedIn: _to_login,
            RatchetError: _refuse,
            HTTPException: _refuse_http,
            SQLAlchemyError: _store_away,
            Exception: _crash,
        },
        after_request=_with_headers,
        state=State({"callers": callers, "users": users, "live": live}),
        lifespan=[
            _refreshing((callers, users), settings.gateway.route_refresh_s),
            lambda _app: live.running(),
        ],
        openapi_config=None,
        logging_config=None,
    )


@get("/health/live")
async def _live() -> dict[str, str]:
    return {"status": "ok"}


def _home(sessions: Sessions) -> Any:
    @get("/")
    async def go_home(request: AnyRequest) -> Redirect:
        return Redirect(home(sessions.caller(request)))

    return go_home


def _choice(sessions: Sessions) -> Any:
    @post("/application", status_code=303)
    async def choose(request: AnyRequest) -> Redirect:
        sessions.choose(request, str((await request.form()).get("application", "")))
        return Redirect("/", status_code=303)

    return choose


def _files() -> list[Any]:
    files = {
        path.name: load_web_file(path, cache_control="no-cache")
        for path in (FOLDER / "web").iterdir()
    }

    @get("/web/{name:str}")
    async def serve(request: AnyRequest, name: str) -> Response[bytes]:
        if name not in files:
            raise HTTPException(status_code=404, detail=f"no file {name!r}")
        return files[name].response(request)

    return [serve]


def _refreshing(rings: Sequence[KeyRing | UserRing], every_s: float) -> Any:
    @asynccontextmanager
    async def running(_app: Litestar) -> AsyncGenerator[None]:
        for ring in rings:
            await asyncio.to_thread(ring.refresh)
        tasks = [asyncio.create_task(ring.refresh_forever(every_s)) for ring in rings]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return running


def _secret(keys: Keys, purpose: str) -> bytes:
    """Return a key of its own for a purpose: sessions last over restarts, and end nowhere else."""
    return hmac.new(keys.subject, f"console {purpose}".encode(), hashlib.sha256).digest()


async def _with_headers(response: Response[Any]) -> Response[Any]:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _to_login(_request: AnyRequest, _error: Exception) -> Response[Any]:
    return Redirect("/login", status_code=303, headers=HEADERS)


def _refuse(_request: AnyRequest, error: RatchetError) -> Response[Any]:
    headers = dict(HEADERS)
    if isinstance(error, RateLimitError):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    return _error_page(error.http_status, error.message, headers)


def _refuse_http(request: AnyRequest, error: HTTPException) -> Response[Any]:
    if error.status_code >= 500:
        return _crash(request, error)
    told = "This form has expired: go back, reload the page and send it again."
    return _error_page(error.status_code, told if "CSRF" in error.detail else error.detail)


def _crash(request: AnyRequest, error: Exception) -> Response[Any]:
    _log.error("console_crashed", path=request.url.path, exc_info=error)
    return _error_page(500, "An unexpected fault, now in the console's log.")


def _store_away(_request: AnyRequest, error: SQLAlchemyError) -> Response[Any]:
    _log.error("console_store_failed", error=str(error.__cause__ or error))
    return _error_page(503, "The database does not answer: try again in a moment.")


def _error_page(status: int, message: str, headers: dict[str, str] | None = None) -> Response[Any]:
    context = {"status": status, "message": message}
    return Template("error.html", context=context, status_code=status, headers=headers or HEADERS)
