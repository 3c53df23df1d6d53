"""Runs beside each other and runs that are cancelled, with the real job process on a tiny model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import StateError, TrainingError
from feedback.tables import Adapter
from retrain.runs.cancelling import Cancellation
from retrain.runs.checkpoints import newest_complete
from retrain.runs.progress import TrainProgress
from retrain.runs.runner import cancel_run, resume_run, train_adapter
from retrain.runs.spec import CHECKPOINT_FOLDER
from tests.training_world import Workshop, tiny_workshop

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a dataset."""
    with tiny_workshop(base_model, tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


def test_a_second_run_waits_its_turn_and_both_can_be_cancelled(workshop: Workshop) -> None:
    """One device, one run: the queue is told, a cancelled one keeps its checkpoints and goes on."""
    endless = workshop.recipe(
        "endless", rank=4, learning_rate=0.01, epochs=400, save_every_steps=4, eval_every_steps=4
    )
    first, second = Training(workshop, endless), Training(workshop, endless)
    first.until(lambda: any(one.step >= 5 for one in first.told if one.phase == "train"))
    second.until(lambda: bool(second.told))
    assert (second.told[0].phase, second.status) == ("queue", "queued")
    assert first.status == "running"
    with pytest.raises(StateError, match="is running"):
        resume_run(workshop.store, workshop.settings, first.run_id)
    cancel_run(workshop.store, second.run_id, Cancellation("ann", "not needed"))
    assert "cancelled by ann: not needed" in str(second.error())
    assert second.status == "cancelled"
    cancel_run(workshop.store, first.run_id, Cancellation("ann"))
    assert "its checkpoints are kept" in str(first.error())
    assert first.status == "cancelled"
    with pytest.raises(StateError, match="is cancelled: there is nothing to cancel"):
        cancel_run(workshop.store, first.run_id, Cancellation("ann"))
    folder = Path(workshop.run(first.run_id).folder)
    newest = newest_complete(folder / CHECKPOINT_FOLDER)
    assert newest is not None
    told: list[TrainProgress] = []

    def stop_soon(progress: TrainProgress) -> None:
        told.append(progress)
        if progress.loss is not None:
            cancel_run(workshop.store, first.run_id, Cancellation("ann"))

    with pytest.raises(TrainingError, match="was cancelled"):
        resume_run(workshop.store, workshop.settings, first.run_id, progress=stop_soon)
    assert [one.resumed_from for one in told if one.resumed_from] == [newest[1]]


class Training:
    """A training in a thread of its own."""

    def __init__(self, workshop: Workshop, recipe: str) -> None:
        self.workshop = workshop
        self.told: list[TrainProgress] = []
        self._ended: Adapter | Exception | None = None
        before = workshop.runs()
        self._thread = threading.Thread(target=self._train, args=(recipe,))
        self._thread.start()
        self.until(lambda: len(workshop.runs() - before) == 1)
        (self.run_id,) = workshop.runs() - before

    @property
    def status(self) -> str:
        """What the run's row says."""
        return self.workshop.run(self.run_id).status

    def until(self, done: object, timeout_s: float = 120.0) -> None:
        """Wait until `done` says so."""
        deadline = time.monotonic() + timeout_s
        while not done():  # type: ignore[operator]
            assert time.monotonic() < deadline, f"{self.told[-1:]}, {self._ended}"
            time.sleep(0.05)

    def error(self) -> Adapter | Exception | None:
        """Return how it ended."""
        self._thread.join(60)
        return self._ended

    def _train(self, recipe: str) -> None:
        shop = self.workshop
        try:
            self._ended = train_adapter(
                shop.store, shop.settings, shop.request(recipe=recipe), progress=self.told.append
            )
        except TrainingError as error:
            self._ended = error
