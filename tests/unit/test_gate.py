"""The offline gate: what passes, what is stopped, whom it asks, and that it gives every reason."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from core.gate_settings import GateSettings
from retrain.gate.suite import Suite, SuiteScores
from retrain.gate.verdict import (
    MIN_EXAMPLES,
    MIN_TIMED,
    Answering,
    Evaluated,
    Evaluation,
    GateVerdict,
    decide,
    quantile,
)

RULES = GateSettings(max_drop=0.02, max_loss_ratio=1.05)
LIVE = Evaluation(loss=1.0, task_score=0.50, examples=64, exact_match=0.1)
GOOD = Evaluation(0.4, 0.8, 64)


def judged(
    candidate: Evaluation = GOOD, live: Evaluation = LIVE, *suites: SuiteScores
) -> GateVerdict:
    """Return the verdict on one test set, and suites."""
    named = {scores.suite.name: scores for scores in suites}
    return decide(Evaluated({"test": (candidate, live)}, named), RULES)


def scores(candidate: list[float], other: list[float] | None = None, **rules: Any) -> SuiteScores:
    """Return a suite's scores; its limits are those of the settings unless given."""
    values: dict[str, Any] = {"max_drop": 0.02, "max_doubt": 0.1} | rules
    suite = Suite("asked in tests", "examples", "token_f1", name="quiz", **values)
    keys = tuple(str(number) for number in range(len(candidate)))
    return SuiteScores(suite, keys, tuple(candidate), tuple(other or ()))


def test_better_candidate_passes() -> None:
    """Lower loss and higher score pass, and the reason holds the numbers of both."""
    verdict = judged()
    assert verdict.passed
    assert "0.400" in verdict.reasons[0]
    assert "0.800" in verdict.reasons[0]


def test_slightly_worse_candidate_passes_within_tolerance() -> None:
    """On both thresholds exactly the candidate still passes."""
    assert judged(Evaluation(1.05, 0.48, 64)).passed


@pytest.mark.parametrize(
    ("candidate", "told"),
    [
        (Evaluation(1.06, 0.50, 64), "held-out loss 1.060 is over 1.050"),
        (Evaluation(0.50, 0.47, 64), "task score 0.470 is under 0.480"),
        (Evaluation(math.nan, 0.50, 64), "not every number is finite"),
        (Evaluation(0.50, math.inf, 64), "not every number is finite"),
        (Evaluation(0.50, 0.90, MIN_EXAMPLES - 1), "only 4 held-out examples"),
    ],
)
def test_failing_rule_is_named(candidate: Evaluation, told: str) -> None:
    """Each rule alone stops a candidate and says by how much."""
    verdict = judged(candidate)
    assert verdict.decision == "fail"
    assert len(verdict.reasons) == 1
    assert told in verdict.reasons[0]


def test_all_failed_rules_are_named_together() -> None:
    """An operator sees every fault at once, not only the first."""
    assert len(judged(Evaluation(2.0, 0.1, 64)).reasons) == 2


def test_unusable_live_numbers_fail() -> None:
    """Nothing is better than NaN."""
    assert not judged(GOOD, replace(LIVE, loss=math.nan)).passed


def test_verdict_is_plain_json() -> None:
    """The registry stores the verdict in a JSON column, without NaN."""
    verdict = judged(Evaluation(math.nan, 0.5, 64), LIVE, scores([1.0] * 6))
    stored = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
    assert stored["decision"] == "fail"
    assert stored["numbers"]["test"]["candidate"]["loss"] is None
    assert stored["numbers"]["test"]["live"]["task_score"] == 0.5
    assert stored["suites"]["quiz"]["candidate"] == 1.0
    assert stored["suites"]["quiz"]["live"] is None


def test_every_set_must_pass() -> None:
    """Data that vouch only for themselves do not get past the older test questions."""
    better, worse = Evaluation(0.2, 0.9, 10), Evaluation(3.0, 0.1, 10)
    sets = {"test": (better, LIVE), "regression": (worse, LIVE)}
    verdict = decide(Evaluated(sets), RULES)
    assert not verdict.passed
    assert all(reason.startswith("regression: ") for reason in verdict.reasons)
    assert set(verdict.numbers) == {"test", "regression"}


def test_nothing_evaluated_fails() -> None:
    """No evidence is no pass."""
    verdict = decide(Evaluated({}), RULES)
    assert verdict.decision == "fail"
    assert "no test split" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("candidate", "other", "decision", "told"),
    [
        ([0.9] * 20, [0.5] * 20, "pass", "difference +0.400"),
        ([0.1] * 20, [0.9] * 20, "fail", "shown to be more than 0.02 worse"),
        ([0.9] * 19 + [0.0], [0.9] * 20, "needs a person", "which so few questions do not show"),
        (
            [0.0] * 5 + [1.0] * 5,
            [1.0] * 5 + [0.0] * 5,
            "needs a person",
            "a drop of 0.1 is not ruled out",
        ),
        ([0.0] * 4, [1.0] * 4, "pass", "only 4 questions"),
    ],
)
def test_suite_has_three_ends(
    candidate: list[float], other: list[float], decision: str, told: str
) -> None:
    """Shown worse fails, shown good enough passes, and what cannot be told goes to a person."""
    verdict = judged(GOOD, LIVE, scores(candidate, other))
    assert verdict.decision == decision
    about = verdict.suites["quiz"]
    assert told in about["reason"]
    if decision != "pass":
        assert any(told in reason for reason in verdict.reasons)


@pytest.mark.parametrize(("worst", "decision"), [("needs a person", 1), ("report", 0), ("fail", 2)])
def test_a_suite_says_what_its_failure_means(worst: str, decision: int) -> None:
    """The same drop stops the adapter, asks a person, or is only told."""
    verdict = judged(GOOD, LIVE, scores([0.0] * 9, [1.0] * 9, worst=worst))
    assert verdict.decision == ("pass", "needs a person", "fail")[decision]
    assert "shown to be" in verdict.suites["quiz"]["reason"]


def test_retention_is_a_share_of_the_base_models_score() -> None:
    """At least 98 % of what the base model knew: 0.55 of 0.56 is enough, a tenth less is not."""
    rules = {"max_drop": None, "min_kept": 0.98, "max_doubt": None, "against": "base"}
    base = [1.0] * 60 + [0.0] * 40
    kept = judged(GOOD, LIVE, scores([1.0] * 59 + [0.0] * 41, base, **rules))
    assert kept.passed
    assert kept.suites["quiz"]["kept"] == pytest.approx(59 / 60)
    lost = judged(GOOD, LIVE, scores([1.0] * 40 + [0.0] * 60, base, **rules))
    assert lost.decision == "fail"
    assert "base 0.600" in lost.reasons[0]


@pytest.mark.parametrize(("score", "decision"), [(0.9, "pass"), (0.8, "fail")])
def test_floor_of_a_suite(score: float, decision: str) -> None:
    """A suite may ask for a score of its own, whatever the other model has."""
    alone = scores([score] * 8, against="none", min_score=0.85)
    verdict = judged(GOOD, LIVE, alone)
    assert verdict.decision == decision
    assert "0.85" in verdict.suites["quiz"]["reason"]


def test_suite_that_was_not_asked_says_why() -> None:
    """It neither passes nor fails anything, and is shown."""
    silent = SuiteScores(scores([]).suite, skipped="0 flagged answers")
    verdict = judged(GOOD, LIVE, silent)
    assert verdict.passed
    assert verdict.suites["quiz"]["skipped"] == "0 flagged answers"
    assert not any("quiz" in reason for reason in verdict.reasons)


def test_suite_of_a_set_replaces_its_rule_on_the_score() -> None:
    """The test set's score is judged with its interval, where there are scores by question."""
    lower = Evaluation(0.4, 0.47, 64)
    asked = scores([0.47] * 9 + [0.6], [0.5] * 10)
    named = SuiteScores(
        Suite("", "test", "token_f1", name="test", max_drop=0.02, max_doubt=0.1),
        asked.keys,
        asked.candidate,
        asked.other,
    )
    assert judged(lower).decision == "fail"
    assert judged(lower, LIVE, named).decision == "pass"


def answering(p95_s: float, answers: int = MIN_TIMED) -> Answering:
    """Return what answering took."""
    return Answering(answers, 10 * answers, 60.0, p95_s / 2, p95_s)


@pytest.mark.parametrize(
    ("took", "decision"),
    [
        ({"candidate": answering(1.0), "live": answering(1.0)}, "pass"),
        ({"candidate": answering(2.1), "live": answering(1.0)}, "needs a person"),
        ({"candidate": answering(2.1, 3), "live": answering(1.0)}, "pass"),
        ({"candidate": answering(2.1)}, "pass"),
    ],
)
def test_slow_answers_ask_a_person(took: Mapping[str, Answering], decision: str) -> None:
    """A rule on latency compares the candidate's answers with the live adapter's."""
    rules = GateSettings(max_latency_ratio=2.0)
    verdict = decide(Evaluated({"test": (GOOD, LIVE)}, {}, took), rules)
    assert verdict.decision == decision


@settings(max_examples=20)  # each draws 20,000 samples
@given(
    some.lists(some.tuples(some.floats(0, 1), some.floats(0, 1)), min_size=5, max_size=40),
    some.floats(0.0, 0.3),
)
def test_what_is_everywhere_at_least_as_good_never_fails(
    pairs: list[tuple[float, float]], gain: float
) -> None:
    """Raising every score above the other's passes, whatever the scores are."""
    other = [score for score, _ in pairs]
    better = [max(a, b) + gain for a, b in pairs]
    assert judged(GOOD, LIVE, scores(better, other)).passed


def test_quantile_of_nothing_is_no_number() -> None:
    """A model that was asked nothing has no latency."""
    assert math.isnan(quantile([], 0.5))
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
