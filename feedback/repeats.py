"""The same feedback twice: a client that is not sure repeats it, and it counts once.

Facts come in under the client's own id; the first one is written, the same again is answered as
the first was, another one under the same id is a conflict. A gateway remembers the newest; what it
forgot, or another gateway took, ingest settles: the first one in the log wins. No database is
asked while a client waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import col, select

from core.errors import ConflictError
from feedback.events import FeedbackGiven
from feedback.store import Store
from feedback.tables import Feedback

DIGEST_BYTES = 12
FACTS = ("kind", "retracted", "thumbs", "rating", "name", "number", "text", "other")

_log = structlog.get_logger(__name__)


class Key(NamedTuple):
    """What makes a feedback one: the client's id is the client's only within an interaction."""

    interaction_id: str
    client_id: str


@dataclass(slots=True)
class _Known:
    digest: bytes
    done: asyncio.Future[None] | None  # None: it is in the log


class Repeats:
    """What this gateway knows of client ids; for one event loop."""

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    async def once(self, event: FeedbackGiven, write: Callable[[], Awaitable[None]]) -> bool:
        """Return whether this was the first time, once its first time is written.

        Raises: ConflictError when another fact came under its id; what `write` raises.
        """
        key, digest = Key(event.interaction_id, event.client_id), fact_digest(event)
        while known := self._known.get(key):
            if known.digest != digest:
                raise ConflictError(
                    f"id {event.client_id!r} was sent with another feedback before: "
                    "send a change under a new id",
                    field="id",
                )
            if known.done is None:
                return False
            await asyncio.shield(known.done)  # then it is written, or the first try is forgotten
        await self._write(key, digest, write)
        return True

    def remember(self, key: Key, digest: bytes) -> None:
        """Note a feedback that is in the log."""
        self._known.setdefault(key, _Known(digest, None))
        self._forget_oldest()

    def load(self, store: Store) -> int:
        """Remember the store's newest feedback, and return how many; 0 if it does not answer."""
        query = select(Feedback).order_by(col(Feedback.given_at).desc()).limit(self._remembered)
        try:
            with store.session() as session:
                newest = session.exec(query).all()
        except SQLAlchemyError as error:
            _log.warning("feedback_ids_not_read", error=str(error).partition("\n")[0])
            return 0
        for row in reversed(newest):
            self.remember(Key(row.interaction_id, row.client_id), fact_digest(row))
        return len(newest)

    async def _write(self, key: Key, digest: bytes, write: Callable[[], Awaitable[None]]) -> None:
        known = _Known(digest, asyncio.get_running_loop().create_future())
        self._known[key] = known
        try:
            await write()
        except BaseException:
            del self._known[key]
            raise
        finally:
            done, known.done = known.done, None
            if done is not None:
                done.set_result(None)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)


def fact_digest(feedback: FeedbackGiven | Feedback) -> bytes:
    """Return what tells facts apart: kind and values, not who said it when."""
    values: list[Any] = [getattr(feedback, name) for name in FACTS]
    return blake2b(repr(values).encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()
