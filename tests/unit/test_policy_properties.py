"""What holds of the policy whatever is known: more data never hurts, cool-downs, bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import prod

from hypothesis import given
from hypothesis import strategies as st

from core.policy_settings import CooldownSettings
from core.proportions import wilson
from core.settings import RetrainSettings
from retrain.falls import fall_of
from retrain.policy import decide
from retrain.situation import Drift, Failures, Measure, State, Tally, Trigger, Work
from retrain.triggers import cooldown_s

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TRIGGERS: tuple[Trigger, ...] = (
    "by_hand",
    "tainted",
    "base_model",
    "first",
    "rating",
    "evaluation",
    "drift",
    "growth",
    "schedule",
)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    """Draw how many were good, of up to a thousand."""
    total = draw(st.integers(0, 1_000))
    return Tally(draw(st.floats(0, total)), total)


PAST = st.integers(0, 40 * 86_400).map(lambda seconds: NOW - timedelta(seconds=seconds))
MEASURES = st.builds(Measure, st.just("ratings"), tallies(), tallies())
DRIFTS = st.builds(
    Drift,
    st.just("d"),
    st.sampled_from(["none", "watch", "act"]),
    st.just("longer"),
    PAST,
    st.none() | st.just("run"),
    st.floats(0, 1),
)
SHARES = st.floats(0, 1)


@st.composite
def states(draw: st.DrawFn) -> State:
    """Draw anything that may be known."""
    total = draw(st.integers(0, 500))
    live = draw(st.none() | st.just("desk--v1"))
    return State(
        total_examples=total,
        new_examples=draw(st.integers(0, total)),
        base_model="models/base",
        live_adapter=live,
        trained_base_model=draw(st.sampled_from(["models/base", "models/older"])) if live else None,
        steps_kept=tuple(draw(st.lists(st.none() | st.floats(0.9, 1.1), max_size=7))),
        ratings=draw(st.none() | MEASURES),
        evaluations=tuple(draw(st.lists(MEASURES, max_size=2))),
        drift=draw(st.none() | DRIFTS),
        trained_at=draw(st.none() | PAST),
        requested_by=draw(st.none() | st.just("ann")),
        full_asked=draw(st.booleans()),
        tainted=draw(st.booleans()) and live is not None,
        replaces_tainted=draw(st.booleans()),
        already_trained=draw(st.booleans()),
        work=draw(st.none() | st.builds(Work, st.just("a run"), st.booleans())),
        failures=draw(st.none() | st.builds(Failures, st.integers(1, 9), PAST)),
        last_started=draw(st.dictionaries(st.sampled_from([*map(str, TRIGGERS)]), PAST)),
        unfit=draw(st.none() | st.just("rank is 4")),
    )


@st.composite
def rules(draw: st.DrawFn) -> RetrainSettings:
    """Draw settings."""
    rest = st.none() | st.floats(0, 1e6)
    return RetrainSettings(
        growth_trigger=draw(SHARES),
        growth_must=draw(SHARES),
        growth_min_examples=draw(st.integers(1, 50)),
        incremental_max_share=draw(SHARES),
        domain_shift_share=draw(SHARES),
        max_increments=draw(st.integers(0, 6)),
        every_days=draw(st.none() | st.floats(1, 90)),
        cooldown_s=draw(st.floats(0, 1e6)),
        cooldowns_s=CooldownSettings(rating=draw(rest), growth=draw(rest), drift=draw(rest)),
    )


@given(states(), rules(), st.integers(0, 500), st.booleans())
def test_more_new_data_never_turns_a_yes_into_a_no(
    state: State, settings: RetrainSettings, more: int, instead: bool
) -> None:
    """Whether the new examples come on top, or in place of old ones."""
    if instead:
        more = min(more, state.total_examples - state.new_examples)
    total = state.total_examples + (0 if instead else more)
    grown = replace(state, total_examples=total, new_examples=state.new_examples + more)
    if decide(state, settings, NOW).train:
        assert decide(grown, settings, NOW).train


@given(states(), rules())
def test_cool_downs_and_obstacles_are_respected(state: State, settings: RetrainSettings) -> None:
    """Whatever starts a run has rested, unless a person asks or one was erased."""
    plan = decide(state, settings, NOW)
    if not plan.train or plan.trigger == "by_hand":
        return
    assert plan.trigger is not None
    assert not state.already_trained
    if plan.trigger == "tainted":
        assert state.work is None or not state.work.untainted
        return
    assert state.work is None
    last = state.last_started.get(plan.trigger)
    rest = timedelta(seconds=cooldown_s(plan.trigger, settings))
    assert last is None or last + rest <= NOW


@given(states(), rules())
def test_no_increment_is_over_the_bounds(state: State, settings: RetrainSettings) -> None:
    """An adapter is only continued on the same base and domain, by little, few times, and whole."""
    plan = decide(state, settings, NOW)
    assert (plan.mode is None) is not plan.train
    if plan.mode != "incremental":
        return
    assert state.live_adapter is not None
    faults = (state.tainted, state.base_model_changed, state.full_asked)
    assert not any((*faults, state.unfit))
    assert state.new_share <= settings.incremental_max_share
    assert state.moved_share <= settings.domain_shift_share
    assert len(state.steps_kept) < settings.max_increments
    kept = [part for part in state.steps_kept if part is not None]
    assert all(part >= settings.retention_step for part in kept)
    assert prod(min(part, 1.0) for part in kept) >= settings.retention_chain


@given(states(), rules())
def test_a_plan_is_complete(state: State, settings: RetrainSettings) -> None:
    """All triggers are told, in the same order, and one that fires is the reason."""
    plan = decide(state, settings, NOW)
    assert tuple(one.trigger for one in plan.considered) == TRIGGERS
    firing = [one.trigger for one in plan.considered if one.verdict == "fires"]
    assert plan.train is (bool(firing) and state.total_examples > 0)
    if plan.train:
        assert plan.trigger == firing[0]
        assert plan.reason.startswith(f"{plan.trigger}: ")


@given(tallies(), st.floats(0.001, 0.5))
def test_bounds_hold_the_share(tally: Tally, alpha: float) -> None:
    """Wilson's bounds are around what was seen, and within 0 and 1."""
    if tally.total:
        low, high = wilson(tally.share, tally.total, alpha)
        assert 0.0 <= low <= tally.share + 1e-9
        assert tally.share - 1e-9 <= high <= 1.0


@given(tallies(), tallies(), st.integers(2, 50))
def test_more_ratings_make_a_fall_surer(before: Tally, now: Tally, times: int) -> None:
    """The same shares of more people: the bound comes nearer to the difference."""
    some = fall_of(Measure("ratings", before, now), 0.01)
    if some is None:
        return
    many = fall_of(
        Measure("ratings", *(Tally(t.good * times, t.total * times) for t in (before, now))), 0.01
    )
    assert many is not None
    assert some.at_least <= many.at_least + 1e-9
    assert many.at_least <= before.share - now.share + 1e-9
