"""The offline gate: what it lets pass, what it stops, and that it gives every reason."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from core.settings import RetrainSettings
from retrain.gate.verdict import MIN_EXAMPLES, Evaluation, decide, decide_all

RULES = RetrainSettings(gate_min_gain=-0.02, gate_max_loss_ratio=1.05)
LIVE = Evaluation(loss=1.0, task_score=0.50, examples=64, exact_match=0.1)


def test_better_candidate_passes() -> None:
    """Lower loss and higher score pass, and the reason holds the numbers of both."""
    verdict = decide(Evaluation(0.4, 0.8, 64), LIVE, RULES)
    assert verdict.passed
    assert "0.400" in verdict.reasons[0]
    assert "0.800" in verdict.reasons[0]


def test_slightly_worse_candidate_passes_within_tolerance() -> None:
    """On both thresholds exactly the candidate still passes."""
    assert decide(Evaluation(1.05, 0.48, 64), LIVE, RULES).passed


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
    verdict = decide(candidate, LIVE, RULES)
    assert verdict.decision == "fail"
    assert len(verdict.reasons) == 1
    assert told in verdict.reasons[0]


def test_all_failed_rules_are_named_together() -> None:
    """An operator sees every fault at once, not only the first."""
    assert len(decide(Evaluation(2.0, 0.1, 64), LIVE, RULES).reasons) == 2


def test_unusable_live_numbers_fail() -> None:
    """Nothing is better than NaN."""
    live = replace(LIVE, loss=math.nan)
    assert not decide(Evaluation(0.4, 0.8, 64), live, RULES).passed


def test_verdict_is_plain_json() -> None:
    """The registry stores the verdict in a JSON column, without NaN."""
    verdict = decide(Evaluation(math.nan, 0.5, 64), LIVE, RULES)
    stored = json.loads(json.dumps(verdict.as_dict(), allow_nan=False))
    assert stored["decision"] == "fail"
    assert stored["numbers"]["candidate"]["loss"] is None
    assert stored["numbers"]["live"]["task_score"] == 0.5


def test_every_set_must_pass() -> None:
    """Data that vouch only for themselves do not get past the older test questions."""
    better, worse = Evaluation(0.2, 0.9, 10), Evaluation(3.0, 0.1, 10)
    verdict = decide_all({"test": (better, LIVE), "regression": (worse, LIVE)}, RULES)
    assert not verdict.passed
    assert all(reason.startswith("regression: ") for reason in verdict.reasons)
    assert set(verdict.numbers) == {"test", "regression"}


def test_all_sets_passing_pass() -> None:
    """With every set passed the reasons tell of each of them."""
    better = Evaluation(0.2, 0.9, 10)
    verdict = decide_all({"test": (better, LIVE), "regression": (better, LIVE)}, RULES)
    assert verdict.passed
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["test", "regression"]


def test_nothing_evaluated_fails() -> None:
    """Without held-out examples nobody knows, and the gate stays shut."""
    assert not decide_all({}, RULES).passed
