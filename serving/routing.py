"""SERVE, pure: which adapter answers a request, and whether that counts as an exposure.

In come a route (what the application serves, its rollout, what the engine has ready) and a
unit (subject hash, else interaction id); out comes an assignment. Arms are sticky, and monotone
as the share grows: a unit that once saw the canary keeps seeing it. Knows nothing of HTTP, the
store or the clock.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

ACTIVE_STATES = frozenset({"shadow", "canary", "watch", "paused"})  # the others have ended
SPLIT_STATES = frozenset({"canary", "watch"})  # in other states everyone gets the baseline
_POSITIONS = 1 << 64


@dataclass(frozen=True, slots=True)
class RolloutRoute:
    """The part of a rollout that decides traffic; `share` is the canary's, 0-1."""

    id: str
    baseline_adapter: str | None
    canary_adapter: str
    state: str
    step: int
    share: float
    salt: str


@dataclass(frozen=True, slots=True)
class Route:
    """What an application serves; `ready` are the adapters that the engine has loaded."""

    application: str
    live_adapter: str | None
    rollout: RolloutRoute | None
    ready: frozenset[str]


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who answers. `adapter` None is the base model; `rollout_id` is set only on an exposure."""

    adapter: str | None
    arm: Literal["baseline", "canary"] = "baseline"
    rollout_id: str | None = None
    step: int | None = None
    fell_back: bool = False  # the adapter that should answer is not ready


def position(application: str, salt: str, unit: str) -> float:
    """Return where `unit` stands in [0, 1): uniform over units, independent between salts."""
    digest = hashlib.sha256(f"{salt}\x00{application}\x00{unit}".encode()).digest()
    # 53 bits, as many as a float holds: with 64 the largest would round up to 1.0
    return (int.from_bytes(digest[:8], "big") >> 11) / (_POSITIONS >> 11)


def assign(route: Route, unit: str) -> Assignment:
    """Return which adapter answers `unit`. An exposure is an arm's adapter really used."""
    rollout = route.rollout
    if rollout is None:
        return _unexposed(route, route.live_adapter)
    if rollout.state not in SPLIT_STATES:
        return _unexposed(route, rollout.baseline_adapter)
    if position(route.application, rollout.salt, unit) < rollout.share:
        if rollout.canary_adapter in route.ready:
            return Assignment(rollout.canary_adapter, "canary", rollout.id, rollout.step)
        return replace(_unexposed(route, rollout.baseline_adapter), fell_back=True)
    served = _unexposed(route, rollout.baseline_adapter)
    if served.fell_back:
        return served
    return replace(served, rollout_id=rollout.id, step=rollout.step)


def without(route: Route, missing: frozenset[str]) -> Route:
    """Return the route as it is when the engine turns out not to have the `missing` adapters."""
    return replace(route, ready=route.ready - missing)


def _unexposed(route: Route, adapter: str | None) -> Assignment:
    if adapter is None or adapter in route.ready:
        return Assignment(adapter)
    return Assignment(None, fell_back=True)
