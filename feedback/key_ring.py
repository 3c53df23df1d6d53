"""Who calls: all keys that are valid now, so that no request waits for the database.

The settings' keys and, every `route_refresh_s`, the rows of ApiKey come in; a `Caller` for the
key of a request goes out. When the store fails, the last good keys stay and the log says so: a
revocation then waits until it is back. Never says in an error or a log what key was sent.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from core.settings import ApplicationSettings, Settings
from feedback.api_keys import (
    SCOPES,
    SETTINGS_SCOPES,
    Caller,
    KeyLimits,
    key_digest,
    sent_key,
    unknown_key,
)
from feedback.store import Store
from feedback.store_view import StoreView
from feedback.tables import ApiKey

_log = structlog.get_logger(__name__)


class KeyRing(StoreView[Mapping[str, Caller]]):
    """The valid keys; until the first `refresh`, or without a store, those of the settings only."""

    def __init__(self, settings: Settings, store: Store | None = None) -> None:
        own = dict(_settings_keys(settings))

        def read(session: Session) -> Mapping[str, Caller]:
            return _stored_keys(session, settings) | own

        super().__init__(store, read, own, _tell)

    def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """Return who sent a request with these headers.

        Keys are found by their SHA-256: how long that takes tells nothing of any key.

        Raises: AuthenticationError without a key, or with one that is not valid now.
        """
        caller = self.find(key_digest(sent_key(headers)))
        if caller is None:
            raise unknown_key()
        return caller

    def find(self, digest: str) -> Caller | None:
        """Return whose key has this digest, if it is valid now."""
        caller = self.current.get(digest)
        if caller is None or (caller.expires_at is not None and caller.expires_at <= utc_now()):
            return None
        return caller


def _tell(error: SQLAlchemyError) -> None:
    _log.error("key_refresh_failed", error=str(error))


def _settings_keys(settings: Settings) -> list[tuple[str, Caller]]:
    return [
        (
            key_digest(application.api_key.get_secret_value()),
            Caller(name, f"settings:{name}", SETTINGS_SCOPES, _default_limits(application)),
        )
        for name, application in settings.applications.items()
    ]


def _stored_keys(session: Session, settings: Settings) -> dict[str, Caller]:
    """Return the keys that are not revoked, of applications that the settings know."""
    rows = session.exec(select(ApiKey).where(col(ApiKey.revoked_at).is_(None))).all()
    return {
        row.digest: _caller(row, settings.applications[row.application])
        for row in rows
        if row.application in settings.applications
    }


def _caller(row: ApiKey, application: ApplicationSettings) -> Caller:
    default = _default_limits(application)
    return Caller(
        application=row.application,
        key_id=row.id,
        scopes=frozenset(scope for scope in SCOPES if scope in row.scopes),
        limits=KeyLimits(
            row.requests_per_minute or default.requests_per_minute,
            row.tokens_per_minute or default.tokens_per_minute,
            row.concurrent or default.concurrent,
        ),
        expires_at=None if row.expires_at is None else as_utc(row.expires_at),
    )


def _default_limits(application: ApplicationSettings) -> KeyLimits:
    return KeyLimits(
        application.requests_per_minute, application.tokens_per_minute, application.concurrent
    )
