"""The users as a running console knows them, so that no request waits for the database.

Rows of ConsoleUser come in at every refresh, as API keys come into `feedback.key_ring`. When the
store fails, the last good ones stay and the log says so. Knows nothing of cookies.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import SQLAlchemyError

from feedback.console_tables import ConsoleUser
from feedback.store import Store
from loop.console.users import list_users

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KnownUser:
    """Somebody who may sign in; `stamp` changes with what they sign in by."""

    name: str
    role: str
    stamp: str
    has_password: bool


class UserRing:
    """The users by name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._users: Mapping[str, KnownUser] = {}
        self._reading = threading.Lock()  # what was read before must not replace what came later

    def find(self, name: str) -> KnownUser | None:
        """Return who has this name."""
        return self._users.get(name)

    @property
    def has_passwords(self) -> bool:
        """Whether anybody signs in with a password."""
        return any(user.has_password for user in self._users.values())

    def refresh(self) -> None:
        """Read the users once; a store that fails leaves them as they are."""
        try:
            with self._reading, self._store.session() as session:
                allowed = (user for user in list_users(session) if user.disabled_at is None)
                self._users = {user.name: known(user) for user in allowed}
        except SQLAlchemyError as error:
            _log.error("users_not_refreshed", error=str(error.__cause__ or error))

    async def refresh_forever(self, every_s: float) -> None:
        """Read them again and again."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.refresh)


def known(user: ConsoleUser) -> KnownUser:
    """Return a row as a console remembers it."""
    secret = f"{user.password}\n{user.oidc_subject}"
    stamp = hashlib.sha256(secret.encode()).hexdigest()[:32]
    return KnownUser(user.name, user.role, stamp, user.password is not None)
