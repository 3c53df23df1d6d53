"""The curve of a run that told its steps, once or in several attempts."""

from __future__ import annotations

from retrain.runs.progress import TrainProgress
from retrain.watching.curve import findings_of, points_of
from retrain.watching.health import Finding


def step(number: int, loss: float) -> TrainProgress:
    """Return what is told after a step."""
    return TrainProgress("train", step=number, loss=loss, validation_loss=9.9, learning_rate=1e-4)


def evaluation(number: int, loss: float) -> TrainProgress:
    """Return what is told after an evaluation."""
    return TrainProgress("train", step=number, validation_loss=loss)


def test_an_evaluation_joins_its_step() -> None:
    """The validation loss that later steps repeat is not taken for a new one."""
    told = [TrainProgress("train"), step(1, 3.0), step(2, 2.5), evaluation(2, 2.8), step(3, 2.4)]
    points = points_of([*told, TrainProgress("evaluate", step=5, total_steps=8)])
    assert [(p.step, p.loss, p.validation_loss) for p in points] == [
        (1, 3.0, None),
        (2, 2.5, 2.8),
        (3, 2.4, None),
    ]
    assert points[0].learning_rate == 1e-4


def test_steps_after_the_checkpoint_count_as_they_came_the_second_time() -> None:
    """Killed after step 3, gone on from step 2: step 3 is the new one."""
    first = [TrainProgress("train"), step(1, 3.0), step(2, 2.5), step(3, 2.4), step(4, 2.3)]
    again = [TrainProgress("train", step=2, resumed_from=2), step(3, 7.0)]
    points = points_of([*first, TrainProgress("train"), *again])
    assert [(p.step, p.loss) for p in points] == [(1, 3.0), (2, 2.5), (3, 7.0)]


def test_an_attempt_without_a_checkpoint_begins_anew() -> None:
    """Nothing of the first attempt stays."""
    told = [
        TrainProgress("train"),
        step(1, 3.0),
        step(2, 2.0),
        TrainProgress("train"),
        step(1, 4.0),
    ]
    assert [(p.step, p.loss) for p in points_of(told)] == [(1, 4.0)]


def test_findings_are_kept_apart_from_points() -> None:
    """One of each kind: the last."""
    one = Finding("plateau", "warning", 10, "flat", "raise it", "guide")
    told = [
        TrainProgress("train"),
        step(1, 3.0),
        TrainProgress("train", step=0, finding=one),
        TrainProgress("train", step=1, finding=Finding("plateau", "warning", 20, "", "", "")),
    ]
    assert [finding.at_step for finding in findings_of(told)] == [20]
    assert len(points_of(told)) == 1
