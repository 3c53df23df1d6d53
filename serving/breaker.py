"""SERVE, pure: a circuit breaker per adapter, which keeps a failing one from every user.

How each answer of an adapter went comes in, over all engines; whether it may answer the next
request comes out. Opens after so many errors in a row; after a pause it is half open and lets one
request try, whose success closes it. The time is an argument. Knows nothing of engines or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class _Count:
    errors: int = 0
    tried_at_s: float = 0.0  # when it opened, or was last tried since


@dataclass(frozen=True, slots=True)
class Breakers:
    """The adapters that failed last; the others are closed and not kept."""

    limit: int  # errors in a row that open one
    pause_s: float
    _counts: dict[str, _Count] = field(default_factory=dict[str, _Count], init=False)

    def permits(self, adapter: str, now_s: float) -> bool:
        """Return whether `adapter` may answer now. The one try after a pause is taken by asking."""
        count = self._counts.get(adapter)
        if count is None or count.errors < self.limit:
            return True
        if now_s - count.tried_at_s < self.pause_s:
            return False
        count.tried_at_s = now_s
        return True

    def note(self, adapter: str, *, ok: bool, now_s: float) -> bool:
        """Take in one outcome; return whether it opened the adapter's breaker."""
        if ok:
            self._counts.pop(adapter, None)
            return False
        count = self._counts.setdefault(adapter, _Count())
        count.errors += 1
        count.tried_at_s = now_s
        return count.errors == self.limit
