"""How a rollout may move: shadow → canary (step by step) → watch → live, or back.

PROMOTE's rules, pure: the position, what was observed and the time go in, the next move or
None comes out. Knows nothing of where counts come from or how a move is carried out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.canary_settings import CanarySettings

State = Literal["shadow", "canary", "watch", "live", "rolled_back", "inconclusive", "paused"]
Decision = Literal["promote", "hold", "roll_back"]

ACTIVE_STATES: frozenset[str] = frozenset({"shadow", "canary", "watch", "paused"})
JUDGED_STATES: frozenset[str] = frozenset({"canary", "watch"})


@dataclass(frozen=True, slots=True)
class Position:
    """Where a rollout stands; `share` of subjects are in the canary arm."""

    state: str
    step: int
    state_since: datetime
    step_since: datetime


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of it: the engines' word, the verdict, the canary's exposures in this step.

    `shadow_pairs` are the answers that the canary gave unseen. `pause`: the verdict holds because
    its numbers cannot be trusted.
    """

    ready: bool
    refused: str | None
    decision: Decision
    reason: str
    step_exposures: int
    shadow_pairs: int = 0
    pause: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaWord:
    """What one engine says of the canary's adapter."""

    state: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """The next state of a rollout and why."""

    state: State
    step: int
    share: float
    reason: str


def next_move(
    position: Position, seen: Observation, rules: CanarySettings, now: datetime
) -> Move | None:
    """Return the move that the rules ask for now, or None to stay."""
    if position.state == "shadow":
        return _from_shadow(position, seen, rules, now)
    if position.state == "canary":
        return _from_canary(position, seen, rules, now)
    if position.state == "watch":
        return _from_watch(position, seen, rules, now)
    return None


def readiness(
    engines: Collection[str], words: Mapping[str, ReplicaWord], rules: CanarySettings
) -> tuple[bool, str | None]:
    """Return whether enough of the engines that are up have the adapter, and why they never will.

    Enough is `ready_share` of them; without an engine nothing is ready, and nothing refused.
    """
    said = [words[engine] for engine in engines if engine in words]
    ready = sum(word.state == "ready" for word in said)
    refusals = [word.error or "refused" for word in said if word.state == "refused"]
    needed = rules.ready_share * len(engines)
    refused = refusals[0] if refusals and len(engines) - len(refusals) < needed else None
    return bool(engines) and ready >= needed, refused


def promotion(rules: CanarySettings, reason: str) -> Move:
    """Return the move to the watch: all but the holdback get the new adapter."""
    return Move("watch", len(rules.shares), 1.0 - rules.holdback, reason)


def rollback(step: int, reason: str) -> Move:
    """Return the move back: nobody gets the canary any more."""
    return Move("rolled_back", step, 0.0, reason)


def pause(position: Position, reason: str) -> Move:
    """Return the move out of the split: everyone gets the baseline until a person decides."""
    return Move("paused", position.step, 0.0, reason)


def resumption(position: Position, rules: CanarySettings, reason: str) -> Move:
    """Return the move from the pause back to where it was."""
    if position.step >= len(rules.shares):
        return promotion(rules, reason)
    return Move("canary", position.step, rules.shares[position.step], reason)


def _from_shadow(
    position: Position, seen: Observation, rules: CanarySettings, now: datetime
) -> Move | None:
    if seen.refused is not None:
        return rollback(position.step, f"the engine refuses the adapter: {seen.refused}")
    if not seen.ready:
        return None
    shadow_s = (now - position.state_since).total_seconds()
    if seen.shadow_pairs < rules.shadow_min_pairs and shadow_s < rules.shadow_max_s:
        return None
    reason = "the adapter is ready on the engines"
    if seen.shadow_pairs:
        reason += f"; it answered {seen.shadow_pairs} requests in shadow"
    return Move("canary", 0, rules.shares[0], reason)


def _from_canary(
    position: Position, seen: Observation, rules: CanarySettings, now: datetime
) -> Move | None:
    if seen.decision == "roll_back":
        return rollback(position.step, seen.reason)
    if seen.pause:
        return pause(position, seen.reason)
    if seen.decision == "promote" and seen.ready:  # else few engines would get all traffic
        return promotion(rules, seen.reason)
    if (now - position.state_since).total_seconds() >= rules.deadline_s:
        reason = f"no decision within {rules.deadline_s:.0f} s: the baseline stays; {seen.reason}"
        return Move("inconclusive", position.step, 0.0, reason)
    step_s = (now - position.step_since).total_seconds()
    may_grow = seen.ready and position.step + 1 < len(rules.shares)
    if may_grow and seen.step_exposures >= rules.step_min_exposures and step_s >= rules.step_min_s:
        share = rules.shares[position.step + 1]
        reason = f"{seen.step_exposures} exposures without harm: the share grows to {share:.0%}"
        return Move("canary", position.step + 1, share, reason)
    return None


def _from_watch(
    position: Position, seen: Observation, rules: CanarySettings, now: datetime
) -> Move | None:
    if seen.decision == "roll_back":
        return rollback(position.step, seen.reason)
    if (now - position.state_since).total_seconds() >= rules.watch_s:
        return Move("live", position.step, 1.0, f"no harm seen in a watch of {rules.watch_s:.0f} s")
    return None
