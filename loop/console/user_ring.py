"""The users as a running console knows them, so that no request waits for the database.

Rows of ConsoleUser come in at every refresh, as API keys come into `feedback.key_ring`. When the
store fails, the last good ones stay and the log says so. Knows nothing of cookies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from feedback.console_tables import ConsoleUser
from feedback.store import Store
from feedback.store_view import StoreView
from loop.console.users import list_users

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KnownUser:
    """Somebody who may sign in; `stamp` changes with what they sign in by."""

    name: str
    role: str
    stamp: str
    has_password: bool


class UserRing(StoreView[Mapping[str, KnownUser]]):
    """The users by name."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, _allowed, {}, _tell)

    def find(self, name: str) -> KnownUser | None:
        """Return who has this name."""
        return self.current.get(name)

    @property
    def has_passwords(self) -> bool:
        """Whether anybody signs in with a password."""
        return any(user.has_password for user in self.current.values())


def _allowed(session: Session) -> Mapping[str, KnownUser]:
    allowed = (user for user in list_users(session) if user.disabled_at is None)
    return {user.name: known(user) for user in allowed}


def _tell(error: SQLAlchemyError) -> None:
    _log.error("users_not_refreshed", error=str(error.__cause__ or error))


def known(user: ConsoleUser) -> KnownUser:
    """Return a row as a console remembers it."""
    secret = f"{user.password}\n{user.oidc_subject}"
    stamp = hashlib.sha256(secret.encode()).hexdigest()[:32]
    return KnownUser(user.name, user.role, stamp, user.password is not None)
