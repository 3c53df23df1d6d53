"""One's own password: a person changes what an admin, or the command line, gave them.

The old and the new password come in by a form; every other session of theirs ends. Tries are
limited as those of signing in. Keys, and people of a provider, have nothing to change here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get, post
from litestar.response import Template

from core.errors import PermissionDeniedError, RequestError
from core.settings import Settings
from feedback.store import Store
from loop.console.login import Tries
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.user_ring import KnownUser, known
from loop.console.users import check_password, set_password
from loop.console.visitors import Visitor

WRONG = "This is not your password as it is now."

AnyRequest = Request[Any, Any, Any]


def account_routes(settings: Settings, store: Store, sessions: Sessions) -> list[Any]:
    """Return the page of one's own password."""
    tries = Tries(settings)

    def shown(request: AnyRequest, visitor: Visitor, error: str = "", done: str = "") -> Template:
        user = sessions.users.find(visitor.name) if visitor.is_person else None
        context = {"error": error, "done": done, "has_password": user and user.has_password}
        made = page(request, visitor, "account.html", "account", **context)
        made.status_code = 400 if error else 200
        return made

    @get("/account", sync_to_thread=False)
    def show_account(request: AnyRequest) -> Template:
        return shown(request, sessions.caller(request))

    @post("/account", status_code=200)
    async def change_password(request: AnyRequest) -> Response[Any]:
        visitor = sessions.caller(request)
        if not visitor.is_person:
            raise PermissionDeniedError("a key has no password: rotate it instead", field="role")
        await tries.take(request, visitor.name)
        form = await request.form()
        old, new = str(form.get("old", "")), str(form.get("new", ""))
        try:
            user = await asyncio.to_thread(_change, store, visitor.name, old, new)
        except RequestError as error:
            return shown(request, visitor, error.message)
        await asyncio.to_thread(sessions.users.refresh)
        sessions.begin_user(request, user)
        return shown(request, visitor, done="Your password is changed. Other sessions are ended.")

    return [show_account, change_password]


def _change(store: Store, name: str, old: str, new: str) -> KnownUser:
    """Change one's own password. Raises: RequestError."""
    with store.session() as session:
        if check_password(session, name, old) is None:
            raise RequestError(WRONG, field="old")
        user = set_password(session, name, new, by=name)
        session.commit()
        return known(user)
