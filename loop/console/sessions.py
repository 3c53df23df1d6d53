"""Who is signed in to the console: an API key of an operator or reviewer, in an encrypted cookie.

The cookie holds the key's digest, an id and when it ends; using the console does not move that end.
At every request it is asked anew whether the key is still valid: revoking a key signs its holder
out. What was signed out stays so for this process; knows nothing of pages.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
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
from feedback.api_keys import Caller, Scope
from feedback.key_ring import KeyRing

SESSION_ID_BYTES = 16  # nobody guesses 128 bits. Source: OWASP, session management: at least 64
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1
OPERATORS: frozenset[Scope] = frozenset({"ops"})  # and admin, which is every scope
REVIEWERS: frozenset[Scope] = frozenset({"review", "ops"})  # reviewers see nothing else
OWN_SITES = frozenset({"same-origin", "none"})  # none: typed into the address bar

Connection = ASGIConnection[Any, Any, Any, Any]


class NotSignedIn(AuthenticationError):
    """Nobody is signed in, or not any more."""


class Sessions:
    """The sessions of one console, by the valid keys."""

    def __init__(self, callers: KeyRing, session_s: float) -> None:
        self.callers = callers
        self._session_s = session_s
        self._ended: dict[str, float] = {}  # id: when it would have ended by itself

    def begin(self, request: Request[Any, Any, Any], digest: str) -> None:
        """Sign in whose key has this digest."""
        ends = time.time() + self._session_s
        id_ = secrets.token_hex(SESSION_ID_BYTES)
        request.set_session({"key": digest, "id": id_, "ends": ends})

    def end(self, request: Request[Any, Any, Any]) -> None:
        """Sign out: a copy of the cookie is worth nothing any more."""
        session = request.session
        if session:
            now = time.time()
            self._ended = {id_: ends for id_, ends in self._ended.items() if ends > now}
            self._ended[session["id"]] = session["ends"]
        request.clear_session()

    def caller(self, connection: Connection) -> Caller:
        """Return who is signed in. Raises: NotSignedIn."""
        session = connection.session
        caller = self.known(session["key"]) if session and self._is_open(session) else None
        if caller is None:
            raise NotSignedIn("nobody is signed in, or their key is no longer valid: sign in again")
        return caller

    def known(self, digest: str) -> Caller | None:
        """Return whose key has this digest, if it is valid now and may use the console."""
        caller = self.callers.find(digest)
        return caller if caller is not None and caller.allowed & REVIEWERS else None

    def _is_open(self, session: Mapping[str, Any]) -> bool:
        return session["ends"] > time.time() and session["id"] not in self._ended


def home(caller: Caller) -> str:
    """Return the first page of who is signed in."""
    return "/keys" if caller.allowed & OPERATORS else "/review"


def guard(
    sessions: Sessions, scopes: frozenset[Scope]
) -> Callable[[Connection, BaseRouteHandler], None]:
    """Return a guard that lets in who is signed in with one of these scopes."""

    def require(connection: Connection, _handler: BaseRouteHandler) -> None:
        caller = sessions.caller(connection)
        if not caller.allowed & scopes:
            raise PermissionDeniedError(
                f"key {caller.key_id} has the scope {', '.join(sorted(caller.scopes))}: "
                f"this page is for keys with the scope {' or '.join(sorted(scopes))}"
            )

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
