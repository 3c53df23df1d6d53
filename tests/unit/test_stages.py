"""How a rollout may move, by the stage rules alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.settings import CanarySettings
from loop.stages import (
    Move,
    Observation,
    Position,
    ReplicaWord,
    next_move,
    pause,
    promotion,
    readiness,
    resumption,
    rollback,
)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
RULES = CanarySettings(
    shares=(0.1, 0.5),
    step_min_exposures=30,
    step_min_s=60,
    deadline_s=1_000,
    watch_s=600,
    holdback=0.05,
)
QUIET = Observation(ready=True, refused=None, decision="hold", reason="so far", step_exposures=0)


def at(state: str, step: int = 0) -> Position:
    """Return a position that began at BEGAN."""
    return Position(state, step, state_since=BEGAN, step_since=BEGAN)


def after(seconds: float) -> datetime:
    """Return the instant so many seconds after BEGAN."""
    return BEGAN + timedelta(seconds=seconds)


def test_shadow_waits_until_the_adapter_is_ready() -> None:
    """Nobody is exposed to an adapter that no engine has loaded."""
    assert next_move(at("shadow"), replace(QUIET, ready=False), RULES, after(5)) is None


def test_shadow_moves_to_the_first_share_when_ready() -> None:
    """The first canary step has the settings' first share."""
    move = next_move(at("shadow"), QUIET, RULES, after(5))
    assert move is not None
    assert (move.state, move.step, move.share) == ("canary", 0, 0.1)


def test_shadow_ends_when_the_engine_refuses_the_adapter() -> None:
    """A refusal rolls back and keeps the engine's words."""
    seen = replace(QUIET, ready=False, refused="rank 64 is above 16")
    move = next_move(at("shadow"), seen, RULES, after(5))
    assert move is not None
    assert move.state == "rolled_back"
    assert "rank 64 is above 16" in move.reason


@pytest.mark.parametrize(
    ("exposures", "seconds"), [(29, 61), (30, 59)], ids=["too few exposures", "too early"]
)
def test_a_step_lasts_until_exposures_and_time_are_both_enough(
    exposures: int, seconds: float
) -> None:
    """One of the two alone does not make the share grow."""
    seen = replace(QUIET, step_exposures=exposures)
    assert next_move(at("canary"), seen, RULES, after(seconds)) is None


def test_the_share_grows_when_the_step_is_served() -> None:
    """Enough exposures in enough time lead to the next share."""
    move = next_move(at("canary"), replace(QUIET, step_exposures=30), RULES, after(60))
    assert move is not None
    assert (move.state, move.step, move.share) == ("canary", 1, 0.5)


def test_the_last_step_does_not_grow() -> None:
    """Above the last share there is only a promotion."""
    seen = replace(QUIET, step_exposures=10_000)
    assert next_move(at("canary", 1), seen, RULES, after(999)) is None


def test_a_promotion_leads_to_the_watch_with_a_holdback() -> None:
    """The watch keeps a small share on the old adapter, in a stratum of its own."""
    seen = replace(QUIET, decision="promote", reason="proven")
    move = next_move(at("canary"), seen, RULES, after(5))
    assert move == Move("watch", 2, 0.95, "proven") == promotion(RULES, "proven")


@pytest.mark.parametrize("state", ["canary", "watch"])
def test_harm_rolls_back_at_once(state: str) -> None:
    """A roll-back verdict needs no minimum time, in the canary and in the watch."""
    seen = replace(QUIET, decision="roll_back", reason="worse")
    assert next_move(at(state, 1), seen, RULES, after(0)) == rollback(1, "worse")


def test_a_canary_without_decision_ends_at_its_deadline() -> None:
    """The baseline stays, and the row says that nothing was shown."""
    move = next_move(at("canary", 1), QUIET, RULES, after(1_000))
    assert move is not None
    assert (move.state, move.share) == ("inconclusive", 0.0)


def test_the_watch_lasts_its_time() -> None:
    """Before its end nothing moves; at its end the adapter is live for everyone."""
    assert next_move(at("watch", 2), QUIET, RULES, after(599)) is None
    move = next_move(at("watch", 2), QUIET, RULES, after(600))
    assert move is not None
    assert (move.state, move.share) == ("live", 1.0)


@pytest.mark.parametrize("state", ["paused", "live", "rolled_back", "inconclusive"])
def test_what_has_ended_or_is_paused_does_not_move(state: str) -> None:
    """Only a person moves these."""
    seen = replace(QUIET, decision="promote")
    assert next_move(at(state), seen, RULES, after(10**9)) is None


def test_shadow_waits_for_its_pairs_or_its_time() -> None:
    """Enough answers of the canary, or shadow_max_s for a quiet application."""
    rules = RULES.model_copy(update={"shadow_min_pairs": 20, "shadow_max_s": 600.0})
    few, enough = replace(QUIET, shadow_pairs=19), replace(QUIET, shadow_pairs=20)
    assert next_move(at("shadow"), few, rules, after(599)) is None
    assert next_move(at("shadow"), few, rules, after(600)) is not None
    move = next_move(at("shadow"), enough, rules, after(5))
    assert move is not None
    assert "20 requests in shadow" in move.reason


def test_the_share_does_not_grow_while_an_engine_lacks_the_adapter() -> None:
    """More users on fewer engines would slow the canary for a reason of our own."""
    seen = replace(QUIET, ready=False, step_exposures=30)
    assert next_move(at("canary"), seen, RULES, after(60)) is None


def test_a_promotion_waits_for_the_engines_too() -> None:
    """Until its deadline; harm needs no engine."""
    seen = replace(QUIET, ready=False, decision="promote")
    assert next_move(at("canary", 1), seen, RULES, after(60)) is None
    move = next_move(at("canary", 1), seen, RULES, after(1_000))
    assert move is not None
    assert move.state == "inconclusive"


READY, LOADING, REFUSED = ReplicaWord("ready"), ReplicaWord("loading"), ReplicaWord("refused", "x")


@pytest.mark.parametrize(
    ("words", "share", "expected"),
    [
        ({"a": READY, "b": READY}, 1.0, (True, None)),
        ({"a": READY}, 1.0, (False, None)),
        ({"a": READY, "b": LOADING}, 1.0, (False, None)),
        ({"a": READY, "b": LOADING}, 0.5, (True, None)),
        ({"a": READY, "b": REFUSED}, 1.0, (False, "x")),
        ({"a": READY, "b": REFUSED}, 0.5, (True, None)),
        ({"a": REFUSED, "b": REFUSED}, 0.5, (False, "x")),
        ({"a": ReplicaWord("refused")}, 1.0, (False, "refused")),
        ({"a": READY, "b": READY, "gone": REFUSED}, 1.0, (True, None)),
    ],
)
def test_readiness_over_several_engines(
    words: dict[str, ReplicaWord], share: float, expected: tuple[bool, str | None]
) -> None:
    """Every engine that is up, or the set share of them; refused when that cannot be reached."""
    rules = RULES.model_copy(update={"ready_share": share})
    assert readiness(["a", "b"], words, rules) == expected


def test_without_an_engine_nothing_is_ready() -> None:
    """And nothing refused: there is nobody to refuse."""
    assert readiness([], {"a": REFUSED}, RULES) == (False, None)


def test_numbers_that_cannot_be_trusted_pause_the_canary() -> None:
    """Everyone gets the baseline, before any promotion; harm still comes first."""
    seen = replace(QUIET, reason="sample ratio mismatch", pause=True)
    assert next_move(at("canary", 1), seen, RULES, after(0)) == pause(
        at("canary", 1), "sample ratio mismatch"
    )
    harmed = replace(seen, decision="roll_back")
    move = next_move(at("canary", 1), harmed, RULES, after(0))
    assert move is not None
    assert move.state == "rolled_back"
    assert pause(at("canary", 1), "wait").share == 0.0


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, ("canary", 0, 0.1)), (1, ("canary", 1, 0.5)), (2, ("watch", 2, 0.95))],
)
def test_a_resumed_rollout_goes_on_where_it_was(
    step: int, expected: tuple[str, int, float]
) -> None:
    """At the same step and share."""
    move = resumption(at("paused", step), RULES, "mended")
    assert (move.state, move.step, move.share) == expected
