"""The console's page for signing in, and what signs out.

A key comes in by a form, a session of `loop.console.sessions` begins. Tries are limited by address;
the answer to a wrong key does not say what is wrong with it.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import structlog
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Template

from core.errors import RateLimitError
from core.settings import Settings
from feedback.api_keys import key_digest
from feedback.limits import MemoryBudget, Quota
from feedback.raters import FORWARDED, client_address
from loop.console.sessions import Sessions, home

TRIES = Quota(10)  # a minute and address. Source: OWASP, credential stuffing prevention
WRONG = "This key is not valid, or does not have the scope review, ops or admin."

AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


def login_routes(settings: Settings, sessions: Sessions) -> list[HTTPRouteHandler]:
    """Return the routes of signing in and out."""
    budget = MemoryBudget()
    proxies = [ip_network(text) for text in settings.feedback.trusted_proxies]

    @get("/login")
    async def show_login() -> Template:
        return Template("login.html")

    @post("/login", status_code=200)
    async def login(request: AnyRequest) -> Response[Any]:
        peer = request.client.host if request.client else "unknown"
        address = client_address(peer, request.headers.get(FORWARDED, ""), proxies)
        wait_s = await budget.take(address, TRIES, 1.0)
        if wait_s > 0:
            raise RateLimitError("too many tries: wait a minute", retry_after_s=wait_s)
        digest = key_digest(str((await request.form()).get("key", "")).strip())
        caller = sessions.known(digest)
        if caller is None:
            _log.warning("console_login_refused")
            return Template("login.html", context={"error": WRONG}, status_code=401)
        sessions.begin(request, digest)
        _log.info("console_login", key=caller.key_id, application=caller.application)
        return Redirect(home(caller), status_code=303)

    @post("/logout", status_code=303)
    async def logout(request: AnyRequest) -> Redirect:
        sessions.end(request)
        return Redirect("/login", status_code=303)

    return [show_login, login, logout]
