"""Sticky arms: uniform, monotone, and honest about what counts as an exposure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.routing import Assignment, RolloutRoute, Route, assign, position, without

BASELINE = "shop--v1"
CANARY = "shop--v2"
ROLLOUT = RolloutRoute(
    id="r1",
    baseline_adapter=BASELINE,
    canary_adapter=CANARY,
    state="canary",
    step=2,
    share=0.25,
    salt="pepper",
)
ROUTE = Route("shop", BASELINE, ROLLOUT, frozenset({BASELINE, CANARY}))
UNITS = [f"unit-{number}" for number in range(20_000)]

units = st.text(max_size=40)
shares = st.floats(min_value=0.0, max_value=1.0)


def with_rollout(**changes: object) -> Route:
    return replace(ROUTE, rollout=replace(ROLLOUT, **changes))


def test_positions_are_uniform() -> None:
    """Each tenth of [0, 1) holds a tenth of the units, within 5 standard deviations."""
    counts = [0] * 10
    for unit in UNITS:
        counts[int(position("shop", "pepper", unit) * 10)] += 1
    deviation = (len(UNITS) * 0.1 * 0.9) ** 0.5
    assert all(abs(count - len(UNITS) / 10) < 5 * deviation for count in counts)


def test_salts_assign_independently() -> None:
    """Who is in the canary of one rollout says nothing about the next rollout."""
    first = [position("shop", "one", unit) < 0.5 for unit in UNITS]
    second = [position("shop", "two", unit) < 0.5 for unit in UNITS]
    agreeing = sum(a == b for a, b in zip(first, second, strict=True)) / len(UNITS)
    assert agreeing == pytest.approx(0.5, abs=0.02)


def test_applications_assign_independently() -> None:
    """Two applications with the same salt and users do not share their canaries."""
    same = sum(
        (position("shop", "salt", unit) < 0.5) == (position("bank", "salt", unit) < 0.5)
        for unit in UNITS
    )
    assert same / len(UNITS) == pytest.approx(0.5, abs=0.02)


@given(units, units)
def test_positions_lie_in_the_unit_interval(salt: str, unit: str) -> None:
    """A position is at least 0 and below 1, so that share 1.0 takes everyone."""
    assert 0.0 <= position("shop", salt, unit) < 1.0


@given(units, shares, shares)
def test_arms_are_monotone_as_the_share_grows(unit: str, one: float, other: float) -> None:
    """A unit in the canary at a share is in it at every larger share."""
    small, large = sorted((one, other))
    if assign(with_rollout(share=small), unit).arm == "canary":
        assert assign(with_rollout(share=large), unit).arm == "canary"


@given(units, shares)
def test_arms_are_sticky_over_states_and_steps(unit: str, share: float) -> None:
    """The same unit gets the same adapter in the watch and at another step of equal share."""
    first = assign(with_rollout(share=share), unit)
    later = assign(with_rollout(share=share, state="watch", step=4), unit)
    assert (first.adapter, first.arm) == (later.adapter, later.arm)


def test_the_canary_arm_gets_its_share() -> None:
    """A quarter of the units sees the canary when the share is a quarter."""
    canaries = sum(assign(ROUTE, unit).arm == "canary" for unit in UNITS)
    assert canaries / len(UNITS) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("state", ["canary", "watch"])
@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (1.0, Assignment(CANARY, "canary", "r1", 2)),
        (0.0, Assignment(BASELINE, "baseline", "r1", 2)),
    ],
)
def test_split_states_expose_both_arms(state: str, share: float, expected: Assignment) -> None:
    """In canary and watch every answer of a ready adapter is an exposure of its arm."""
    assert assign(with_rollout(state=state, share=share), "u") == expected


@pytest.mark.parametrize("state", ["shadow", "paused"])
def test_other_states_serve_the_baseline_unexposed(state: str) -> None:
    """In shadow and paused everyone gets the baseline adapter and nothing is counted."""
    assert assign(with_rollout(state=state, share=1.0), "u") == Assignment(BASELINE)


def test_without_a_rollout_the_live_adapter_answers() -> None:
    """No rollout: the live adapter, or the base model where there is none."""
    assert assign(replace(ROUTE, rollout=None), "u") == Assignment(BASELINE)
    assert assign(replace(ROUTE, rollout=None, live_adapter=None), "u") == Assignment(None)


def test_an_unready_canary_falls_back_to_the_baseline_unexposed() -> None:
    """A canary that is not loaded: its subjects get the baseline, which is not an exposure."""
    route = without(with_rollout(share=1.0), frozenset({CANARY}))
    assert assign(route, "u") == Assignment(BASELINE, fell_back=True)


def test_an_unready_baseline_falls_back_to_the_base_model_unexposed() -> None:
    """A baseline or live adapter that is not loaded: the base model, not an exposure."""
    expected = Assignment(None, fell_back=True)
    missing = frozenset({BASELINE})
    assert assign(without(with_rollout(share=0.0), missing), "u") == expected
    assert assign(without(replace(ROUTE, rollout=None), missing), "u") == expected
    assert assign(without(with_rollout(share=1.0), missing | {CANARY}), "u") == expected


def test_the_base_model_as_baseline_is_always_ready() -> None:
    """A first adapter's rollout compares with the base model, which needs no loading."""
    route = replace(with_rollout(baseline_adapter=None, share=0.0), ready=frozenset({CANARY}))
    assert assign(route, "u") == Assignment(None, "baseline", "r1", 2)
