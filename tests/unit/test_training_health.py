"""What the curves of a training say: each finding of the guide's tables, none without cause."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from retrain.watching.health import (
    SMALL_DATASET,
    Finding,
    Point,
    Setup,
    find_divergence,
    find_not_a_number,
    judge,
    judge_failure,
    judge_setup,
    judge_system,
    rate_range,
)

SETUP = Setup(
    trainer="sft",
    method="lora",
    learning_rate=2e-4,
    max_grad_norm=1.0,
    total_steps=40,
    train_examples=5_000,
    parameters=135_000_000,
)


def curve(losses: Iterable[float], held_out: dict[int, float] | None = None) -> list[Point]:
    """Return points with these training losses, and validation losses at these steps."""
    known = held_out or {}
    return [
        Point(step, loss=loss, validation_loss=known.get(step), learning_rate=1e-4)
        for step, loss in enumerate(losses, 1)
    ]


def kinds(points: Sequence[Point], setup: Setup = SETUP) -> list[str]:
    """Return the kinds of what is found."""
    return [finding.kind for finding in judge(points, setup)]


def the(kind: str, points: Sequence[Point], setup: Setup = SETUP) -> Finding:
    """Return the finding of this kind."""
    return next(finding for finding in judge(points, setup) if finding.kind == kind)


FALLING = [3.0 - 0.05 * step for step in range(40)]


def test_a_healthy_training_has_no_findings() -> None:
    """Both losses fall together, the gradients are calm."""
    points = [
        replace(point, grad_norm=1.0)
        for point in curve(FALLING, {10: 2.6, 20: 2.1, 30: 1.6, 40: 1.1})
    ]
    assert judge(points, SETUP) == []
    assert judge([], SETUP) == []


@pytest.mark.parametrize(
    ("point", "told"),
    [
        (Point(3, loss=math.nan), "loss is nan at step 3"),
        (Point(3, loss=1.0, validation_loss=math.inf), "validation loss is inf at step 3"),
        (Point(3, loss=1.0, grad_norm=math.nan), "gradient norm is nan at step 3"),
    ],
)
def test_what_is_not_a_number_stops_the_run(point: Point, told: str) -> None:
    """The finding names value, step and what to change."""
    found = find_not_a_number([Point(2, loss=1.0), point], SETUP)
    assert found is not None
    assert (found.severity, found.what) == ("stop", told)
    assert "lower learning_rate (0.0002)" in found.mend
    assert find_not_a_number([Point(2, loss=1.0, grad_norm=0.5)], SETUP) is None
    assert find_not_a_number([], SETUP) is None


def test_divergence_stops_the_run() -> None:
    """The loss is above where it began, and far above its lowest; the gravest comes first."""
    points = curve([3.0] * 5 + [2.0] * 5 + [2.2] * 5 + [7.0] * 5)
    found = judge(points, SETUP)[0]
    assert (found.kind, found.severity, found.at_step) == ("divergence", "stop", 20)
    assert "loss is 7.000 over the last 5 steps" in found.what


@pytest.mark.parametrize(
    "losses",
    [
        [3.0] * 5 + [0.5] * 5 + [1.6] * 5,  # up again, and still below its beginning
        [2.0] * 5 + [1.5] * 5 + [2.7] * 5,  # above its beginning, but not twice the lowest
        [0.1] * 5 + [0.05] * 5 + [0.4] * 5,  # eight times a loss of nearly nothing
        [9.0] * 5,
    ],
)
def test_an_uphill_loss_is_not_yet_divergence(losses: list[float]) -> None:
    """Each of the three conditions is needed, and something to compare with."""
    assert find_divergence(curve(losses), SETUP) is None


def test_a_loss_that_blew_up_at_once_is_divergence() -> None:
    """Already the first mean is high; worse than guessing, and rising, is lost all the same."""
    setup = replace(SETUP, vocabulary=49_152)  # guessing costs 10.8
    points = curve([3.0, 9.0, 10.0, 10.5, 10.6] + [11.5] * 5)
    assert kinds(points, setup)[0] == "divergence"
    assert find_divergence(points, SETUP) is None
    untrained = curve([11.3] * 5 + [11.4] * 5)  # a model of random weights, not rising
    assert find_divergence(untrained, setup) is None
    assert find_divergence(curve([9.0] * 5 + [10.0] * 5), setup) is None


def test_rewards_in_disguise_are_not_judged_as_losses() -> None:
    """Losses of RLOO and GRPO mean nothing by themselves; only a NaN stops them."""
    setup = replace(SETUP, trainer="grpo")
    assert kinds(curve([0.01] * 5 + [5.0] * 20), setup) == []
    assert kinds(curve([0.01, math.nan]), setup) == ["not_a_number"]


def test_exploding_gradients_are_told() -> None:
    """Ten times the usual norm over five steps, and more than what is clipped at."""
    calm = [replace(point, grad_norm=0.5) for point in curve(FALLING)]
    wild = [replace(p, grad_norm=20.0 if p.step > 30 else 0.5) for p in calm]
    found = the("gradient_explosion", wild)
    assert (found.severity, found.at_step) == ("warning", 40)
    assert "gradient norm is 20 about step 40, 0.5 before" in found.what
    small = [replace(p, grad_norm=0.9 if p.step > 30 else 0.01) for p in calm]
    assert "gradient_explosion" not in kinds(small)
    assert "gradient_explosion" not in kinds(wild[:9])


def test_overfitting_is_told() -> None:
    """Validation loss rose twice while training loss fell."""
    found = the("overfitting", curve(FALLING, {10: 2.6, 20: 2.4, 30: 2.5, 40: 2.7}))
    assert (found.severity, found.at_step) == ("warning", 40)
    assert "rose from 2.400 at step 20 to 2.700 at step 40" in found.what


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_overfitting() -> None:
    """Both went up: that is another illness; and one rise alone may be chance."""
    both = [2.0] * 20 + [2.5] * 20
    assert "overfitting" not in kinds(curve(both, {10: 2.2, 20: 2.1, 30: 2.4, 40: 2.6}))
    assert "overfitting" not in kinds(curve(FALLING, {10: 2.4, 20: 2.3, 30: 2.2, 40: 2.5}))


def test_a_gap_between_the_losses_is_a_hint() -> None:
    """More than a tenth above the training loss; not told at the first evaluation."""
    found = the("generalisation_gap", curve(FALLING, {20: 2.6, 40: 2.0}))
    assert (found.severity, found.at_step) == ("hint", 40)
    assert "generalisation_gap" not in kinds(curve(FALLING[:20], {20: 9.0}))


def test_an_evaluation_without_training_before_it_is_not_compared() -> None:
    """Two evaluations at one step, as before the first step: nothing to hold the second against."""
    points = [Point(0, validation_loss=9.0), *curve(FALLING, {20: 2.6, 40: 1.2})]
    assert "generalisation_gap" not in kinds(points)


@pytest.mark.parametrize(
    ("rate", "mend"),
    [(1e-4, "raise learning_rate (0.0001)"), (3e-4, "check the data")],
)
def test_a_plateau_is_told(rate: float, mend: str) -> None:
    """After a quarter of the steps the loss is where it began; a high rate is not raised."""
    setup = replace(SETUP, learning_rate=rate)
    found = the("plateau", curve([3.0, 3.01] * 6), setup)
    assert (found.severity, found.at_step) == ("warning", 12)
    assert mend in found.mend
    assert "plateau" not in kinds(curve([3.0] * 9), setup)
    assert "plateau" not in kinds(curve([3.0] * 10 + [3.2] * 10), setup)


def test_a_plateau_of_a_method_without_rates_asks_for_a_higher_one() -> None:
    """The guide names no range for (IA)3."""
    setup = replace(SETUP, method="ia3", learning_rate=5e-3)
    assert "raise learning_rate" in the("plateau", curve([3.0] * 12), setup).mend


def test_a_run_that_settled_early_was_too_long() -> None:
    """Nothing better came in its second half; said at the end only."""
    held_out = {10: 2.6, 20: 2.6, 30: 2.6, 40: 2.6}
    found = the("settled", curve([2.6] * 5 + [2.5] * 35, held_out))
    assert (found.severity, found.at_step, found.mend) == ("hint", 10, "fewer epochs would do")
    assert "settled" not in kinds(curve([2.6] * 5 + [2.5] * 30, held_out))
    assert "settled" not in kinds(curve(FALLING, {10: 2.6, 40: 1.2}))


def test_a_noisy_validation_loss_asks_for_more_examples() -> None:
    """It turns at every evaluation by more than a twentieth; gentle or steady ones do not."""
    noisy = {8: 2.0, 16: 2.6, 24: 1.9, 32: 2.7, 40: 1.8}
    assert "larger validation set" in the("noisy_validation", curve(FALLING, noisy)).mend
    gentle = {8: 2.0, 16: 2.01, 24: 1.99, 32: 2.01, 40: 1.98}
    steady = {8: 3.0, 16: 2.5, 24: 2.0, 32: 1.5, 40: 1.0}
    few = {8: 2.0, 16: 2.6, 24: 1.9, 32: 2.7}
    for calm in (gentle, steady, few):
        assert "noisy_validation" not in kinds(curve(FALLING, calm))


def test_a_schedule_that_is_not_the_recipes_is_told() -> None:
    """The learning rate was above what the recipe says."""
    points = [replace(point, learning_rate=5e-4) for point in curve(FALLING)]
    found = the("schedule", points)
    assert (found.severity, "is 0.0005 at step 1" in found.what) == ("warning", True)
    assert "schedule" not in kinds([Point(1, loss=1.0)])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learning_rate": 1e-5}, "below the 0.0001 to 0.0003 that are usual for lora"),
        ({"learning_rate": 3e-3}, "above the 0.0001 to 0.0003"),
        ({"train_examples": SMALL_DATASET - 1}, "with 999 examples (under 1000: 2-3 times lower)"),
        ({"method": "full"}, "above the 1e-05 to 5e-05 that are usual for full"),
        ({"parameters": 70_000_000_000}, "more than 30 billion parameters"),
    ],
)
def test_a_learning_rate_outside_the_guides_range_is_a_hint(
    changes: dict[str, object], told: str
) -> None:
    """With its reason: method, size of the data, size of the model."""
    (found,) = judge_setup(replace(SETUP, **changes))  # type: ignore[arg-type]
    assert found.severity == "hint"
    assert told in found.what


def test_what_the_guide_has_no_range_for_is_not_judged() -> None:
    """Other methods, and losses other than likelihood."""
    assert rate_range(replace(SETUP, method="prompt")) is None
    assert rate_range(replace(SETUP, trainer="dpo")) is None
    unknown = replace(SETUP, train_examples=None, parameters=None)
    assert rate_range(unknown) == (1e-4, 3e-4)
    assert judge_setup(replace(unknown, learning_rate=1.0))[0].what.endswith("usual for lora")


def test_a_long_curve_is_judged_in_milliseconds() -> None:
    """It is judged every few steps: 20,000 points took 20 ms (measured)."""
    points = [
        Point(step, loss=3.0 - 1e-4 * step, grad_norm=1.0 + step % 5, learning_rate=1e-4)
        for step in range(1, 20_001)
    ]
    started = time.process_time()
    assert judge(points, replace(SETUP, total_steps=20_000)) == []
    assert time.process_time() - started < 0.5


def test_a_run_that_ended_for_want_of_memory_says_what_to_change() -> None:
    """A GPU's error, or the kernel's kill; other failures say nothing of memory."""
    for error in ("CUDA out of memory. Tried", "killed by signal 9 (was memory short?)"):
        (found,) = judge_failure(error, 7)
        assert (found.kind, found.at_step) == ("out_of_memory", 7)
        assert "gradient_checkpointing" in found.mend
    assert judge_failure("no such file", 7) == []


def test_the_device_is_judged() -> None:
    """An idle GPU and a full memory; nothing where nothing is known."""
    assert judge_system(None, None, 0) == []
    assert judge_system(0.97, 0.5, 0) == []
    idle, full = judge_system(0.4, 0.99, 12)
    assert (idle.kind, idle.severity, idle.at_step) == ("idle_device", "hint", 12)
    assert (full.kind, full.severity) == ("memory_full", "warning")
