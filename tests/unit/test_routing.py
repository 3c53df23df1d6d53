"""Sticky arms: uniform, monotone, and honest about what counts as an exposure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import PermissionDeniedError, RequestError
from serving.routing import (
    Assignment,
    Pin,
    RolloutRoute,
    Route,
    assign,
    assign_forced,
    assign_shadow,
    forced_arm,
    position,
    without,
)

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


def unready(route: Route, *adapters: str) -> Route:
    return replace(route, ready=route.ready.difference(adapters))


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
    route = unready(with_rollout(share=1.0), CANARY)
    assert assign(route, "u") == Assignment(BASELINE, fell_back="not_ready")


def test_an_unready_baseline_falls_back_to_the_base_model_unexposed() -> None:
    """A baseline or live adapter that is not loaded: the base model, not an exposure."""
    expected = Assignment(None, fell_back="not_ready")
    assert assign(unready(with_rollout(share=0.0), BASELINE), "u") == expected
    assert assign(unready(replace(ROUTE, rollout=None), BASELINE), "u") == expected
    assert assign(unready(with_rollout(share=1.0), BASELINE, CANARY), "u") == expected


def test_the_base_model_as_baseline_is_always_ready() -> None:
    """A first adapter's rollout compares with the base model, which needs no loading."""
    route = replace(with_rollout(baseline_adapter=None, share=0.0), ready=frozenset({CANARY}))
    assert assign(route, "u") == Assignment(None, "baseline", "r1", 2)


def test_what_turned_out_unusable_says_why() -> None:
    """The reason is that of the adapter which should have answered."""
    route = without(with_rollout(share=1.0), CANARY, "breaker_open")
    assert assign(route, "u") == Assignment(BASELINE, fell_back="breaker_open")
    route = without(route, BASELINE, "missing")
    assert assign(route, "u") == Assignment(None, fell_back="breaker_open")


@pytest.mark.parametrize("adapter", [CANARY, None])
def test_a_pinned_application_follows_no_rollout(adapter: str | None) -> None:
    """The pin answers everyone, unexposed; a pinned adapter that is not ready is told."""
    route = replace(with_rollout(share=0.5), pin=Pin(adapter))
    assert {assign(route, unit) for unit in UNITS[:50]} == {Assignment(adapter)}
    if adapter is not None:
        assert assign(unready(route, adapter), "u") == Assignment(None, fell_back="not_ready")


def test_an_application_without_canaries_keeps_the_baseline() -> None:
    """Even at a share of 1, and it is no exposure."""
    route = replace(with_rollout(share=1.0), takes_canary=False)
    assert assign(route, "u") == Assignment(BASELINE)


@pytest.mark.parametrize("state", ["shadow", "canary", "watch", "paused"])
def test_a_forced_arm_answers_in_every_state_unexposed(state: str) -> None:
    """An operator sees either adapter, and no count changes."""
    route = with_rollout(state=state, share=0.5)
    assert assign_forced(route, "canary") == Assignment(CANARY, "canary")
    assert assign_forced(route, "baseline") == Assignment(BASELINE)
    fallen = Assignment(BASELINE, fell_back="not_ready")
    assert assign_forced(unready(route, CANARY), "canary") == fallen


def test_no_arm_can_be_forced_without_a_rollout() -> None:
    """The error says which application has none."""
    with pytest.raises(RequestError, match="shop has no rollout"):
        assign_forced(replace(ROUTE, rollout=None), "canary")


def test_only_operators_may_force_an_arm() -> None:
    """Without the header nobody asks; with it, the scope is needed and the arm must exist."""
    ops = frozenset({"infer", "ops"})
    assert forced_arm(None, frozenset()) is None
    assert (forced_arm("canary", ops), forced_arm("baseline", ops)) == ("canary", "baseline")
    with pytest.raises(PermissionDeniedError, match="ops"):
        forced_arm("canary", frozenset({"infer"}))
    with pytest.raises(RequestError, match="'both'"):
        forced_arm("both", ops)


def test_a_shadow_is_the_canary_without_exposure() -> None:
    """It can be found by the rollout's id, and has no step: nobody counts it."""
    route = with_rollout(state="shadow")
    assert assign_shadow(route, Assignment(BASELINE), "i", 1.0) == Assignment(
        CANARY, "canary", "r1"
    )


def test_shadows_are_a_sample() -> None:
    """A tenth of the interactions, whoever asks."""
    route = with_rollout(state="shadow")
    chosen = sum(assign_shadow(route, Assignment(BASELINE), u, 0.1) is not None for u in UNITS)
    assert chosen / len(UNITS) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("route", "served"),
    [
        (replace(ROUTE, rollout=None), Assignment(BASELINE)),
        (with_rollout(state="canary"), Assignment(BASELINE)),
        (replace(with_rollout(state="shadow"), takes_canary=False), Assignment(BASELINE)),
        (replace(with_rollout(state="shadow"), pin=Pin(None)), Assignment(None)),
        (with_rollout(state="shadow"), Assignment(None, fell_back="not_ready")),
        (unready(with_rollout(state="shadow"), CANARY), Assignment(BASELINE)),
    ],
    ids=["no rollout", "canary", "kept out", "pinned", "fell back", "not ready"],
)
def test_there_is_no_shadow_where_it_would_compare_nothing(
    route: Route, served: Assignment
) -> None:
    """Only in state shadow, beside the baseline's own answer, with a canary that is ready."""
    assert assign_shadow(route, served, "i", 1.0) is None
