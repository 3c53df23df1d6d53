"""A value that is dear to compute, kept for a while, so that no page waits for it twice.

A function and an age go in. The first who asks for a name waits; later ones get the last value, and
one that is too old is computed anew beside them. Knows nothing of what it keeps.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Kept(Generic[T]):
    """Values by name."""

    def __init__(self, compute: Callable[[str], T], every_s: float) -> None:
        self._compute = compute
        self._every_s = every_s
        self._values: dict[str, tuple[T, float]] = {}
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def value(self, name: str) -> T:
        """Return the value, computed now or at most a while ago."""
        found = self._values.get(name)
        if found is None:
            return self._fresh(name)
        value, at_s = found
        if time.monotonic() - at_s > self._every_s:
            self._renew(name)
        return value

    def known(self, name: str) -> T | None:
        """Return the last value, and have it made anew where it is old or missing."""
        found = self._values.get(name)
        if found is None or time.monotonic() - found[1] > self._every_s:
            self._renew(name)
        return None if found is None else found[0]

    def _renew(self, name: str) -> None:
        with self._lock:
            if name in self._busy:
                return
            self._busy.add(name)
        threading.Thread(target=self._beside, args=(name,), daemon=True).start()

    def _beside(self, name: str) -> None:
        try:
            self._fresh(name)
        except Exception as error:  # a thread's edge: the last value stays
            _log.warning("console_value_not_renewed", name=name, error=str(error))
        finally:
            self._busy.discard(name)

    def _fresh(self, name: str) -> T:
        value = self._compute(name)
        self._values[name] = (value, time.monotonic())
        return value
