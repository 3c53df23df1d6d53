"""The console's page for signing in, and signing out.

A name with a password, or an API key, comes in by a form; a session of `loop.console.sessions`
begins. Tries are limited by address and by name; the answer to a wrong one does not say what is
wrong with it. Signing in by OpenID Connect is `loop.console.oidc_login`.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any

import structlog
from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Template

from core.errors import RateLimitError
from core.settings import Settings
from feedback.api_keys import key_digest
from feedback.audit import HumanAct, keep, record
from feedback.console_tables import ConsoleUser
from feedback.limits import MemoryBudget, Quota
from feedback.raters import FORWARDED, client_address
from feedback.store import Store
from loop.console.sessions import Sessions, home
from loop.console.user_ring import KnownUser, known
from loop.console.users import check_password
from loop.console.visitors import Visitor

TRIES = Quota(10)  # a minute and address. Source: OWASP, credential stuffing prevention
WRONG = "This key is not valid, or does not have the scope review, ops or admin."
WRONG_PASSWORD = "This name and password do not belong together."

AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


class Tries:
    """How often somebody may still try to sign in, by address and by name."""

    def __init__(self, settings: Settings) -> None:
        self._budget = MemoryBudget()
        self._proxies = [ip_network(text) for text in settings.feedback.trusted_proxies]

    def address(self, request: AnyRequest) -> str:
        """Return where a try comes from."""
        peer = request.client.host if request.client else "unknown"
        return client_address(peer, request.headers.get(FORWARDED, ""), self._proxies)

    async def take(self, request: AnyRequest, name: str = "") -> None:
        """Count one try. Raises: RateLimitError."""
        address = self.address(request)
        for counted in (f"address {address}", *([f"name {name}"] if name else [])):
            wait_s = await self._budget.take(counted, TRIES, 1.0)
            if wait_s > 0:
                raise RateLimitError("too many tries: wait a minute", retry_after_s=wait_s)


def login_routes(settings: Settings, store: Store, sessions: Sessions) -> list[HTTPRouteHandler]:
    """Return the routes of signing in and out."""
    tries = Tries(settings)

    def page(status: int = 200, **context: Any) -> Template:
        ways = {
            "by_password": sessions.users.has_passwords,
            "by_oidc": settings.console.oidc.issuer is not None,
        }
        return Template("login.html", context=ways | context, status_code=status)

    @get("/login")
    async def show_login() -> Template:
        return page()

    @post("/login", status_code=200)
    async def login(request: AnyRequest) -> Response[Any]:
        form = await request.form()
        name = str(form.get("name", "")).strip()
        await tries.take(request, name)
        if name:
            user = await asyncio.to_thread(_user, store, name, str(form.get("password", "")))
            if user is None:
                await asyncio.to_thread(refuse, store, tries.address(request), "user", name)
                return page(401, password_error=WRONG_PASSWORD, name=name)
            await asyncio.to_thread(sessions.users.refresh)
            sessions.begin_user(request, user)
            _log.info("console_login", user=user.name, role=user.role)
            return Redirect("/", status_code=303)
        digest = key_digest(str(form.get("key", "")).strip())
        visitor = sessions.known(digest)
        if visitor is None:
            await asyncio.to_thread(refuse, store, tries.address(request), "key")
            return page(401, error=WRONG)
        sessions.begin(request, digest)
        await asyncio.to_thread(_keep, store, visitor, "signed_in")
        _log.info("console_login", key=visitor.name, application=visitor.application)
        return Redirect(home(visitor), status_code=303)

    @post("/logout", status_code=303)
    async def logout(request: AnyRequest) -> Redirect:
        visitor = sessions.holder(request.session)
        sessions.end(request)
        if visitor is not None:
            await asyncio.to_thread(_keep, store, visitor, "signed_out")
        return Redirect("/login", status_code=303)

    return [show_login, login, logout]


def _user(store: Store, name: str, password: str) -> KnownUser | None:
    """Return whose name and password these are; that they signed in is kept."""
    with store.session() as session:
        user = check_password(session, name, password)
        if user is None:
            return None
        record(session, HumanAct(name, "signed_in", "user", name))
        session.commit()
        return known(user)


def refuse(store: Store, address: str, kind: str, name: str = "") -> None:
    """Keep that somebody was refused; a name only if there is one of that name.

    What people type there by mistake may be their password.
    """
    _log.warning("console_login_refused")
    with store.session() as session:
        known_name = name if name and session.get(ConsoleUser, name) is not None else "unknown"
        details = {"address": address}
        record(session, HumanAct("somebody", "sign_in_refused", kind, known_name, details=details))
        session.commit()


def _keep(store: Store, visitor: Visitor, action: str) -> None:
    kind, own = ("user", None) if visitor.is_person else ("key", visitor.application)
    keep(store, HumanAct(visitor.actor, action, kind, visitor.name, own))
