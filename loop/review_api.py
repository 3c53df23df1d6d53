"""CURATE, over HTTP: `/api/review/…`, by which reviewers work without the console's page.

A bearer API key of scope `review` says who reviews, and of which application; the key's id is the
reviewer's. JSON in and out. Mounted in the console's app, whose forms' tokens it does not need:
no browser sends a bearer key by itself.

    POST next      {"kinds": [...]}                    → {"assignment": {...} | null}
    POST decide    {"token", "decision", "preferred", "rubric", "reason", "text"}
    POST release   {"token"}                           → {"released": true}
    GET  progress, agreement
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from litestar import Request, Response, Router, get, post

from core.errors import RequestError
from curation.review.desk import ALL_KINDS, Assignment, ReviewDesk
from curation.review.words import Choice, Decision, Seen, ShownKind
from feedback.api_keys import Caller
from feedback.events import Message
from feedback.http_errors import exception_handlers
from feedback.key_ring import KeyRing

MAX_BODY_BYTES = 2_000_000  # the longest correction, each character escaped as six or more bytes

AnyRequest = Request[Any, Any, Any]
Body = TypeVar("Body")


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which items a reviewer asks for."""

    kinds: Annotated[tuple[ShownKind, ...], msgspec.Meta(min_length=1)] = ALL_KINDS


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reviewer says of the item that they hold by `token`."""

    token: str
    decision: Choice
    preferred: Seen | None = None
    rubric: dict[str, int] = {}
    reason: str = ""
    text: str | None = None


class Back(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which item a reviewer gives back."""

    token: str


class Shown(msgspec.Struct, frozen=True):
    """An assignment as it is sent: without the order of two answers, which the desk knows."""

    token: str
    item_id: str
    kind: ShownKind
    messages: tuple[Message, ...]
    rejected: str | None
    first: str | None
    second: str | None
    expires_at: datetime


def review_handlers(desk: ReviewDesk, callers: KeyRing) -> list[Router]:
    """Return the routes of review; they say themselves who may call them."""
    return [
        Router(
            path="/api/review",
            route_handlers=[*_acts(desk, callers), *_counts(desk, callers)],
            exception_handlers=exception_handlers,
            request_max_body_size=MAX_BODY_BYTES,
            opt={"exclude_from_csrf": True},
        )
    ]


def _acts(desk: ReviewDesk, callers: KeyRing) -> list[Any]:
    @post("/next", status_code=200)
    async def take_next(request: AnyRequest) -> Response[Any]:
        caller = _reviewer(callers, request)
        wanted = _read(await request.body() or b"{}", Wanted)
        got = await asyncio.to_thread(desk.take, caller.application, caller.key_id, wanted.kinds)
        return Response({"assignment": None if got is None else _shown(got)})

    @post("/decide", status_code=200)
    async def decide(request: AnyRequest) -> Response[Any]:
        caller = _reviewer(callers, request)
        given = _read(await request.body(), Given)
        decision = Decision(given.decision, given.preferred, given.rubric, given.reason, given.text)
        done = await asyncio.to_thread(desk.decide, caller.key_id, given.token, decision)
        return Response(asdict(done))

    @post("/release", status_code=200)
    async def release(request: AnyRequest) -> Response[Any]:
        caller = _reviewer(callers, request)
        back = _read(await request.body(), Back)
        gone = await asyncio.to_thread(desk.release, caller.key_id, back.token)
        return Response({"released": gone})

    return [take_next, decide, release]


def _counts(desk: ReviewDesk, callers: KeyRing) -> list[Any]:
    @get("/progress", sync_to_thread=True)
    def progress(request: AnyRequest) -> Response[Any]:
        caller = _reviewer(callers, request)
        return Response(asdict(desk.progress(caller.application, caller.key_id)))

    @get("/agreement", sync_to_thread=True)
    def agreement(request: AnyRequest) -> Response[Any]:
        return Response(asdict(desk.agreement(_reviewer(callers, request).application)))

    return [progress, agreement]


def _reviewer(callers: KeyRing, request: AnyRequest) -> Caller:
    """Return who calls. Raises: AuthenticationError, PermissionDeniedError."""
    caller = callers.authenticate(request.headers)
    caller.require("review")
    return caller


def _read(body: bytes, type_: type[Body]) -> Body:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not what this route takes: {error}") from error


def _shown(got: Assignment) -> Shown:
    return Shown(**{name: getattr(got, name) for name in Shown.__struct_fields__})
