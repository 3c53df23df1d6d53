"""`POST /v1/feedback`: somebody rates, comments on or corrects an answer.

A receipt, or an API key with an interaction id, goes in with one fact; a FeedbackGiven goes
into the event log, and only then does the client get its 201. No database is read: the
interaction itself may still be on its way. Text is redacted as its application wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request, Response, Router, post

from core.clock import utc_now
from core.errors import AuthenticationError
from core.ids import new_id, subject_hash
from core.keys import Keys
from core.settings import Settings
from feedback.events import FEEDBACK_TOPIC, FeedbackGiven, FeedbackKind, encode
from feedback.http_errors import exception_handlers
from feedback.key_ring import KeyRing
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import NewRecord
from feedback.origins import require_origin
from feedback.receipts import verify
from feedback.redaction.writing import Redactors
from feedback.submission import Submission, parse_submission


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a feedback that is now durable; `id` is the client's, or a new one."""

    id: str
    interaction_id: str
    kind: FeedbackKind
    accepted: bool = True


@dataclass(frozen=True, slots=True)
class _Rater:
    """Who rates what, as a receipt or an API key proves it."""

    interaction_id: str
    application: str
    subject: str | None


def feedback_router(
    *,
    settings: Settings,
    commits: GroupCommit,
    keys: Keys,
    callers: KeyRing,
    notice: Callable[[FeedbackGiven], None] | None = None,
) -> Router:
    """Return the routes by which feedback comes in.

    `keys` verify receipts and hash end users, `callers` knows the API keys; `notice` is told of
    each feedback that is in the log.
    """

    redactors = Redactors(settings.applications, keys.subject)

    @post("/feedback", request_max_body_size=settings.gateway.max_body_bytes)
    async def give_feedback(request: Request[Any, Any, Any]) -> Response[Accepted]:
        submission = parse_submission(await request.body())
        rater = _rater(submission, request.headers, callers, keys)
        _require_known(rater, settings)
        require_origin(request.headers, rater.application, settings)
        event = _event(submission, rater, redactors)
        await _log_event(event, settings, commits)
        if notice is not None:
            notice(event)
        accepted = Accepted(submission.client_id, rater.interaction_id, submission.kind)
        return Response(accepted, status_code=201)

    return Router(path="/v1", route_handlers=[give_feedback], exception_handlers=exception_handlers)


def _rater(
    submission: Submission, headers: Mapping[str, str], callers: KeyRing, keys: Keys
) -> _Rater:
    """Return who rates.

    Raises: AuthenticationError for a bad receipt or API key; PermissionDeniedError for a key
    without the scope.
    """
    about = submission.about
    if isinstance(about, str):
        receipt = verify(about, keys.receipt, utc_now())
        return _Rater(receipt.interaction_id, receipt.application, receipt.subject)
    caller = callers.authenticate(headers)
    caller.require("feedback")
    user = about.user
    subject = None if user is None else subject_hash(keys.subject, caller.application, user)
    return _Rater(about.interaction_id, caller.application, subject)


def _require_known(rater: _Rater, settings: Settings) -> None:
    """Return if the settings still know the application. Raises: AuthenticationError."""
    if rater.application not in settings.applications:
        raise AuthenticationError(
            f"the receipt's application {rater.application!r} is no longer served here",
            field="receipt",
        )


def _event(submission: Submission, rater: _Rater, redactors: Redactors) -> FeedbackGiven:
    value = submission.value
    writing = redactors.writing(rater.application, rater.interaction_id)
    text = writing.text(value) if isinstance(value, str) else None
    return FeedbackGiven(
        event_id=new_id(),
        client_id=submission.client_id,
        interaction_id=rater.interaction_id,
        application=rater.application,
        subject=rater.subject,
        kind=submission.kind,
        thumbs=value if isinstance(value, bool) else None,
        rating=value if type(value) is int else None,
        text=text,
        redactions=writing.redactions(),
        given_at=utc_now(),
    )


async def _log_event(event: FeedbackGiven, settings: Settings, commits: GroupCommit) -> None:
    """Put the event in the log; in mode `async` without waiting for the disk."""
    record = NewRecord(FEEDBACK_TOPIC, event.interaction_id, encode(event))
    if settings.log.mode == "async":
        commits.append_later(record)
    else:
        await commits.append(record)
