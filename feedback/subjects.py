"""`/v1/subjects`: an application asks to erase one of its end users, and how far that is.

An API key with scope `admin` comes in with the application's own name for the person. The wish goes
into the event log, and only then is it answered; whoever applies the log carries it out. Never
logs the name.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Request, Router, delete, get
from sqlalchemy.exc import SQLAlchemyError

from core.clock import utc_now
from core.errors import NotFoundError, RequestError, StoreUnavailableError
from core.ids import SUBJECT_HEX_CHARS, new_id, subject_hash
from core.keys import Keys
from feedback.api_keys import Caller
from feedback.erasure import Person
from feedback.events import ERASURES_TOPIC, ErasureRequested, encode
from feedback.http_errors import exception_handlers
from feedback.key_ring import KeyRing
from feedback.log.group_commit import GroupCommit
from feedback.log.protocol import NewRecord
from feedback.store import Store
from feedback.subject_export import erasure_state
from feedback.submission import MAX_USER_CHARS
from feedback.tables import Erasure

AnyRequest = Request[Any, Any, Any]


class ErasureAccepted(msgspec.Struct, frozen=True):
    """The answer to a wish that is now durable; `status_url` says how far it is."""

    id: str
    application: str
    subject: str  # the hash by which the person is known
    state: str
    status_url: str


def subject_router(*, store: Store, commits: GroupCommit, keys: Keys, callers: KeyRing) -> Router:
    """Return the routes by which end users are erased."""

    @delete("/subjects/{subject:str}", status_code=202)
    async def erase_subject(
        request: AnyRequest, subject: str, hashed: bool = False
    ) -> ErasureAccepted:
        caller = _admin(callers, request)
        person = person_of(caller.application, subject, keys.subject, hashed=hashed)
        event = ErasureRequested(
            event_id=new_id(),
            erasure_id=new_id(),
            application=person.application,
            subject=person.subject,
            requested_by=caller.key_id,
            requested_at=utc_now(),
        )
        await commits.append(NewRecord(ERASURES_TOPIC, event.erasure_id, encode(event)))
        url = f"/v1/erasures/{event.erasure_id}"
        return ErasureAccepted(
            event.erasure_id, person.application, person.subject, "requested", url
        )

    @get("/erasures/{erasure_id:str}")
    async def erasure(request: AnyRequest, erasure_id: str) -> dict[str, Any]:
        caller = _admin(callers, request)
        return await asyncio.to_thread(_state, store, caller, erasure_id)

    return Router(
        path="/v1",
        route_handlers=[erase_subject, erasure],
        exception_handlers=exception_handlers,
    )


def person_of(application: str, subject: str, key: bytes, *, hashed: bool) -> Person:
    """Return the person whom an application calls `subject`, or whose hash that is.

    Raises: RequestError for a hash that is none, or a name that is too long.
    """
    if hashed:
        if len(subject) != SUBJECT_HEX_CHARS or set(subject) - set("0123456789abcdef"):
            raise RequestError(
                f"subject is no hash of {SUBJECT_HEX_CHARS} hexadecimal digits: "
                "leave `hashed` out to send the application's own name",
                field="subject",
            )
        return Person(application, subject)
    if not subject.strip() or len(subject) > MAX_USER_CHARS or "\x00" in subject:
        raise RequestError(
            f"subject must be the `user` of its requests, at most {MAX_USER_CHARS} characters",
            field="subject",
        )
    return Person(application, subject_hash(key, application, subject))


def _admin(callers: KeyRing, request: AnyRequest) -> Caller:
    caller = callers.authenticate(request.headers)
    caller.require("admin")
    return caller


def _state(store: Store, caller: Caller, erasure_id: str) -> dict[str, Any]:
    try:
        with store.session() as session:
            row = session.get(Erasure, erasure_id)
    except SQLAlchemyError as error:
        raise StoreUnavailableError("the store does not answer: ask again in a moment") from error
    if row is None or row.application != caller.application:
        raise NotFoundError(
            f"no erasure {erasure_id!r} yet: one that was just asked for appears once it is "
            "read from the log",
            field="erasure_id",
        )
    return erasure_state(row)
