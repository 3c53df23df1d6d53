"""A job elsewhere is followed by what it writes, told once, and cancelled when that is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.errors import TrainingError
from retrain.launchers.following import Tail, follow
from retrain.runs import progress
from retrain.runs.progress import TrainProgress
from retrain.runs.spec import LOG_FILE


@dataclass
class Course:
    """A job that goes through given states, and writes a step at each look."""

    folder: Path
    states: list[str | None]
    cancelled: bool = False
    looks: int = field(default=0, init=False)

    def ended(self) -> str | None:
        self.looks += 1
        with (self.folder / progress.FILE).open("a") as file:
            file.write(TrainProgress("train", step=self.looks).line() + "\n")
        return self.states.pop(0)

    def cancel(self) -> None:
        self.cancelled = True


def test_progress_is_told_once_to_the_last_line(tmp_path: Path) -> None:
    """Lines of an earlier try are left out; the one that was written before the end is not."""
    (tmp_path / progress.FILE).write_text(TrainProgress("train", step=99).line() + "\n")
    told: list[TrainProgress] = []
    follow(tmp_path, Course(tmp_path, [None, None, ""]), told.append, lambda: False, every_s=0.0)
    assert [one.step for one in told] == [1, 2, 3]


def test_a_failure_tells_why_with_the_logs_last_lines(tmp_path: Path) -> None:
    """So that nobody must look for the log."""
    (tmp_path / LOG_FILE).write_text("much\n\ntraining_failed: loss is nan at step 3\n")
    with pytest.raises(TrainingError, match=r"(?s)OOMKilled.*loss is nan at step 3"):
        follow(tmp_path, Course(tmp_path, ["OOMKilled"]), _nobody, lambda: False, every_s=0.0)


def test_a_stop_cancels_the_job(tmp_path: Path) -> None:
    """And says that checkpoints are kept."""
    course = Course(tmp_path, [None, None])
    with pytest.raises(TrainingError, match="was cancelled; its checkpoints are kept"):
        follow(tmp_path, course, _nobody, lambda: course.looks == 2, every_s=0.0)
    assert course.cancelled


def test_a_half_written_line_comes_when_it_is_whole(tmp_path: Path) -> None:
    """A reader that is quicker than the writer loses nothing."""
    path = tmp_path / "lines"
    tail = Tail(path)
    assert list(tail.new()) == []
    path.write_text("one\ntw")
    assert list(tail.new()) == ["one\n"]
    path.write_text("one\ntwo\n")
    assert list(tail.new()) == ["two\n"]


def _nobody(_: TrainProgress) -> None:
    pass
