"""Who is signed in to the console: a person, or the holder of an API key, in an encrypted cookie.

The cookie holds the user's name or the key's digest, an id and when it ends; using the console does
not move that end. At every request it is asked anew whether the user or key is still valid:
removing a user, changing their password or revoking a key signs out. What was signed out stays so
for this process; knows nothing of pages.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import SerializationException
from litestar.handlers import BaseRouteHandler
from litestar.middleware.session.client_side import (
    ClientSideSessionBackend,
    CookieBackendConfig,
)

from core.errors import AuthenticationError, PermissionDeniedError
from feedback.key_ring import KeyRing
from loop.console.user_ring import KnownUser, UserRing
from loop.console.visitors import Right, Visitor, visitor_of_key, visitor_of_user

SESSION_ID_BYTES = 16  # nobody guesses 128 bits. Source: OWASP, session management: at least 64
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1
OWN_SITES = frozenset({"same-origin", "none"})  # none: typed into the address bar

Connection = ASGIConnection[Any, Any, Any, Any]


class NotSignedIn(AuthenticationError):
    """Nobody is signed in, or not any more."""


class Sessions:
    """The sessions of one console, by the valid keys and the users."""

    def __init__(
        self, callers: KeyRing, users: UserRing, applications: Sequence[str], session_s: float
    ) -> None:
        self.callers = callers
        self.users = users
        self._applications = tuple(applications)
        self._session_s = session_s
        self._ended: dict[str, float] = {}  # id: when it would have ended by itself

    def begin(self, request: Request[Any, Any, Any], digest: str) -> None:
        """Sign in whose key has this digest."""
        self._begin(request, {"key": digest})

    def begin_user(self, request: Request[Any, Any, Any], user: KnownUser) -> None:
        """Sign in a person."""
        self._begin(request, {"user": user.name, "stamp": user.stamp})

    def choose(self, request: Request[Any, Any, Any], application: str) -> None:
        """Show a person another application. Raises: NotSignedIn, PermissionDeniedError."""
        visitor = self.caller(request)
        if application not in visitor.applications:
            raise PermissionDeniedError(f"{visitor.actor} may not look at {application!r}")
        request.set_session({**request.session, "application": application})

    def end(self, request: Request[Any, Any, Any]) -> None:
        """Sign out: a copy of the cookie is worth nothing any more."""
        session = request.session
        if session:
            now = time.time()
            self._ended = {id_: ends for id_, ends in self._ended.items() if ends > now}
            self._ended[session["id"]] = session["ends"]
        request.clear_session()

    def caller(self, connection: Connection) -> Visitor:
        """Return who is signed in. Raises: NotSignedIn."""
        visitor = self.holder(connection.session)
        if visitor is None:
            raise NotSignedIn("nobody is signed in, or not any more: sign in again")
        return visitor

    def holder(self, session: Mapping[str, Any]) -> Visitor | None:
        """Return whose session it is, if it is still one."""
        if not session or not self._is_open(session):
            return None
        if "key" in session:
            return self.known(session["key"])
        user = self.users.find(session["user"])
        if user is None or user.stamp != session["stamp"]:
            return None
        return visitor_of_user(user.name, user.role, self._applications, session.get("application"))

    def known(self, digest: str) -> Visitor | None:
        """Return whose key has this digest, if it is valid now and may use the console."""
        caller = self.callers.find(digest)
        return None if caller is None else visitor_of_key(caller)

    def _begin(self, request: Request[Any, Any, Any], who: Mapping[str, str]) -> None:
        ends = time.time() + self._session_s
        id_ = secrets.token_hex(SESSION_ID_BYTES)
        request.set_session({**who, "id": id_, "ends": ends})

    def _is_open(self, session: Mapping[str, Any]) -> bool:
        return session["ends"] > time.time() and session["id"] not in self._ended


def home(visitor: Visitor) -> str:
    """Return the first page of who is signed in."""
    return "/overview" if visitor.may("view") else "/review"


def guard(sessions: Sessions, right: Right) -> Callable[[Connection, BaseRouteHandler], None]:
    """Return a guard that lets in who is signed in and has this right."""

    def require(connection: Connection, _handler: BaseRouteHandler) -> None:
        sessions.caller(connection).require(right)

    return require


class Cookie(ClientSideSessionBackend):
    """Litestar's encrypted cookie; one that somebody wrote by hand is no session, not a fault."""

    def load_data(self, data: list[bytes]) -> dict[str, Any]:
        """Return what the cookie holds, or nothing."""
        try:
            return super().load_data(data)
        except (SerializationException, KeyError, TypeError, ValueError):
            return {}


@dataclass
class CookieConfig(CookieBackendConfig):
    """The settings of `Cookie`."""

    _backend_class = Cookie


def require_own_page(request: Request[Any, Any, Any]) -> None:
    """Return if no page of another origin sent this form.

    Beside the forms' tokens: to a browser, another port of this machine is the same site, so it
    sends the cookie along, and lets that port's pages set cookies for this one.

    Raises: PermissionDeniedError.
    """
    if request.method in SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        ours = site in OWN_SITES
    else:
        ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours:
        raise PermissionDeniedError(
            f"this form came from a page of {origin or 'another site'}, not from the console: "
            "open the console itself"
        )
