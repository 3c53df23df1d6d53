"""Token buckets: how much somebody may still use, and how long until it may use more.

Pure arithmetic on `Bucket` with the time as an argument, and the budget of a single gateway, which
keeps its buckets in memory. A budget that several gateways share is `serving.shared_limits`.
Knows nothing of HTTP, keys or people.

Source: the token bucket of RFC 2697 and of network switches; OpenAI's limits work alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

SECONDS_OF_MINUTE = 60.0
MAX_BUCKETS = 100_000  # then full ones are forgotten: a full bucket is what a new one is


@dataclass(frozen=True, slots=True)
class Quota:
    """A bucket's size and speed: a minute's worth at once at most, refilled evenly."""

    per_minute: int

    @property
    def per_second(self) -> float:
        """How fast the bucket refills."""
        return self.per_minute / SECONDS_OF_MINUTE


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was left at a time; below 0 when more was used than was asked for."""

    level: float
    at_s: float


class Budget(Protocol):
    """Buckets by name. Amounts above a whole minute's quota need, and take, a full bucket."""

    async def take(self, name: str, quota: Quota, amount: float) -> float:
        """Take `amount` and return 0, or take nothing and return the seconds until it is there."""
        ...

    async def give_back(self, name: str, quota: Quota, amount: float) -> None:
        """Put back what was taken and not used; a negative amount was used beyond it."""
        ...

    async def close(self) -> None:
        """Return what is held for this gateway alone."""
        ...


def refilled(bucket: Bucket, quota: Quota, now_s: float) -> Bucket:
    """Return the bucket as it is at `now_s`; a clock that jumped back refills nothing."""
    gained = max(0.0, now_s - bucket.at_s) * quota.per_second
    return Bucket(min(float(quota.per_minute), bucket.level + gained), now_s)


def taken(bucket: Bucket, quota: Quota, amount: float, now_s: float) -> tuple[Bucket, float]:
    """Return the bucket after taking `amount`, and 0; or as it is, and the seconds to wait."""
    full = refilled(bucket, quota, now_s)
    wanted = min(amount, float(quota.per_minute))
    wait_s = wait_until(full.level, quota, wanted)
    return (full, wait_s) if wait_s > 0 else (Bucket(full.level - wanted, now_s), 0.0)


def wait_until(level: float, quota: Quota, wanted: float) -> float:
    """Return the seconds until a bucket at `level` holds `wanted`."""
    return max(0.0, wanted - level) / quota.per_second


class MemoryBudget:
    """The budget of one gateway."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[Bucket, Quota]] = {}

    async def take(self, name: str, quota: Quota, amount: float) -> float:
        """Take `amount` and return 0, or take nothing and return the seconds until it is there."""
        bucket, wait_s = taken(self._bucket(name, quota), quota, amount, self._clock())
        self._buckets[name] = bucket, quota
        if len(self._buckets) > MAX_BUCKETS:
            self._forget_full()
        return wait_s

    async def give_back(self, name: str, quota: Quota, amount: float) -> None:
        """Put back what was taken and not used; a negative amount was used beyond it."""
        now_s = self._clock()
        bucket = refilled(self._bucket(name, quota), quota, now_s)
        level = min(float(quota.per_minute), bucket.level + amount)
        self._buckets[name] = Bucket(level, now_s), quota

    async def close(self) -> None:
        """Nothing is held for anyone."""

    def _bucket(self, name: str, quota: Quota) -> Bucket:
        known = self._buckets.get(name)
        return known[0] if known else Bucket(float(quota.per_minute), self._clock())

    def _forget_full(self) -> None:
        now_s = self._clock()
        self._buckets = {
            name: (bucket, quota)
            for name, (bucket, quota) in self._buckets.items()
            if refilled(bucket, quota, now_s).level < quota.per_minute
        }
