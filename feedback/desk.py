"""LOG: where feedback is taken in: who says it, whether they may, and into the event log.

A receipt, or an API key with an interaction id, comes with one fact; a FeedbackGiven goes
into the event log, and only then is it accepted. No database is read: the interaction itself may
still be on its way. Text is redacted as its application wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Request

from core.clock import utc_now
from core.errors import AuthenticationError, RequestError
from core.ids import new_id, subject_hash
from core.keys import Keys
from core.settings import Settings
from feedback.events import FEEDBACK_TOPIC, FeedbackGiven, FeedbackKind, encode
from feedback.key_ring import KeyRing
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import NewRecord
from feedback.origins import require_origin
from feedback.raters import RaterLimits
from feedback.receipts import looks_like_receipt, verify
from feedback.redaction.writing import Redactors
from feedback.repeats import Repeats
from feedback.submission import Submission, uuid_text
from feedback.vote_order import VoteOrder

AnyRequest = Request[Any, Any, Any]


class Accepted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to a feedback that is now durable; `id` is the client's, or a new one."""

    id: str
    interaction_id: str
    kind: FeedbackKind
    accepted: bool
    retracted: bool = False


@dataclass(frozen=True, slots=True)
class _Rater:
    """Who rates what, as a receipt or an API key proves it."""

    interaction_id: str
    application: str
    subject: str | None
    with_key: bool  # an application's server, which may name any of its interactions


@dataclass
class Desk:
    """What takes feedback in: everything that judging one and writing it down needs.

    `keys` verify receipts and hash end users, `callers` knows the API keys; `notice` is told of
    each feedback that is in the log.
    """

    settings: Settings
    commits: GroupCommit
    keys: Keys
    callers: KeyRing
    notice: Callable[[FeedbackGiven], None] | None = None
    repeats: Repeats = field(init=False)
    order: VoteOrder = field(init=False)
    limits: RaterLimits = field(init=False)
    redactors: Redactors = field(init=False)

    def __post_init__(self) -> None:
        self.repeats = Repeats(self.settings.feedback.remembered)
        self.order = VoteOrder(self.settings.feedback.remembered)
        self.limits = RaterLimits(self.settings.feedback)
        self.redactors = Redactors(self.settings.applications, self.keys.subject)

    async def take(self, request: AnyRequest, submission: Submission) -> Accepted:
        """Return once the feedback is durable; the same one again is answered alike.

        Raises: what is wrong with it, or with who sent it.
        """
        peer = request.client.host if request.client else None
        await self.limits.require_address(peer, request.headers)
        rater = self._rater(submission, request.headers)
        require_origin(request.headers, rater.application, self.settings)
        await self.limits.require_subject(rater.application, rater.subject)
        event = self._event(submission, rater)
        first = await self.repeats.once(event, lambda: self._log(event))
        if first and self.notice is not None:
            self.notice(event)
        return Accepted(
            submission.client_id, rater.interaction_id, submission.kind, True, submission.retracted
        )

    def _rater(self, submission: Submission, headers: Mapping[str, str]) -> _Rater:
        """Return who rates.

        Raises: AuthenticationError for a bad receipt or API key; PermissionDeniedError for a key
        without the scope.
        """
        about = submission.about
        if isinstance(about, str):
            receipt = verify(about, self.keys.receipt, utc_now())
            self._require_known(receipt.application)
            return _Rater(receipt.interaction_id, receipt.application, receipt.subject, False)
        caller = self.callers.authenticate(headers)
        caller.require("feedback")
        user, application = about.user, caller.application
        subject = None if user is None else subject_hash(self.keys.subject, application, user)
        return _Rater(about.interaction_id, application, subject, True)

    def _require_known(self, application: str) -> None:
        """Return if the settings still know the application. Raises: AuthenticationError."""
        if application not in self.settings.applications:
            raise AuthenticationError(
                f"the receipt's application {application!r} is no longer served here",
                field="receipt",
            )

    def _event(self, submission: Submission, rater: _Rater) -> FeedbackGiven:
        fact = submission.fact
        writing = self.redactors.writing(rater.application, rater.interaction_id)
        return FeedbackGiven(
            event_id=new_id(),
            client_id=submission.client_id,
            interaction_id=rater.interaction_id,
            application=rater.application,
            subject=rater.subject,
            kind=submission.kind,
            retracted=submission.retracted,
            thumbs=fact.thumbs,
            rating=fact.rating,
            name=submission.name,
            number=fact.number,
            text=None if fact.text is None else writing.text(fact.text),
            other=None if fact.other is None else self._other(fact.other, rater),
            redactions=writing.redactions(),
            given_at=self.order.given_at(rater.interaction_id, utc_now()),
        )

    def _other(self, named: str, rater: _Rater) -> str:
        """Return the id of the other answer, which must be the same person's.

        Raises: RequestError.
        """
        if not looks_like_receipt(named):
            if rater.with_key:
                return uuid_text("value", named)
            raise RequestError(
                "value names the other answer by its id: with a receipt, send its receipt",
                field="value",
            )
        try:
            receipt = verify(named, self.keys.receipt, utc_now())
        except AuthenticationError as error:
            raise RequestError(f"value: {error.message}", field="value") from error
        mine = (receipt.application, receipt.subject) == (rater.application, rater.subject)
        if not mine and not (rater.with_key and receipt.application == rater.application):
            raise RequestError("value is the receipt of somebody else's answer", field="value")
        if receipt.interaction_id == rater.interaction_id:
            raise RequestError("value is the receipt of this same answer", field="value")
        return receipt.interaction_id

    async def _log(self, event: FeedbackGiven) -> None:
        """Put the event in the log; in mode `async` without waiting for the disk."""
        record = NewRecord(FEEDBACK_TOPIC, event.interaction_id, encode(event))
        if self.settings.log.mode == "async":
            self.commits.append_later(record)
        else:
            await self.commits.append(record)
