"""The routes of signing in by OpenID Connect: away to the provider, and back.

What must come back with the browser is in an encrypted cookie of ten minutes. That one is `Lax`,
because the browser comes from another site; the session's own is `Strict`, so a page of the
console's own leads on from the last step.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from dataclasses import asdict
from typing import Any

import msgspec
import structlog
from cryptography.fernet import Fernet, InvalidToken
from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.response import Redirect, Template

from core.errors import AuthenticationError, RatchetError
from core.settings import Settings
from feedback.audit import HumanAct, record
from feedback.store import Store
from loop.console.login import Tries, refuse
from loop.console.oidc import Attempt, Person, Provider
from loop.console.sessions import Sessions
from loop.console.user_ring import KnownUser, known
from loop.console.users import enter_by_oidc

ATTEMPT_S = 600
BACK = "/login/oidc/back"

AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


def oidc_routes(settings: Settings, store: Store, sessions: Sessions, secret: bytes) -> list[Any]:
    """Return the routes, none where no issuer is set; `secret` has 32 bytes."""
    oidc = settings.console.oidc
    if oidc.issuer is None:
        return []
    provider = Provider(oidc, f"{oidc.url or settings.console.url}{BACK}")
    box, tries = Fernet(urlsafe_b64encode(secret)), Tries(settings)
    secure = settings.console.is_https
    name = "__Host-ratchet-oidc" if secure else "ratchet-oidc"

    def cookie(value: str, max_age: int) -> Cookie:
        how: dict[str, Any] = {"secure": secure, "httponly": True, "samesite": "lax"}
        return Cookie(key=name, value=value, max_age=max_age, **how)

    @get("/login/oidc")
    async def leave(request: AnyRequest) -> Redirect:
        await tries.take(request)
        attempt = Attempt.new()
        sealed = box.encrypt(msgspec.json.encode(asdict(attempt))).decode().rstrip("=")
        address = await provider.address(attempt)
        return Redirect(address, status_code=303, cookies=[cookie(sealed, ATTEMPT_S)])

    @get(BACK)
    async def come_back(request: AnyRequest) -> Response[Any]:
        attempt = _attempt(box, request.cookies.get(name, ""))
        asked = request.query_params
        if asked.get("state") != attempt.state or "code" not in asked:
            refused = asked.get("error_description") or asked.get("error") or "no code came back"
            raise AuthenticationError(f"the sign-in was not finished: {refused}")
        person: Person | None = None
        try:
            person = await provider.person(asked["code"], attempt)
            user = await asyncio.to_thread(_enter, store, person)
        except RatchetError:
            who = person.name if person else ""
            await asyncio.to_thread(refuse, store, tries.address(request), "user", who)
            raise
        await asyncio.to_thread(sessions.users.refresh)
        sessions.begin_user(request, user)
        _log.info("console_login", user=user.name, role=user.role, by="oidc")
        return Template("entered.html", cookies=[cookie("", 0)])

    return [leave, come_back]


def _attempt(box: Fernet, sealed: str) -> Attempt:
    """Return what the browser took along. Raises: AuthenticationError."""
    try:
        padded = sealed + "=" * (-len(sealed) % 4)  # cookies do not keep them
        opened = box.decrypt(padded.encode(), ttl=ATTEMPT_S)
        return Attempt(**msgspec.json.decode(opened))
    except (InvalidToken, TypeError, msgspec.DecodeError) as error:
        raise AuthenticationError("the sign-in took too long, or began elsewhere: again") from error


def _enter(store: Store, person: Person) -> KnownUser:
    with store.session() as session:
        user = enter_by_oidc(session, person.name, person.subject, person.role)
        record(session, HumanAct(user.name, "signed_in", "user", user.name))
        session.commit()
        return known(user)
