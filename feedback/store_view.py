"""What a store says, as it was read last: read again and again, so that no request waits for it.

A store and what to read of it go in, the newest good value comes out. When the store fails, the
last good one stays and whoever owns the view says so. Knows nothing of keys, users or routes.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from feedback.store import Store

T = TypeVar("T")


class StoreView(Generic[T]):
    """The newest good value of `read`; `first` until there is one, and always without a store."""

    def __init__(
        self,
        store: Store | None,
        read: Callable[[Session], T],
        first: T,
        failed: Callable[[SQLAlchemyError], None],
    ) -> None:
        self._store, self._read, self._failed = store, read, failed
        self._reading = threading.Lock()  # what was read before must not replace what came later
        self.current = first
        self.read_at_s = -math.inf  # monotonic: when `current` was

    def refresh(self) -> None:
        """Read once; a store that fails leaves the value as it is."""
        if self._store is None:
            return
        try:
            with self._reading, self._store.session() as session:
                self.current = self._read(session)
                self.read_at_s = time.monotonic()
        except SQLAlchemyError as error:
            self._failed(error)

    async def refresh_forever(self, every_s: float) -> None:
        """Refresh in a thread, again and again, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.to_thread(self.refresh)
