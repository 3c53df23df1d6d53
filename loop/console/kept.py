"""A value that is dear to compute, kept for a while, so that no page waits for it twice.

A function and an age go in. Who asks first for a name may wait a moment; later ones get the last
value, and one that is too old is computed anew beside them. Knows nothing of what it keeps.
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
        self._busy: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()

    def known(self, name: str, wait_s: float = 0.0) -> T | None:
        """Return the last value, and have it made anew where it is old or missing.

        Where there is none yet, wait so long for it.
        """
        found = self._values.get(name)
        if found is None or time.monotonic() - found[1] > self._every_s:
            thread = self._renew(name)
            if found is None and wait_s > 0:
                thread.join(wait_s)
                found = self._values.get(name)
        return None if found is None else found[0]

    def _renew(self, name: str) -> threading.Thread:
        with self._lock:
            if name not in self._busy:
                thread = threading.Thread(target=self._beside, args=(name,), daemon=True)
                self._busy[name] = thread
                thread.start()
            return self._busy[name]

    def _beside(self, name: str) -> None:
        try:
            self._fresh(name)
        except Exception as error:  # a thread's edge: the last value stays
            _log.warning("console_value_not_renewed", name=name, error=str(error))
        finally:
            with self._lock:
                del self._busy[name]

    def _fresh(self, name: str) -> T:
        value = self._compute(name)
        self._values[name] = (value, time.monotonic())
        return value
