"""Who is signed in to the console: an API key with scope `ops` or `admin`, in an encrypted cookie.

The cookie holds the key's digest and nothing else. It is asked anew at every request whether that
key is still valid: revoking a key signs its holder out. Tries are limited by address.
"""

from __future__ import annotations

from typing import Any

import structlog
from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.response import Redirect, Template

from core.errors import AuthenticationError, PermissionDeniedError, RateLimitError
from feedback.api_keys import Caller, key_digest
from feedback.key_ring import KeyRing
from feedback.limits import MemoryBudget, Quota

TRIES = Quota(10)  # a minute and address. Source: OWASP, credential stuffing prevention
DIGEST = "key"
WRONG = "This key is not valid, or does not have the scope ops or admin."

AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


class NotSignedIn(AuthenticationError):
    """Nobody is signed in, or not any more."""


def signed_in(connection: ASGIConnection[Any, Any, Any, Any], callers: KeyRing) -> Caller:
    """Return who is signed in. Raises: NotSignedIn."""
    digest = connection.session.get(DIGEST) if connection.session else None
    caller = callers.find(digest) if isinstance(digest, str) else None
    if caller is None or "ops" not in caller.allowed:
        raise NotSignedIn("nobody is signed in, or their key is no longer valid: sign in again")
    return caller


def guard(callers: KeyRing) -> Any:
    """Return a guard that lets in who is signed in."""

    def require(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        signed_in(connection, callers)

    return require


def require_admin(caller: Caller) -> None:
    """Return if the caller may change keys. Raises: PermissionDeniedError."""
    if "admin" not in caller.scopes:
        raise PermissionDeniedError("a key with scope ops may look at keys, admin may change them")


def login_routes(callers: KeyRing) -> list[HTTPRouteHandler]:
    """Return the routes of signing in and out."""
    budget = MemoryBudget()

    @get("/login")
    async def show_login() -> Template:
        return Template("login.html")

    @post("/login", status_code=200)
    async def login(request: AnyRequest) -> Response[Any]:
        address = request.client.host if request.client else "unknown"
        wait_s = await budget.take(address, TRIES, 1.0)
        if wait_s > 0:
            raise RateLimitError("too many tries: wait a minute", retry_after_s=wait_s)
        form = await request.form()
        caller = callers.find(key_digest(str(form.get("key", "")).strip()))
        if caller is None or "ops" not in caller.allowed:
            _log.warning("console_login_refused")
            return Template("login.html", context={"error": WRONG}, status_code=401)
        request.set_session({DIGEST: key_digest(str(form["key"]).strip())})
        _log.info("console_login", key=caller.key_id, application=caller.application)
        return Redirect("/keys", status_code=303)

    @post("/logout", status_code=303)
    async def logout(request: AnyRequest) -> Redirect:
        request.clear_session()
        return Redirect("/login", status_code=303)

    return [show_login, login, logout]
