"""The console's pages on API keys: those of the application whose key is signed in.

The same functions as `ratchet key`. A secret stands on the one page that answers its making, which
is kept nowhere. A form that is wrong comes back as it was filled in, with what is wrong beside it.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from litestar import Request, Response, get, post
from litestar.datastructures import FormMultiDict
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Template
from sqlmodel import Session

from core.clock import as_utc, utc_now
from core.errors import NotFoundError, RequestError, StateError
from feedback.api_keys import SCOPES, KeyLimits
from feedback.audit import HumanAct, record
from feedback.key_store import KeyWish, create_key, key_state, list_keys, revoke_key, rotate_key
from feedback.store import Store
from feedback.tables import ApiKey
from loop.console.sessions import Sessions
from loop.console.visitors import Visitor
from loop.durations import duration

LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent")
MAX_NAME_CHARS = 100
DEFAULT_GRACE = "24h"  # as `ratchet key rotate`

AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


@dataclass
class KeyForm:
    """A new key as somebody filled it in; `errors` by field."""

    name: str = ""
    scopes: list[str] = field(default_factory=lambda: ["infer", "feedback"])
    expires: str = ""
    limits: dict[str, str] = field(default_factory=dict[str, str])
    errors: dict[str, str] = field(default_factory=dict[str, str])

    def wish(self, application: str) -> KeyWish | None:
        """Return what is wished for, or None with `errors` filled in."""
        if not self.scopes:
            self.errors["scopes"] = "Choose at least one: a key without a scope can do nothing."
        if not self.name.isprintable():  # PostgreSQL takes no NUL, and people see no others
            self.errors["name"] = "Use only characters that can be seen."
        elif len(self.name) > MAX_NAME_CHARS:
            self.errors["name"] = f"Use at most {MAX_NAME_CHARS} characters."
        limits = KeyLimits(*[self._limit(name) for name in LIMITS])
        ends = None
        if self.expires:
            try:
                ends = utc_now() + duration(self.expires, "expires")
            except RequestError:
                self.errors["expires"] = "Write a number and s, m, h or d, such as 90d."
        if self.errors:
            return None
        return KeyWish(application, self.scopes, self.name, limits, ends)

    def _limit(self, name: str) -> int | None:
        text = self.limits.get(name, "")
        if not text:
            return None
        if re.fullmatch(r"\d{1,10}", text, re.ASCII) is None or not 0 < int(text) < 2**31:
            self.errors[name] = "Write a whole number of 1 or more, or leave it empty."
            return None
        return int(text)


def key_routes(store: Store, sessions: Sessions) -> list[HTTPRouteHandler]:
    """Return the pages on keys."""
    return [*_pages(store, sessions), *_acts(store, sessions)]


def _pages(store: Store, sessions: Sessions) -> list[HTTPRouteHandler]:
    """Return what shows keys, and the forms by which they change."""

    @get("/keys", sync_to_thread=True)
    def show_keys(request: AnyRequest) -> Template:
        caller = sessions.caller(request)
        with store.session() as session:
            rows = [_shown(row) for row in list_keys(session, caller.application)]
        return _page("keys.html", caller, keys=rows)

    @get("/keys/new", sync_to_thread=False)
    def show_form(request: AnyRequest) -> Template:
        caller = _admin(sessions.caller(request))
        return _page("key_form.html", caller, form=KeyForm())

    def asked(request: AnyRequest, key_id: str, template: str) -> Template:
        caller = _admin(sessions.caller(request))
        with store.session() as session:
            row = _own(session, key_id, caller)
        return _page(template, caller, key=_shown(row), grace=DEFAULT_GRACE, error=None)

    @get("/keys/{key_id:str}/rotate", sync_to_thread=True)
    def ask_to_rotate(request: AnyRequest, key_id: str) -> Template:
        return asked(request, key_id, "key_rotate.html")

    @get("/keys/{key_id:str}/revoke", sync_to_thread=True)
    def ask_to_revoke(request: AnyRequest, key_id: str) -> Template:
        return asked(request, key_id, "key_revoke.html")

    return [show_keys, show_form, ask_to_rotate, ask_to_revoke]


def _acts(store: Store, sessions: Sessions) -> list[HTTPRouteHandler]:
    """Return what changes keys."""

    @post("/keys", status_code=200)
    async def make_key(request: AnyRequest) -> Template:
        caller = _admin(sessions.caller(request))
        return await asyncio.to_thread(_make, store, caller, await _form(request))

    @post("/keys/{key_id:str}/rotate", status_code=200)
    async def rotate(request: AnyRequest, key_id: str) -> Template:
        caller = _admin(sessions.caller(request))
        grace = _text(await request.form(), "grace")
        return await asyncio.to_thread(_rotate, store, caller, key_id, grace)

    @post("/keys/{key_id:str}/revoke", status_code=303)
    async def revoke(request: AnyRequest, key_id: str) -> Response[Any]:
        caller = _admin(sessions.caller(request))
        await asyncio.to_thread(_revoke, store, caller, key_id)
        # who revokes the key they are signed in with is out at once
        await asyncio.to_thread(sessions.callers.refresh)
        return Redirect("/keys", status_code=303)

    return [make_key, rotate, revoke]


def _page(name: str, caller: Visitor, status: int = 200, **context: Any) -> Template:
    shown = {
        "caller": caller,
        "section": "keys",
        "may_change": caller.may("administer"),
        "scopes": SCOPES,
    }
    return Template(name, context=shown | context, status_code=status)


def _make(store: Store, caller: Visitor, form: KeyForm) -> Template:
    wish = form.wish(caller.application)
    if wish is None:
        return _page("key_form.html", caller, 400, form=form)
    with store.session() as session:
        row, secret = create_key(session, wish)
        _keep(session, caller, "key_created", row, scopes=row.scopes)
        session.commit()
    _log.info("key_created", key=row.id, application=row.application, by=caller.key_id)
    return _page("key_made.html", caller, key=_shown(row), secret=secret)


def _rotate(store: Store, caller: Visitor, key_id: str, grace: str) -> Template:
    with store.session() as session:
        old = _own(session, key_id, caller)
        try:
            row, secret = rotate_key(session, key_id, _grace(grace))
        except (RequestError, StateError) as error:
            told = {"key": _shown(old), "grace": grace, "error": error.message}
            return _page("key_rotate.html", caller, 400, **told)
        _keep(session, caller, "key_rotated", old, into=row.id)
        session.commit()
    _log.info("key_rotated", key=key_id, into=row.id, by=caller.key_id)
    return _page("key_made.html", caller, key=_shown(row), secret=secret)


def _revoke(store: Store, caller: Visitor, key_id: str) -> None:
    with store.session() as session:
        row = _own(session, key_id, caller)
        revoke_key(session, key_id)
        _keep(session, caller, "key_revoked", row)
        session.commit()
    _log.info("key_revoked", key=key_id, by=caller.key_id)


def _keep(session: Session, caller: Visitor, action: str, key: ApiKey, **details: Any) -> None:
    record(session, HumanAct(caller.actor, action, "key", key.id, key.application, "", details))


def _grace(text: str) -> timedelta:
    """Return what was filled in. Raises: RequestError."""
    try:
        return duration(text, "grace")
    except RequestError as error:
        raise RequestError("Write a number and s, m, h or d, such as 24h.") from error


async def _form(request: AnyRequest) -> KeyForm:
    sent = await request.form()
    return KeyForm(
        name=_text(sent, "name"),
        scopes=[str(scope) for scope in sent.getall("scope", []) if scope in SCOPES],
        expires=_text(sent, "expires"),
        limits={name: _text(sent, name) for name in LIMITS},
    )


def _text(sent: FormMultiDict, field_name: str) -> str:
    return str(sent.get(field_name, "")).strip()


def _admin(caller: Visitor) -> Visitor:
    """Return the caller, who may change keys. Raises: PermissionDeniedError."""
    caller.require("administer")
    return caller


def _own(session: Session, key_id: str, caller: Visitor) -> ApiKey:
    """Return a key of the caller's application. Raises: NotFoundError."""
    row = session.get(ApiKey, key_id)
    if row is None or row.application != caller.application:
        raise NotFoundError(f"no key {key_id!r} of {caller.application}")
    return row


def _shown(row: ApiKey) -> dict[str, Any]:
    expires = row.expires_at and as_utc(row.expires_at)
    limits = [(name.replace("_", " "), getattr(row, name)) for name in LIMITS]
    return {
        "id": row.id,
        "name": row.name or "without a name",
        "scopes": row.scopes,
        "state": key_state(row, utc_now()),
        "created": f"{as_utc(row.created_at):%Y-%m-%d}",
        "expires": f"{expires:%Y-%m-%d %H:%M}" if expires else "never",
        "limits": ", ".join(f"{value:,} {name}" for name, value in limits if value)
        or "the application's",
    }
