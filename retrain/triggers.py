"""DETECT → RETRAIN: every reason to train, one by one, with its value, threshold and cool-down.

A `State`, the settings and `now` go in; nine `Considered` come out, the most urgent first. A
trigger that fires may still wait: for its cool-down, a run or rollout at work, new examples, or
after failures. What a person asks for waits for nothing. Pure: knows no tables, files or clocks.

Source: fine-tuning guide, "When to Retrain" (5 % down, distribution shift, 10-20 % new examples,
new base model) and "Scheduled vs. On-Demand"; cool-downs: DESIGN section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from core.policy_settings import DAY_S
from core.settings import RetrainSettings
from retrain.falls import Fall, fall_of
from retrain.situation import Measure, State, Trigger

# fires: may start a run · waits: would, but · watch: close · quiet: no reason · unknown: too little
# is known · off: by the settings
Verdict = Literal["fires", "waits", "watch", "quiet", "unknown", "off"]

LONGEST_BACK_OFF_S = DAY_S  # our choice: somebody has looked at the failures by then

# What a person asks for, and what an erasure demands.
_RESTLESS: frozenset[Trigger] = frozenset({"by_hand", "tainted"})


@dataclass(frozen=True, slots=True)
class Considered:
    """One trigger: what it saw, and what it comes to. Shares are 0-1."""

    trigger: Trigger
    verdict: Verdict
    told: str
    value: float | None = None
    threshold: float | None = None
    cools_until: datetime | None = None  # None: it is not cooling down
    obstacle: str | None = None  # why it waits


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a trigger sees, before cool-downs."""

    verdict: Verdict
    told: str
    value: float | None = None
    threshold: float | None = None


def consider(state: State, rules: RetrainSettings, now: datetime) -> tuple[Considered, ...]:
    """Return every trigger as it stands, the most urgent first."""
    seen: dict[Trigger, _Seen] = {
        "by_hand": _by_hand(state),
        "tainted": _tainted(state),
        "base_model": _base_model(state),
        "first": _first(state),
        "rating": _rating(state, rules),
        "evaluation": _evaluation(state, rules),
        "drift": _drift(state),
        "growth": _growth(state, rules),
        "schedule": _schedule(state, rules, now),
    }
    return tuple(_weighed(trigger, look, state, rules, now) for trigger, look in seen.items())


def _weighed(
    trigger: Trigger, seen: _Seen, state: State, rules: RetrainSettings, now: datetime
) -> Considered:
    cools_until = _cools_until(trigger, state, rules, now)
    obstacle = None
    if seen.verdict == "fires":
        obstacle = _obstacle(trigger, state, cools_until, now)
    return Considered(
        trigger,
        "waits" if obstacle else seen.verdict,
        seen.told,
        seen.value,
        seen.threshold,
        cools_until,
        obstacle,
    )


def _cools_until(
    trigger: Trigger, state: State, rules: RetrainSettings, now: datetime
) -> datetime | None:
    last = state.last_started.get(trigger)
    if trigger in _RESTLESS or last is None:
        return None
    end = last + timedelta(seconds=cooldown_s(trigger, rules))
    return end if end > now else None


def cooldown_s(trigger: Trigger, rules: RetrainSettings) -> float:
    """Return how long a trigger rests after it started a run."""
    if trigger in _RESTLESS:
        return 0.0
    own: float | None = getattr(rules.cooldowns_s, trigger)
    return rules.cooldown_s if own is None else own


def _obstacle(
    trigger: Trigger, state: State, cools_until: datetime | None, now: datetime
) -> str | None:
    """Return why a trigger that fires must wait, or None. A person's wish never waits."""
    if trigger == "by_hand":
        return None
    if state.already_trained:
        return "a run on exactly this dataset has finished; new examples are needed"
    if state.work is not None and (trigger != "tainted" or state.work.untainted):
        return state.work.told
    if cools_until is not None:
        return f"{(cools_until - now).total_seconds():.0f} s of its cool-down are left"
    again = retry_at(state)
    if again is not None and again > now:
        runs = state.failures.in_a_row if state.failures else 0
        left_s = (again - now).total_seconds()
        return f"the last runs failed ({runs} in a row); the next try is in {left_s:.0f} s"
    return None


def retry_at(state: State) -> datetime | None:
    """Return when a training may be tried again after failures: an hour later, then two, four, …

    What fails at once would else be tried for ever by a trigger that goes on firing.
    """
    if state.failures is None:
        return None
    wait_s = min(3_600.0 * 2.0 ** min(state.failures.in_a_row - 1, 30), LONGEST_BACK_OFF_S)
    return state.failures.last_at + timedelta(seconds=wait_s)


def examples_to(share: float, state: State) -> int:
    """Return how many more new examples make `share` of the dataset new."""
    if share >= 1.0:
        return max(0, state.total_examples - state.new_examples)
    missing = (share * state.total_examples - state.new_examples) / (1.0 - share)
    return max(0, -int(-missing // 1))


def _by_hand(state: State) -> _Seen:
    if state.requested_by is None:
        return _Seen("quiet", "nobody asks for a training")
    return _Seen("fires", f"asked for by {state.requested_by}")


def _tainted(state: State) -> _Seen:
    if not state.tainted:
        return _Seen("quiet", "the live adapter learnt from nobody who was erased")
    told = f"{state.live_adapter} was trained on a person who was erased"
    if not state.replaces_tainted:
        return _Seen("off", f"{told}; erasure.adapters does not ask for another one")
    return _Seen("fires", told)


def _base_model(state: State) -> _Seen:
    if not state.base_model_changed:
        return _Seen("quiet", f"the base model is {state.base_model}, as it was")
    told = f"base model is now {state.base_model}, not {state.trained_base_model}"
    return _Seen("fires", told)


def _first(state: State) -> _Seen:
    if state.live_adapter is not None:
        return _Seen("quiet", f"{state.live_adapter} is live")
    return _Seen("fires", f"no adapter is live and {state.total_examples} examples are approved")


def _rating(state: State, rules: RetrainSettings) -> _Seen:
    if state.ratings is None:
        return _Seen("unknown", state.ratings_note, threshold=rules.drop_trigger)
    return _fallen(state.ratings, rules)


def _evaluation(state: State, rules: RetrainSettings) -> _Seen:
    """Look at every metric; the one that fires tells, else the one that fell most."""
    looks = [_fallen(measure, rules) for measure in state.evaluations]
    if not looks:
        told = "the live adapter was not evaluated again since its gate"
        return _Seen("unknown", told, threshold=rules.drop_trigger)
    return max(looks, key=lambda look: (look.verdict == "fires", look.value or 0.0))


def _fallen(measure: Measure, rules: RetrainSettings) -> _Seen:
    limit = rules.drop_trigger
    fall = fall_of(measure, rules.fall_alpha)
    if fall is None:
        return _Seen("unknown", f"{measure.name}: nothing to compare with", threshold=limit)
    before, now = measure.baseline, measure.recent
    told = (
        f"{measure.name} {'fell' if fall.drop > 0 else 'rose'} {abs(fall.drop):.1%} from its "
        f"baseline ({before.share:.1%} of {before.total} → {now.share:.1%} of {now.total})"
    )
    return _judged(fall, limit, told, rules.fall_alpha)


def _judged(fall: Fall, limit: float, told: str, alpha: float) -> _Seen:
    if fall.drop <= limit:
        return _Seen("quiet", told, fall.drop, limit)
    if fall.at_least <= 0.0:
        return _Seen("watch", f"{told}, which may be chance (at {alpha:.1%})", fall.drop, limit)
    return _Seen("fires", f"{told}, over {limit:.0%}", fall.drop, limit)


def _drift(state: State) -> _Seen:
    report = state.drift
    if report is None:
        return _Seen("unknown", "no drift report on the live adapter")
    if report.severity != "act":
        verdict: Verdict = "watch" if report.severity == "watch" else "quiet"
        return _Seen(verdict, f"report {report.report_id} says {report.severity}: {report.reason}")
    if report.run_id is not None:
        return _Seen("quiet", f"run {report.run_id} answers report {report.report_id}")
    return _Seen("fires", f"inputs have shifted: {report.reason} (report {report.report_id})")


def _growth(state: State, rules: RetrainSettings) -> _Seen:
    """Fire from 20 % on, and from 10 % if they are enough for an effective batch."""
    share, must, may = state.new_share, rules.growth_must, rules.growth_trigger
    told = f"{share:.0%} new examples ({state.new_examples})"
    if share >= must:
        return _Seen("fires", f"{told}, at least {must:.0%}", share, must)
    if share < may:
        return _Seen("quiet", f"{told}, under {may:.0%}", share, may)
    least = rules.growth_min_examples
    if state.new_examples >= least:
        return _Seen("fires", f"{told}, at least {may:.0%} and {least}", share, may)
    return _Seen("watch", f"{told}: over {may:.0%}, but under {least} examples", share, may)


def _schedule(state: State, rules: RetrainSettings, now: datetime) -> _Seen:
    every = rules.every_days
    if every is None:
        return _Seen("off", "retrain.every_days is not set")
    if state.trained_at is None:
        return _Seen("unknown", "no training has ended well yet", threshold=every)
    days = (now - state.trained_at).total_seconds() / DAY_S
    told = f"{days:.1f} days since the last training, one is due every {every:g}"
    return _Seen("fires" if days >= every else "quiet", told, days, every)
