"""SERVE, pure: which adapter answers a request, and whether that counts as an exposure.

In come a route (what the application serves, its rollout, what the engines have ready) and a
unit (subject hash, else interaction id); out comes an assignment. Arms are sticky, and monotone
as the share grows: a unit that once saw the canary keeps seeing it. Knows nothing of HTTP, the
store or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from core.errors import PermissionDeniedError, RequestError
from core.sticky import position as position

ACTIVE_STATES = frozenset({"shadow", "canary", "watch", "paused"})  # the others have ended
SPLIT_STATES = frozenset({"canary", "watch"})  # in other states everyone gets the baseline
FORCING_SCOPE = "ops"
ARM_HEADER = "x-ratchet-arm"

Arm = Literal["baseline", "canary"]
# why another one answers: no engine has the adapter ready; too many errors of late; an engine
# that should have it turned out not to
Fallback = Literal["not_ready", "breaker_open", "missing"]


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
class Pin:
    """An adapter that answers whatever is live; None is the base model."""

    adapter: str | None


@dataclass(frozen=True, slots=True)
class Route:
    """What an application serves; `ready` are the adapters that some engine has loaded."""

    application: str
    live_adapter: str | None
    rollout: RolloutRoute | None
    ready: frozenset[str]
    pin: Pin | None = None
    takes_canary: bool = True
    faults: Mapping[str, Fallback] = field(default_factory=dict[str, Fallback])  # of unready ones


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who answers. `adapter` None is the base model; `rollout_id` is set only on an exposure."""

    adapter: str | None
    arm: Arm = "baseline"
    rollout_id: str | None = None
    step: int | None = None
    fell_back: Fallback | None = None  # why the adapter that should answer does not


def assign(route: Route, unit: str) -> Assignment:
    """Return which adapter answers `unit`. An exposure is an arm's adapter really used."""
    rollout = route.rollout
    if route.pin is not None:
        return _unexposed(route, route.pin.adapter)
    if rollout is None:
        return _unexposed(route, route.live_adapter)
    if not route.takes_canary or rollout.state not in SPLIT_STATES:
        return _unexposed(route, rollout.baseline_adapter)
    if position(route.application, rollout.salt, unit) < rollout.share:
        if rollout.canary_adapter in route.ready:
            return Assignment(rollout.canary_adapter, "canary", rollout.id, rollout.step)
        return _instead_of_canary(route, rollout)
    served = _unexposed(route, rollout.baseline_adapter)
    if served.fell_back:
        return served
    return replace(served, rollout_id=rollout.id, step=rollout.step)


def assign_forced(route: Route, arm: Arm) -> Assignment:
    """Return who answers in `arm` of the rollout, in whatever state it is; never an exposure.

    Raises: RequestError when the application has no rollout.
    """
    rollout = route.rollout
    if rollout is None:
        raise RequestError(
            f"{ARM_HEADER}: {arm}, but {route.application} has no rollout: leave the header out",
            field=ARM_HEADER,
        )
    if arm == "baseline":
        return _unexposed(route, rollout.baseline_adapter)
    if rollout.canary_adapter in route.ready:
        return Assignment(rollout.canary_adapter, "canary")
    return _instead_of_canary(route, rollout)


def forced_arm(header: str | None, scopes: frozenset[str]) -> Arm | None:
    """Return the arm that a caller with `scopes` asks for by header, or None without one.

    Raises: PermissionDeniedError without the scope, RequestError for anything that is no arm.
    """
    if header is None:
        return None
    if FORCING_SCOPE not in scopes:
        raise PermissionDeniedError(
            f"{ARM_HEADER} needs a key with scope {FORCING_SCOPE!r}: leave the header out",
            field=ARM_HEADER,
        )
    for arm in get_args(Arm):
        if header == arm:
            return arm
    raise RequestError(
        f"{ARM_HEADER} is {header!r}, which is no arm: send baseline or canary", field=ARM_HEADER
    )


def assign_shadow(
    route: Route, served: Assignment, interaction_id: str, share: float
) -> Assignment | None:
    """Return the canary's assignment if it is to answer this interaction too, unseen.

    It has the rollout's id, so that the pair can be found, but no step: it is no exposure.
    """
    rollout = route.rollout
    if rollout is None or rollout.state != "shadow" or not route.takes_canary or route.pin:
        return None
    if served.fell_back or rollout.canary_adapter not in route.ready:
        return None
    if position(route.application, f"shadow\x00{rollout.salt}", interaction_id) >= share:
        return None
    return Assignment(rollout.canary_adapter, "canary", rollout.id)


def without(route: Route, adapter: str, reason: Fallback) -> Route:
    """Return the route as it is when `adapter` turns out not to be usable."""
    return replace(route, ready=route.ready - {adapter}, faults={**route.faults, adapter: reason})


def _instead_of_canary(route: Route, rollout: RolloutRoute) -> Assignment:
    served = _unexposed(route, rollout.baseline_adapter)
    return replace(served, fell_back=_fault(route, rollout.canary_adapter))


def _unexposed(route: Route, adapter: str | None) -> Assignment:
    if adapter is None or adapter in route.ready:
        return Assignment(adapter)
    return Assignment(None, fell_back=_fault(route, adapter))


def _fault(route: Route, adapter: str) -> Fallback:
    return route.faults.get(adapter, "not_ready")
