"""The curve of a run: what it told, as one point per step.

`progress.jsonl` goes in. A run that was broken off told some steps twice: those after the
checkpoint that it went on from count as they came the second time. Knows nothing of what is drawn
or judged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from retrain.runs.progress import TrainProgress
from retrain.watching.health import Finding, Point


def points_of(told: Iterable[TrainProgress]) -> list[Point]:
    """Return one point per step that was told, in order."""
    kept: dict[int, Point] = {}
    earlier: dict[int, Point] = {}
    for progress in told:
        if progress.phase != "train":
            continue
        if progress.resumed_from is not None:
            kept = {step: point for step, point in earlier.items() if step <= progress.step}
        elif progress.step == 0 and progress.finding is None:  # training begins, once more or anew
            earlier, kept = kept, {}
        elif progress.finding is None:
            kept[progress.step] = _with(kept.get(progress.step), progress)
    return [kept[step] for step in sorted(kept)]


def findings_of(told: Iterable[TrainProgress]) -> list[Finding]:
    """Return what a run found wrong with itself: the last finding of each kind."""
    by_kind = {told.finding.kind: told.finding for told in told if told.finding is not None}
    return list(by_kind.values())


def is_evaluation(progress: TrainProgress) -> bool:
    """Return whether this was told of a new validation loss; later steps only repeat it."""
    return progress.loss is None and progress.validation_loss is not None


def _with(point: Point | None, progress: TrainProgress) -> Point:
    """Return the point of a step with what is new in `progress`."""
    known = point or Point(progress.step)
    if is_evaluation(progress):
        return replace(known, validation_loss=progress.validation_loss)
    return replace(
        known,
        loss=progress.loss,
        grad_norm=progress.grad_norm,
        learning_rate=progress.learning_rate,
    )
