"""What a person sees of long work: bars that end full."""

from __future__ import annotations

import io

from rich.console import Console

from loop.narration import Narrator
from retrain.runs.progress import TrainProgress
from retrain.watching.health import Finding


def test_a_finished_training_shows_a_full_bar_and_its_last_loss() -> None:
    """The last line says done, not how the last phase began."""
    told = io.StringIO()
    with Narrator(Console(file=told, width=120)).training() as progress:
        progress(TrainProgress("train", step=5, total_steps=10, loss=0.5))
        progress(TrainProgress("evaluate", step=46, total_steps=46))
        progress(TrainProgress("done"))
    last = told.getvalue().strip().splitlines()[-1]
    assert "train: done" in last
    assert "46/46" in last
    assert "loss 0.500" in last


def test_a_finished_curation_shows_a_full_bar() -> None:
    """Stages are told as they begin; the end of the last is the end of the block."""
    told = io.StringIO()
    with Narrator(Console(file=told, width=120)).curating() as progress:
        progress("write", 8, 9)
    assert "9/9" in told.getvalue().strip().splitlines()[-1]


def test_what_is_wrong_with_a_training_is_printed_above_its_bar() -> None:
    """Severity, what was seen and what to change, as plain words."""
    file = io.StringIO()
    finding = Finding("overfitting", "warning", 4, "it rose [a lot]", "fewer epochs", "guide")
    with Narrator(Console(file=file, width=100)).training() as tell:
        tell(TrainProgress("train", step=4, total_steps=8, finding=finding))
    assert "warning: it rose [a lot]: fewer epochs" in file.getvalue()
