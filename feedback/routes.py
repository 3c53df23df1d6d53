"""`POST /v1/feedback` and `/v1/feedback/batch`: what people say of answers.

HTTP in, what `feedback.desk` says of it out. A batch is judged item by item: what is wrong with one
of them changes nothing for the others.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, Router, post

from core.errors import RatchetError
from feedback.desk import Accepted, Desk
from feedback.http_errors import error_body, exception_handlers
from feedback.submission import parse_batch, parse_submission, read_submission

AnyRequest = Request[Any, Any, Any]


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item of a batch: `accepted`, or an error as it would have been alone."""

    status: int
    accepted: Accepted | None = None
    error: dict[str, Any] | None = None


class Results(msgspec.Struct, frozen=True):
    """What became of a batch, item by item in its order."""

    results: list[Result]


def feedback_router(desk: Desk) -> Router:
    """Return the routes by which feedback comes in."""
    max_bytes = desk.settings.gateway.max_body_bytes

    @post("/feedback", request_max_body_size=max_bytes)
    async def give_feedback(request: AnyRequest) -> Response[Accepted]:
        submission = parse_submission(await request.body())
        return Response(await desk.take(request, submission), status_code=201)

    @post("/feedback/batch", status_code=200, request_max_body_size=max_bytes)
    async def give_batch(request: AnyRequest) -> Results:
        items = parse_batch(await request.body(), desk.settings.feedback.max_batch)
        # at once: they share a commit
        return Results(list(await asyncio.gather(*[_result(desk, request, i) for i in items])))

    return Router(
        path="/v1",
        route_handlers=[give_feedback, give_batch],
        exception_handlers=exception_handlers,
    )


async def _result(desk: Desk, request: AnyRequest, item: Any) -> Result:
    try:
        return Result(201, accepted=await desk.take(request, read_submission(item)))
    except RatchetError as error:
        return Result(error.http_status, error=error_body(error))
