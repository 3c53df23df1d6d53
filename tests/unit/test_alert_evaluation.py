"""Rules and readings make pending, firing and resolved alerts; no data is none of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.alerts.evaluation import (
    Comparison,
    Level,
    Quiet,
    Reading,
    Rule,
    Standing,
    Step,
    is_severe_enough,
    judge,
    silenced_until,
    targets,
)

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
RULE = Rule("error_rate", "error_rate", ">", 0.05, "critical", for_s=120, min_samples=20)
BAD, GOOD = Reading(0.2, 100, "20 of 100 answers"), Reading(0.01, 100)
NONE, FEW = Reading(None, 0, "nothing in the window"), Reading(1.0, 3)


def course(readings: Sequence[Reading], rule: Rule = RULE, every_s: float = 60.0) -> list[Step]:
    """Return the steps of a rule that is looked at once a minute."""
    steps: list[Step] = []
    standing: Standing | None = None
    for number, reading in enumerate(readings):
        now = NOW + timedelta(seconds=every_s * number)
        steps.append(judge(rule, "desk", reading, standing, now))
        standing = Standing(steps[-1].after, steps[-1].since)
    return steps


def levels(readings: Sequence[Reading], rule: Rule = RULE) -> list[Level]:
    return [step.after for step in course(readings, rule)]


def test_a_rule_fires_once_it_has_held_for_its_time_and_is_resolved_at_once() -> None:
    """Pending for two minutes, then firing until the first good reading."""
    steps = course([GOOD, BAD, BAD, BAD, BAD, GOOD])
    assert [step.after for step in steps] == ["ok", "pending", "pending", "firing", "firing", "ok"]
    assert [step.has_fired for step in steps] == [False] * 3 + [True, False, False]
    assert [step.is_resolved for step in steps] == [False] * 5 + [True]
    assert steps[2].since == NOW + timedelta(seconds=60)
    assert steps[4].since == NOW + timedelta(seconds=180)
    assert steps[0].before is None


def test_a_good_reading_between_bad_ones_begins_the_time_anew() -> None:
    """The condition has to hold all the time."""
    assert levels([BAD, BAD, GOOD, BAD, BAD, BAD]) == [
        *("pending", "pending", "ok", "pending", "pending", "firing"),
    ]


def test_a_rule_without_a_time_fires_at_once() -> None:
    """There is nothing to wait for."""
    assert levels([BAD, GOOD], replace(RULE, for_s=0.0)) == ["firing", "ok"]


def test_no_data_is_not_ok() -> None:
    """Nothing begins to fire by it, what fires goes on, and what was pending begins anew."""
    assert levels([NONE, BAD, NONE, BAD, BAD, BAD, NONE, FEW, GOOD]) == [
        *("no_data", "pending", "no_data", "pending", "pending", "firing"),
        *("firing", "firing", "ok"),
    ]


def test_a_step_says_why() -> None:
    """What was measured, against what, of how much; or why there is nothing."""
    why = [step.reason for step in course([BAD, GOOD, NONE, FEW, Reading(None)])]
    assert why == [
        "error_rate is 0.2 (> 0.05): 20 of 100 answers",
        "error_rate is 0.01 (not > 0.05)",
        "no data: nothing in the window",
        "no data: 3 of the 20 samples that it needs",
        "no data",
    ]
    assert [step.value for step in course([BAD, FEW])] == [0.2, None]


@pytest.mark.parametrize(
    ("comparison", "met"),
    [
        (">", (False, False, True)),
        (">=", (False, True, True)),
        ("<", (True, False, False)),
        ("<=", (True, True, False)),
    ],
)
def test_a_rule_compares_as_it_is_written(comparison: Comparison, met: Sequence[bool]) -> None:
    """At, below and above the threshold; and it knows which value is worse."""
    rule = replace(RULE, comparison=comparison, threshold=2.0)
    assert tuple(rule.is_met_by(value) for value in (1.0, 2.0, 3.0)) == met
    assert rule.worse(1.0, 3.0) == (3.0 if met[2] else 1.0)
    assert rule.worse(None, 1.0) == 1.0
    assert rule.worse(None, None) is None


def test_each_application_and_the_service_are_targets_of_their_own() -> None:
    """A rule may name some; one of a service's metric has one target."""
    some = replace(RULE, name="some", applications=("shop", "closed"))
    service = replace(RULE, name="spool", metric="spool_share")
    found = targets([RULE, some, service], ["desk", "shop"], frozenset({"spool_share"}))
    assert [(rule.name, application) for rule, application in found] == [
        *(("error_rate", "desk"), ("error_rate", "shop"), ("some", "shop"), ("spool", "")),
    ]
    assert course([BAD])[0].fingerprint == "error_rate/desk"


def test_a_silence_covers_what_it_names_until_it_ends() -> None:
    """A rule, an application, both or everything; the last to end counts."""
    soon, late = NOW + timedelta(hours=1), NOW + timedelta(hours=2)

    def until(*silences: Quiet) -> datetime | None:
        return silenced_until(silences, "error_rate", "desk", NOW)

    assert until() is None
    assert until(Quiet("error_rate", None, soon)) == soon
    assert until(Quiet(None, "desk", soon), Quiet("error_rate", "desk", late)) == late
    assert until(Quiet(None, None, late)) == late
    assert until(Quiet("error_rate", "shop", late), Quiet("other", "desk", late)) is None
    assert until(Quiet(None, None, NOW)) is None


def test_severities_have_an_order() -> None:
    """A channel takes what is at least as severe as it wants."""
    assert is_severe_enough("critical", "info")
    assert is_severe_enough("warning", "warning")
    assert not is_severe_enough("info", "warning")


@given(st.lists(st.sampled_from([BAD, GOOD, NONE, FEW]), max_size=40))
def test_an_alert_fires_and_is_resolved_in_turn(readings: list[Reading]) -> None:
    """Whatever comes, there are never two beginnings without an end between them."""
    events = [step.has_fired for step in course(readings) if step.has_fired or step.is_resolved]
    assert events == [number % 2 == 0 for number in range(len(events))]
