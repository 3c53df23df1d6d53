"""Progress lines between the job and its runner, and how long each phase took."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from retrain.runs.progress import FILE, Reporter, TrainProgress, parse_line


def test_line_comes_back_as_it_was() -> None:
    """What the job tells is what the runner hears."""
    progress = TrainProgress("train", step=3, total_steps=10, loss=1.5, tokens_per_s=200.0)
    assert parse_line(progress.line() + "\n") == progress


@pytest.mark.parametrize("line", ["", "Loading weights: 100%", '{"phase": "lunch"}', "[1, 2]", "{"])
def test_other_lines_are_not_progress(line: str) -> None:
    """What a library may print does not disturb the runner."""
    assert parse_line(line) is None


def test_progress_is_told_and_kept(tmp_path: Path) -> None:
    """Each line goes to the runner and to a file that outlives both processes."""
    output = io.StringIO()
    reporter = Reporter(output, tmp_path)
    with reporter.phase("load"):
        reporter.tell(TrainProgress("load", step=1))
    assert output.getvalue() == (tmp_path / FILE).read_text()
    assert [parse_line(line) for line in output.getvalue().splitlines()] == [
        TrainProgress("load"),
        TrainProgress("load", step=1),
    ]
    assert reporter.seconds["load"] > 0.0
