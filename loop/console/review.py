"""CURATE: the console's pages on which people review what may be learnt.

The desk's queue comes in, decisions go out. An item is held by who took it: its address has the
token of the lease. Nothing on a page says why an item is there, which adapter answered, or whether
its answer is known. Plain forms; where a script asks for a part of a page, that part is sent.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

from litestar import Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Template

from core.errors import ConflictError, NotFoundError, RequestError
from curation.review.desk import Assignment, ReviewDesk
from curation.review.exchange import ASKED
from curation.review.words import BEST_MARK, RUBRIC, Choice, Decision
from loop.console.difference import difference
from loop.console.overview import overview
from loop.console.sessions import Sessions
from loop.console.visitors import Visitor

MAX_BODY_BYTES = 4_000_000  # of a correction: 200,000 characters, 12 bytes each at most in a form
SAID = {  # by choice
    "approve": "Approved.",
    "reject": "Rejected.",
    "correct": "Corrected.",
    "prefer": "Compared.",
    "skip": "Skipped: somebody else will see it.",
}
SEEN = ("first", "second", "tie")  # choices of a comparison
NONE_LEFT = "Nothing is left for you at the moment. Thank you."

AnyRequest = Request[Any, Any, Any]


@dataclass
class ReviewForm:
    """What a reviewer filled in; `errors` by field."""

    choice: str = ""
    marks: dict[str, str] = field(default_factory=dict[str, str])
    reason: str = ""
    text: str = ""
    errors: dict[str, str] = field(default_factory=dict[str, str])

    def decision(self, answer: str | None) -> Decision:
        """Return what the reviewer says of this answer; the desk checks the rest.

        Raises: RequestError when a correction changes nothing.
        """
        if self.choice in SEEN:
            return Decision("prefer", self.choice, reason=self.reason)
        is_correction = self.choice == "correct"
        if is_correction and self.text == answer:
            raise RequestError("Change the answer first, or approve it as it is.", field="text")
        return Decision(
            cast("Choice", self.choice),
            rubric={name: int(mark) if mark in "12345" else 0 for name, mark in self.marks.items()},
            reason=self.reason,
            text=self.text if is_correction else None,
        )


def review_routes(desk: ReviewDesk, sessions: Sessions) -> list[HTTPRouteHandler]:
    """Return the pages of review."""
    return [*_pages(desk, sessions), *_acts(desk, sessions)]


def _pages(desk: ReviewDesk, sessions: Sessions) -> list[HTTPRouteHandler]:
    @get("/review", sync_to_thread=True)
    def show_queue(request: AnyRequest) -> Template:
        caller = sessions.caller(request)
        told = NONE_LEFT if request.query_params.get("left") == "none" else ""
        return _page(request, caller, "review.html", told=told, **overview(desk, caller))

    @get("/review/items/{token:str}", sync_to_thread=True)
    def show_item(request: AnyRequest, token: str) -> Template:
        caller = sessions.caller(request)
        try:
            item = desk.held(caller.key_id, token)
        except (ConflictError, NotFoundError) as error:
            return _gone(request, caller, error)
        return _item(request, caller, desk, item, ReviewForm(text=item.answer or ""))

    return [show_queue, show_item]


def _acts(desk: ReviewDesk, sessions: Sessions) -> list[HTTPRouteHandler]:
    @post("/review/take", status_code=303, sync_to_thread=True)
    def take(request: AnyRequest) -> Redirect:
        return _next(desk, sessions.caller(request))

    @post("/review/items/{token:str}", status_code=200, request_max_body_size=MAX_BODY_BYTES)
    async def decide(request: AnyRequest, token: str) -> Response[Any]:
        caller, form = sessions.caller(request), await _form(request)
        return await asyncio.to_thread(_decide, request, desk, caller, token, form)

    @post(
        "/review/items/{token:str}/changes", status_code=200, request_max_body_size=MAX_BODY_BYTES
    )
    async def show_changes(request: AnyRequest, token: str) -> Template:
        caller, form = sessions.caller(request), await _form(request)
        return await asyncio.to_thread(_again, request, desk, caller, token, form)

    @post("/review/items/{token:str}/release", status_code=303, sync_to_thread=True)
    def release(request: AnyRequest, token: str) -> Redirect:
        desk.release(sessions.caller(request).key_id, token)
        return Redirect("/review", status_code=303)

    return [take, decide, show_changes, release]


def _next(desk: ReviewDesk, caller: Visitor, said: str = "") -> Redirect:
    item = desk.take(caller.application, caller.key_id)
    where = "/review?left=none" if item is None else f"/review/items/{item.token}?said={said}"
    return Redirect(where, status_code=303)


def _decide(
    request: AnyRequest, desk: ReviewDesk, caller: Visitor, token: str, form: ReviewForm
) -> Response[Any]:
    try:
        decided = desk.decide(caller.key_id, token, form.decision(_answer(desk, caller, token)))
    except (ConflictError, NotFoundError) as error:
        return _gone(request, caller, error)
    except RequestError as error:
        form.errors[error.field or "decision"] = error.message
        return _again(request, desk, caller, token, form)
    return _next(desk, caller, decided.choice)


def _answer(desk: ReviewDesk, caller: Visitor, token: str) -> str | None:
    """Return the answer before the reviewer; None where it is not theirs: the desk will say so."""
    try:
        return desk.held(caller.key_id, token).answer
    except (ConflictError, NotFoundError):
        return None


def _again(
    request: AnyRequest, desk: ReviewDesk, caller: Visitor, token: str, form: ReviewForm
) -> Template:
    """Return the page of an item as it was filled in, if it is still held."""
    try:
        item = desk.held(caller.key_id, token)
    except (ConflictError, NotFoundError) as error:
        return _gone(request, caller, error)
    return _item(request, caller, desk, item, form)


def _gone(request: AnyRequest, caller: Visitor, error: RequestError) -> Template:
    return _page(request, caller, "review_gone.html", error.http_status, message=error.message)


def _item(
    request: AnyRequest, caller: Visitor, desk: ReviewDesk, item: Assignment, form: ReviewForm
) -> Template:
    answer = item.answer or ""
    return _page(
        request,
        caller,
        "review_comparison.html" if item.kind == "comparison" else "review_item.html",
        400 if form.errors else 200,
        item=item,
        form=form,
        asked=ASKED,
        marks=range(1, BEST_MARK + 1),
        changes=None if item.rejected is None else difference(item.rejected, answer),
        edits=difference(answer, form.text) if form.text != answer else [],
        progress=desk.progress(caller.application, caller.key_id),
        said=SAID.get(request.query_params.get("said", ""), ""),
    )


def _page(
    request: AnyRequest, caller: Visitor, name: str, status: int = 200, **context: Any
) -> Template:
    is_part = request.headers.get("hx-request") == "true"
    shown = {
        "caller": caller,
        "section": "review",
        "layout": "part.html" if is_part else "page.html",
    }
    headers = {"vary": "hx-request"}
    return Template(name, context=shown | context, status_code=status, headers=headers)


async def _form(request: AnyRequest) -> ReviewForm:
    """Return what was sent; browsers end lines with CR LF, our texts with LF."""
    sent = {name: str(value) for name, value in (await request.form()).items()}
    return ReviewForm(
        choice=sent.get("choice", ""),
        marks={name: sent[name] for name in RUBRIC if sent.get(name)},
        reason=sent.get("reason", "").replace("\r\n", "\n").strip(),
        text=sent.get("text", "").replace("\r\n", "\n"),
    )
