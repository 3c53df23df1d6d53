"""Users: who may sign in, and what an admin may do about it, each act in the audit log.

ConsoleUser rows come in, pages and changes by `loop.console.users` go out. Only for people who are
admins: a key belongs to one application, and a user sees all of them. A new password is made here
and stands on one page, once. Nobody changes themselves: so one admin is always left.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import structlog
from litestar import Request, get, post
from litestar.response import Redirect, Template

from core.errors import NotFoundError, PermissionDeniedError, RequestError
from feedback.store import Store
from loop.console import users
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.visitors import ROLES, Visitor
from loop.wiring import Parts

PASSWORD_BYTES = 15  # 20 letters; nobody guesses 120 bits. Source: OWASP ASVS 5, 6.4.1: random
MAX_REASON_CHARS = 500
REASONED = frozenset({"disable", "enable", "remove"})
MEANING = {
    "viewer": "sees everything, changes nothing",
    "reviewer": "also decides on candidates",
    "operator": "also moves rollouts, answers incidents, reads the audit log",
    "admin": "also manages API keys and users",
}

AnyRequest = Request[Any, Any, Any]
_log = structlog.get_logger(__name__)


def user_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the pages of users, and what changes them."""
    return [*_pages(parts.store, sessions), *_acts(parts.store, sessions)]


def _pages(store: Store, sessions: Sessions) -> list[Any]:
    @get("/users", sync_to_thread=True)
    def show_users(request: AnyRequest) -> Template:
        visitor = _admin(sessions.caller(request))
        with store.session() as session:
            rows = users.list_users(session)
        return page(request, visitor, "users.html", "users", users=rows)

    @get("/users/new", sync_to_thread=False)
    def show_form(request: AnyRequest) -> Template:
        return _form(request, _admin(sessions.caller(request)))

    @get("/users/{name:str}", sync_to_thread=True)
    def show_user(request: AnyRequest, name: str) -> Template:
        visitor = _admin(sessions.caller(request))
        with store.session() as session:
            user = users.find_user(session, name)
        own = user.name == visitor.name
        context = {"user": user, "is_own": own, "roles": ROLES, "meaning": MEANING}
        return page(request, visitor, "user.html", "users", **context)

    return [show_users, show_form, show_user]


def _acts(store: Store, sessions: Sessions) -> list[Any]:
    @post("/users", status_code=200)
    async def add(request: AnyRequest) -> Template:
        visitor, sent = _admin(sessions.caller(request)), await _sent(request)
        try:
            made = await asyncio.to_thread(_add, store, visitor, sent)
        except RequestError as error:
            return _form(request, visitor, sent, error.message)
        await asyncio.to_thread(sessions.users.refresh)
        return page(request, visitor, "user_made.html", "users", who=sent["name"], secret=made)

    @post("/users/{name:str}/password", status_code=200)
    async def reset_password(request: AnyRequest, name: str) -> Template:
        visitor = _admin(sessions.caller(request))
        made = await asyncio.to_thread(_reset, store, visitor, name)
        await asyncio.to_thread(sessions.users.refresh)
        return page(request, visitor, "user_made.html", "users", who=name, secret=made)

    @post("/users/{name:str}/{act:str}", status_code=303)
    async def change(request: AnyRequest, name: str, act: str) -> Redirect:
        visitor, sent = _admin(sessions.caller(request)), await _sent(request)
        await asyncio.to_thread(_change, store, visitor, (name, act), sent)
        await asyncio.to_thread(sessions.users.refresh)
        return Redirect("/users" if act == "remove" else f"/users/{name}", status_code=303)

    return [add, reset_password, change]


def _form(
    request: AnyRequest, visitor: Visitor, sent: Mapping[str, str] | None = None, error: str = ""
) -> Template:
    context = {"sent": sent or {}, "error": error, "roles": ROLES, "meaning": MEANING}
    shown = page(request, visitor, "user_form.html", "users", **context)
    shown.status_code = 400 if error else 200
    return shown


def _add(store: Store, visitor: Visitor, sent: Mapping[str, str]) -> str:
    """Add somebody; return their password. Raises: RequestError, ConflictError."""
    made = secrets.token_urlsafe(PASSWORD_BYTES)
    with store.session() as session:
        users.add_user(session, sent["name"], sent["role"], made, by=visitor.actor)
        session.commit()
    _log.info("user_added", user=sent["name"], role=sent["role"], by=visitor.actor)
    return made


def _reset(store: Store, visitor: Visitor, name: str) -> str:
    """Give somebody a new password; return it. Raises: NotFoundError, RequestError."""
    made = secrets.token_urlsafe(PASSWORD_BYTES)
    with store.session() as session:
        users.set_password(session, name, made, by=visitor.actor)
        session.commit()
    _log.info("user_password_changed", user=name, by=visitor.actor)
    return made


def _change(store: Store, visitor: Visitor, what: tuple[str, str], sent: Mapping[str, str]) -> None:
    """Carry out one of the acts that need a reason, or a new role.

    Raises: NotFoundError; StateError when there is nothing to change; RequestError without a
    reason; PermissionDeniedError of an admin's own row.
    """
    name, act = what
    if name == visitor.name:
        raise PermissionDeniedError(
            f"{name} is you: another admin may do that, so that one is always left", field="name"
        )
    reason, by = sent["reason"], visitor.actor
    if act in REASONED and not 0 < len(reason) <= MAX_REASON_CHARS:
        raise RequestError(
            f"say why, in at most {MAX_REASON_CHARS} characters: the audit log keeps it",
            field="reason",
        )
    with store.session() as session:
        if act == "role":
            users.set_role(session, name, sent["role"], by=by)
        elif act == "disable":
            users.disable_user(session, name, reason, by=by)
        elif act == "enable":
            users.enable_user(session, name, reason, by=by)
        elif act == "remove":
            users.remove_user(session, name, reason, by=by)
        else:
            raise NotFoundError(f"nothing called {act!r} can be done to a user")
        session.commit()
    _log.info("user_changed", user=name, act=act, by=by)


async def _sent(request: AnyRequest) -> dict[str, str]:
    form = await request.form()
    return {name: str(form.get(name, "")).strip() for name in ("name", "role", "reason")}


def _admin(visitor: Visitor) -> Visitor:
    """Return the visitor, a person who is an admin. Raises: PermissionDeniedError."""
    visitor.require("administer")
    if not visitor.is_person:
        raise PermissionDeniedError(
            "users see every application, a key belongs to one: sign in as a person", field="role"
        )
    return visitor
