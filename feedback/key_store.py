"""Keys are made, listed, rotated and revoked here; the command line and the console call it.

Rows of ApiKey in the caller's session; the caller commits. A key's secret is returned once, by
the call that made it, and only its hash is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from core.errors import NotFoundError, RequestError, StateError
from feedback.api_keys import NO_LIMITS, SCOPES, KeyLimits, NewKey, new_key
from feedback.tables import ApiKey


@dataclass(frozen=True, slots=True)
class KeyWish:
    """What a new key shall be."""

    application: str
    scopes: Sequence[str]
    name: str = ""
    limits: KeyLimits = NO_LIMITS
    expires_at: datetime | None = None


def create_key(session: Session, wish: KeyWish) -> tuple[ApiKey, str]:
    """Add a key; return its row and its secret, which nobody can read again.

    Raises: RequestError for an unknown scope, no scope, or a limit below 1.
    """
    _check(wish)
    key = new_key()
    row = _row(key, wish)
    session.add(row)
    return row, key.secret


def rotate_key(session: Session, key_id: str, grace: timedelta) -> tuple[ApiKey, str]:
    """Add a key that does the same as `key_id`, which stays valid for `grace` and no longer.

    Raises: NotFoundError; StateError if the old one is not valid any more.
    """
    old = _valid(session, key_id)
    key, now = new_key(), utc_now()
    limits = KeyLimits(old.requests_per_minute, old.tokens_per_minute, old.concurrent)
    fresh = _row(key, KeyWish(old.application, old.scopes, old.name, limits, old.expires_at))
    ends = now + grace
    old.expires_at = ends if old.expires_at is None else min(as_utc(old.expires_at), ends)
    old.replaced_by = fresh.id
    session.add_all([old, fresh])
    return fresh, key.secret


def revoke_key(session: Session, key_id: str) -> ApiKey:
    """End a key; twice does nothing more.

    Raises: NotFoundError.
    """
    row = _find(session, key_id)
    row.revoked_at = row.revoked_at or utc_now()
    session.add(row)
    return row


def list_keys(session: Session, application: str | None = None) -> list[ApiKey]:
    """Return all keys, or those of one application, the oldest first."""
    query = select(ApiKey).order_by(col(ApiKey.created_at), col(ApiKey.id))
    if application is not None:
        query = query.where(ApiKey.application == application)
    return list(session.exec(query))


def key_state(row: ApiKey, now: datetime) -> str:
    """Return `revoked`, `expired` or `valid`."""
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at and as_utc(row.expires_at) <= now else "valid"


def _row(key: NewKey, wish: KeyWish) -> ApiKey:
    return ApiKey(
        id=key.id,
        application=wish.application,
        name=wish.name,
        digest=key.digest,
        scopes=[scope for scope in SCOPES if scope in wish.scopes],
        requests_per_minute=wish.limits.requests_per_minute,
        tokens_per_minute=wish.limits.tokens_per_minute,
        concurrent=wish.limits.concurrent,
        expires_at=wish.expires_at,
    )


def _check(wish: KeyWish) -> None:
    known = ", ".join(SCOPES)
    if not wish.scopes:
        raise RequestError(
            f"a key without a scope can do nothing: choose of {known}", field="scope"
        )
    for scope in wish.scopes:
        if scope not in SCOPES:
            raise RequestError(f"no scope {scope!r}: choose of {known}", field="scope")
    limits = wish.limits
    for number in (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent):
        if number is not None and number < 1:
            raise RequestError(f"a limit of {number} lets nothing pass: set 1 or more, or none")


def _valid(session: Session, key_id: str) -> ApiKey:
    row = _find(session, key_id)
    state = key_state(row, utc_now())
    if state != "valid":
        raise StateError(f"key {key_id} is {state}: make a new one with `ratchet key create`")
    return row


def _find(session: Session, key_id: str) -> ApiKey:
    row = session.get(ApiKey, key_id)
    if row is None:
        raise NotFoundError(f"no key {key_id!r}: `ratchet key list` shows them")
    return row
