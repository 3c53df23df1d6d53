"""An outage of something that a process depends on: told once, waited out with back-off."""

from __future__ import annotations

import time

import structlog

_log = structlog.get_logger(__name__)


class Outage:
    """Tells of an outage once, when it begins and when it ends, and how long to wait meanwhile."""

    def __init__(self, what: str, *, first_s: float = 0.5, longest_s: float = 30.0) -> None:
        self._what = what
        self._first_s = first_s
        self._longest_s = longest_s
        self._since: float | None = None
        self._pause_s = first_s

    def begin(self, error: Exception) -> float:
        """Note a failure; return how long to wait before the next try, in seconds."""
        if self._since is None:
            self._since, self._pause_s = time.monotonic(), self._first_s
            _log.error(f"{self._what}_unavailable", error=str(error).partition("\n")[0])
            return self._pause_s
        self._pause_s = min(2 * self._pause_s, self._longest_s)
        return self._pause_s

    def end(self) -> None:
        """Note that it works."""
        if self._since is not None:
            lasted_s = round(time.monotonic() - self._since, 1)
            _log.info(f"{self._what}_available", outage_s=lasted_s)
            self._since = None
