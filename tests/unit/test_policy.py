"""When to retrain and how: every trigger, every cool-down, every reason for a full training."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import DataError
from core.policy_settings import DAY_S, CooldownSettings
from core.settings import RetrainSettings
from retrain.explanation import explain
from retrain.policy import decide
from retrain.situation import Drift, Failures, Measure, State, Tally, Work
from retrain.triggers import Considered, cooldown_s, examples_to

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RULES = RetrainSettings()
# Live adapter, nothing new: no trigger fires.
QUIET = State(
    total_examples=100,
    new_examples=0,
    base_model="models/base",
    live_adapter="desk--v1",
    trained_base_model="models/base",
)
FELL = Measure("ratings", Tally(160, 200), Tally(130, 200))  # 80 % to 65 %
ACT = Drift("drift-1", "act", "prompts are three times as long", NOW)
PART = replace(ACT, new_share=0.5)
MOVED = replace(ACT, new_share=0.51)


def considered(state: State, trigger: str, rules: RetrainSettings = RULES) -> Considered:
    """Return what became of one trigger."""
    (one,) = (one for one in decide(state, rules, NOW).considered if one.trigger == trigger)
    return one


def changed(**values: object) -> State:
    """Return the quiet state with other values."""
    return replace(QUIET, **values)  # type: ignore[arg-type]


def test_quiet_state_trains_nothing() -> None:
    """Without a trigger the plan is to wait; all triggers are told, and what would start one."""
    plan = decide(QUIET, RULES, NOW)
    assert (plan.train, plan.mode, plan.trigger) == (False, None, None)
    assert plan.reason == "no trigger: 0% new examples (0), under 10%"
    verdicts = {one.trigger: one.verdict for one in plan.considered}
    assert verdicts == {
        "by_hand": "quiet",
        "tainted": "quiet",
        "base_model": "quiet",
        "first": "quiet",
        "rating": "unknown",
        "evaluation": "unknown",
        "drift": "unknown",
        "growth": "quiet",
        "schedule": "off",
    }
    assert plan.next == ("growth fires at the latest with 25 more new examples",)


def test_no_examples_trains_nothing_even_by_hand() -> None:
    """Nobody can ask for a training on nothing."""
    empty = State(total_examples=0, new_examples=0, base_model="m", requested_by="ann")
    plan = decide(empty, RULES, NOW)
    assert not plan.train
    assert "no approved examples" in plan.reason


def test_first_adapter_is_trained_in_full() -> None:
    """With only the base model live there is nothing to continue."""
    first = State(total_examples=40, new_examples=40, base_model="models/base")
    plan = decide(first, RULES, NOW)
    assert (plan.train, plan.mode, plan.trigger) == (True, "full", "first")
    assert plan.reason.startswith("first: ")


@pytest.mark.parametrize(
    ("change", "trigger", "mode", "told"),
    [
        ({"new_examples": 10}, "growth", "incremental", "10% new examples (10), at least 10%"),
        ({"new_examples": 20}, "growth", "incremental", "20% new examples (20), at least 20%"),
        ({"new_examples": 30}, "growth", "incremental", "30% is new, within 30%"),
        ({"new_examples": 31}, "growth", "full", "31% is new, over 30%"),
        ({"new_examples": 5, "ratings": FELL}, "rating", "incremental", "ratings fell 18.8%"),
        ({"evaluations": (FELL,)}, "evaluation", "incremental", "80.0% of 200 → 65.0% of 200"),
        ({"new_examples": 5, "drift": ACT}, "drift", "incremental", "5% is new, within 30%"),
        ({"new_examples": 5, "drift": PART}, "drift", "incremental", "5% is new, within 30%"),
        ({"new_examples": 5, "drift": MOVED}, "drift", "full", "51% of traffic are new subjects"),
        ({"base_model": "models/newer"}, "base_model", "full", "not models/base"),
        ({"requested_by": "ann"}, "by_hand", "incremental", "asked for by ann"),
        ({"requested_by": "ann", "full_asked": True}, "by_hand", "full", "was asked for"),
        ({"tainted": True}, "tainted", "full", "trained on a person who was erased"),
        ({"new_examples": 10, "steps_kept": (None,) * 4}, "growth", "incremental", "within 30%"),
        ({"new_examples": 10, "steps_kept": (1.0,) * 5}, "growth", "full", "5 increments in a row"),
        ({"new_examples": 10, "steps_kept": (0.97,)}, "growth", "full", "kept 97.0%"),
        ({"new_examples": 10, "steps_kept": (0.98,) * 2}, "growth", "incremental", "within"),
        ({"new_examples": 10, "steps_kept": (0.98,) * 3}, "growth", "full", "94.1% together"),
        ({"new_examples": 10, "unfit": "rank is 4, not 16"}, "growth", "full", "rank is 4"),
    ],
)
def test_trigger_decides_mode_and_says_why(
    change: dict[str, object], trigger: str, mode: str, told: str
) -> None:
    """Each trigger fires at its threshold, picks the mode by the rules and gives its reason."""
    plan = decide(changed(**change), RULES, NOW)
    assert (plan.train, plan.trigger, plan.mode) == (True, trigger, mode)
    assert plan.reason.startswith(f"{trigger}: ")
    assert told in plan.reason


@pytest.mark.parametrize(
    ("change", "trigger", "verdict", "told"),
    [
        ({"new_examples": 9}, "growth", "quiet", "under 10%"),
        ({"ratings": replace(FELL, recent=Tally(154, 200))}, "rating", "quiet", "fell 3.8%"),
        ({"ratings": replace(FELL, recent=Tally(190, 200))}, "rating", "quiet", "rose 18.7%"),
        ({"ratings": replace(FELL, recent=Tally(150, 200))}, "rating", "watch", "may be chance"),
        ({"ratings": Measure("r", Tally(4, 5), Tally(3, 5))}, "rating", "watch", "may be chance"),
        ({"ratings": replace(FELL, baseline=Tally(0, 9))}, "rating", "unknown", "nothing to comp"),
        ({"ratings_note": "12 of 30"}, "rating", "unknown", "12 of 30"),
        ({"drift": replace(ACT, severity="watch")}, "drift", "watch", "says watch"),
        ({"drift": replace(ACT, severity="none")}, "drift", "quiet", "says none"),
        ({"drift": replace(ACT, run_id="run-7")}, "drift", "quiet", "run run-7 answers"),
        ({"tainted": True, "replaces_tainted": False}, "tainted", "off", "erasure.adapters"),
    ],
)
def test_below_the_threshold_nothing_fires(
    change: dict[str, object], trigger: str, verdict: str, told: str
) -> None:
    """Little growth, a small fall, chance, a rise, an unknown score: they start no training."""
    state = changed(**change)
    assert not decide(state, RULES, NOW).train
    one = considered(state, trigger)
    assert one.verdict == verdict
    assert told in one.told


def test_ten_percent_of_very_little_is_only_watched() -> None:
    """From 10 % on growth fires if it fills a batch, from 20 % on whatever it is."""
    small = replace(QUIET, total_examples=40, new_examples=7)
    assert considered(small, "growth").verdict == "watch"
    assert not decide(small, RULES, NOW).train
    assert considered(replace(small, new_examples=8), "growth").verdict == "fires"


def test_a_fall_that_may_be_chance_is_told() -> None:
    """Whoever reads why nothing happens learns what is close."""
    chance = replace(FELL, recent=Tally(150, 200))
    assert "rating is watched" in decide(changed(ratings=chance), RULES, NOW).reason


def test_the_worst_evaluation_counts() -> None:
    """One metric that fell is enough, whatever the others say; of those, the worst is told."""
    rose = Measure("f1 on test", Tally(10, 40), Tally(30, 40))
    noise = Measure("accuracy on test", Tally(5, 5), Tally(3, 5))
    assert considered(changed(evaluations=(rose, FELL)), "evaluation").verdict == "fires"
    one = considered(changed(evaluations=(noise, FELL, rose)), "evaluation")
    assert (one.verdict, one.value) == ("fires", pytest.approx(0.1875))


@pytest.mark.parametrize(("days", "fires"), [(29.9, False), (30.0, True)])
def test_schedule_fires_when_its_days_are_over(days: float, fires: bool) -> None:
    """The last training that ended well counts."""
    rules = RetrainSettings(every_days=30.0)
    state = changed(new_examples=1, trained_at=NOW - timedelta(days=days))
    plan = decide(state, rules, NOW)
    assert plan.train is fires
    assert plan.trigger == ("schedule" if fires else None)
    if not fires:
        assert "schedule is due at 2026-03-01 14:24 UTC" in plan.next


def test_a_schedule_needs_a_first_training() -> None:
    """Without one there is nothing to count from."""
    rules = RetrainSettings(every_days=30.0)
    assert considered(QUIET, "schedule", rules).verdict == "unknown"


def test_trigger_cools_down_for_itself_only() -> None:
    """A growth that has just started a run waits; a fall of the ratings does not."""
    recent = {"growth": NOW - timedelta(seconds=RULES.cooldown_s - 60)}
    grown = changed(new_examples=20, last_started=recent)
    waiting = decide(grown, RULES, NOW)
    assert not waiting.train
    assert "growth" in waiting.reason
    assert "60 s of its cool-down" in waiting.reason
    assert "growth may fire again from 2026-03-01 12:01 UTC on" in waiting.next
    assert decide(replace(grown, ratings=FELL), RULES, NOW).trigger == "rating"


@pytest.mark.parametrize(
    ("trigger", "seconds"),
    [
        ("by_hand", 0.0),
        ("tainted", 0.0),
        ("rating", 7 * DAY_S),
        ("drift", DAY_S),
        ("growth", 60.0),
        ("first", 5.0),
    ],
)
def test_each_trigger_has_its_own_cool_down(trigger: str, seconds: float) -> None:
    """Its own, or that of all; wishes and erasures have none."""
    rules = RetrainSettings(cooldown_s=60.0, cooldowns_s=CooldownSettings(first=5.0))
    assert cooldown_s(trigger, rules) == seconds  # type: ignore[arg-type]


def test_trigger_fires_again_after_its_cool_down() -> None:
    """The cool-down ends after exactly its length."""
    past = {"growth": NOW - timedelta(seconds=RULES.cooldown_s)}
    assert decide(changed(new_examples=20, last_started=past), RULES, NOW).train


def test_person_who_asks_never_waits() -> None:
    """By hand there is no cool-down, and the same dataset may be trained again."""
    asked = changed(
        requested_by="ann",
        already_trained=True,
        last_started={"by_hand": NOW},
        work=Work("run r is running"),
        failures=Failures(3, NOW),
    )
    assert decide(asked, RULES, NOW).trigger == "by_hand"


def test_same_dataset_is_not_trained_twice() -> None:
    """A run that has finished on this very dataset would only give the same adapter again."""
    again = State(total_examples=40, new_examples=40, base_model="m", already_trained=True)
    plan = decide(again, RULES, NOW)
    assert not plan.train
    assert "new examples are needed" in plan.reason


def test_nothing_is_trained_beside_a_run_or_a_rollout() -> None:
    """What they bring is not known yet."""
    plan = decide(changed(new_examples=20, work=Work("run r is running")), RULES, NOW)
    assert "growth (20% new examples (20), at least 20%) waits: run r is running" in plan.reason
    assert plan.next[0] == "when this is over: run r is running"


def test_an_erasure_waits_only_for_a_training_without_the_person() -> None:
    """What began before the erasure has learnt from them as well."""
    tainted = changed(tainted=True, work=Work("run r is running", untainted=False))
    assert decide(tainted, RULES, NOW).trigger == "tainted"
    clean = replace(tainted, work=Work("run r is running"))
    assert not decide(clean, RULES, NOW).train


@pytest.mark.parametrize(("failures", "hours"), [(1, 1), (3, 4), (9, 24), (2_000, 24)])
def test_failures_put_the_next_try_off(failures: int, hours: int) -> None:
    """Longer with each failure in a row, a day at most."""
    failed = changed(new_examples=20, failures=Failures(failures, NOW))
    plan = decide(failed, RULES, NOW)
    assert not plan.train
    assert f"({failures} in a row); the next try is in {hours * 3600} s" in plan.reason
    again = NOW + timedelta(hours=hours)
    assert f"the next try after failures is from {again:%Y-%m-%d %H:%M} UTC on" in plan.next
    assert decide(failed, RULES, again).train


def test_a_plan_says_what_it_begins() -> None:
    """Its cool-down, and how many increments are left."""
    plan = decide(changed(new_examples=10, steps_kept=(1.0,)), RULES, NOW)
    assert plan.next == (
        "growth then rests until 2026-03-01 13:00 UTC",
        "3 increments may follow before the next full training",
    )
    full = decide(changed(requested_by="ann", full_asked=True), RULES, NOW)
    assert full.next == ("5 increments may follow before the next full training",)


@pytest.mark.parametrize(
    ("share", "new", "more"), [(0.2, 0, 25), (0.2, 20, 0), (0.1, 9, 2), (1.0, 40, 60), (0.0, 0, 0)]
)
def test_how_many_examples_are_missing(share: float, new: int, more: int) -> None:
    """New examples add to the whole as well; so many are enough, and one fewer is not."""
    state = changed(new_examples=new)
    assert examples_to(share, state) == more
    if more and share < 1.0:
        assert replace(state, total_examples=100 + more, new_examples=new + more).new_share >= share
        fewer = replace(state, total_examples=99 + more, new_examples=new + more - 1)
        assert fewer.new_share < share


def test_increments_can_be_switched_off() -> None:
    """No increment at all is a bound like others."""
    rules = RetrainSettings(max_increments=0)
    plan = decide(changed(new_examples=10), rules, NOW)
    assert plan.mode == "full"
    assert "increments are switched off" in plan.reason


@pytest.mark.parametrize(("new", "total"), [(11, 10), (-1, 10)])
def test_impossible_counts_are_refused(new: int, total: int) -> None:
    """More new examples than there are in total is a fault of the caller."""
    with pytest.raises(DataError, match=f"new_examples is {new} of 10"):
        State(total_examples=total, new_examples=new, base_model="m")
    with pytest.raises(DataError, match=f"{new} good of 10"):
        Tally(new, total)


def test_nobody_rated_is_no_share() -> None:
    """An empty tally has no good ones."""
    assert Tally(0, 0).share == 0.0


def test_a_plan_is_told_in_words() -> None:
    """Each trigger with its value, threshold and what it waits for; each bound; what is next."""
    state = changed(
        new_examples=20,
        ratings=FELL,
        drift=MOVED,
        trained_at=NOW - timedelta(days=3),
        last_started={"growth": NOW, "rating": NOW, "schedule": NOW - timedelta(days=30)},
    )
    told = explain(decide(state, RetrainSettings(every_days=30.0), NOW))
    lines = told.splitlines()
    assert lines[0].startswith("train now, full: drift: inputs have shifted: prompts are three")
    assert "  by_hand: quiet: nobody asks for a training" in lines
    assert any(
        line.startswith("  rating: waits [18.8% of 5.0%]") and "604800 s of its cool" in line
        for line in lines
    )
    assert any(line.startswith("  evaluation: unknown [unknown of 5.0%]") for line in lines)
    assert any(line.startswith("  schedule: quiet [3.0 days of 30.0 days]") for line in lines)
    moved = "the domain has shifted: 51% of traffic are new subjects, over 50%"
    assert any(line.startswith("  domain: broken") and moved in line for line in lines)
    assert "  share: 20% is new, within 30%" in lines
    assert lines[-1] == "  5 increments may follow before the next full training"


def test_a_plan_without_examples_is_told_too() -> None:
    """There is nothing that would be next, and a cool-down is told of a trigger that is quiet."""
    empty = State(0, 0, "m", last_started={"growth": NOW})
    told = explain(decide(empty, RULES, NOW))
    assert told.startswith("do not train: no approved examples yet")
    assert "its cool-down ends at 2026-03-01 13:00 UTC" in told
    assert "next:" not in told
