"""A disk without room under a training: it fails in words, keeps a whole checkpoint, and goes on.

`/dev/full` in the place of a file gives the system's own error without any right to mount; where
mounting is allowed the disk itself is small, and everything on it fails at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import TrainingError
from feedback.tables import Adapter
from retrain.runs.checkpoints import newest_complete
from retrain.runs.full_disk import RESERVE_FILE
from retrain.runs.progress import FILE, TrainProgress, read_all
from retrain.runs.runner import resume_run, train_adapter
from retrain.runs.spec import CHECKPOINT_FOLDER
from tests.small_disk import small_disk
from tests.training_world import Workshop, tiny_workshop, weights

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]

DISK_BYTES = 400 << 20  # the look before a run wants 200 MB beside what it will write
LEFT_BYTES = 200 << 10  # less than a checkpoint, more than the lines of progress before it


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a dataset."""
    with tiny_workshop(base_model, tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


@pytest.fixture(scope="module")
def quick(workshop: Workshop) -> str:
    """Give a recipe of twenty steps with a checkpoint after every four."""
    return workshop.recipe(
        "quick", rank=4, learning_rate=0.01, epochs=4, save_every_steps=4, eval_every_steps=4
    )


@pytest.fixture(scope="module")
def undisturbed(workshop: Workshop, quick: str) -> Adapter:
    """Give the adapter of a training on a disk with room."""
    return workshop.train(workshop.request(recipe=quick))


def at_step(step: int, act: Callable[[], object]) -> Callable[[TrainProgress], None]:
    """Return a listener that acts when the training has told that step."""

    def listen(told: TrainProgress) -> None:
        if told.phase == "train" and told.step == step and told.loss is not None:
            act()

    return listen


def newest_run(workshop: Workshop) -> Path:
    """Return the folder of the run that began last: ids grow with time."""
    return workshop.settings.folder("runs") / max(workshop.runs())


def last_step(folder: Path) -> int:
    """Return the step of the newest whole checkpoint."""
    newest = newest_complete(folder / CHECKPOINT_FOLDER)
    assert newest is not None
    return newest[1]


def test_a_full_disk_ends_a_run_and_with_room_it_goes_on(
    workshop: Workshop, quick: str, undisturbed: Adapter
) -> None:
    """First a checkpoint cannot be written, then a line of progress; the result is the same."""

    def fill_checkpoint() -> None:
        folder = newest_run(workshop) / CHECKPOINT_FOLDER / "checkpoint-8"
        folder.mkdir()
        (folder / "optimizer.pt").symlink_to("/dev/full")

    with pytest.raises(TrainingError) as failed:
        train_adapter(
            workshop.store,
            workshop.settings,
            workshop.request(recipe=quick),
            progress=at_step(5, fill_checkpoint),
        )
    folder = newest_run(workshop)
    run = workshop.run(folder.name)
    told = str(failed.value)
    assert "the disk is full: checkpoints/checkpoint-8/" in told  # the file that was written last
    assert f"{folder} has " in told
    assert "lower keep_checkpoints in the recipe, or set data_dir to a larger disk" in told
    assert run.status == "failed"
    assert run.error == told
    assert last_step(folder) == 4
    assert not (folder / CHECKPOINT_FOLDER / "checkpoint-8").exists()
    assert not (folder / RESERVE_FILE).exists()

    progress, kept = folder / FILE, folder / "kept"

    def fill_progress() -> None:
        progress.rename(kept)
        progress.symlink_to("/dev/full")

    with pytest.raises(TrainingError, match=r"the disk is full: .* could not be written whole"):
        resume_run(
            workshop.store, workshop.settings, folder.name, progress=at_step(10, fill_progress)
        )
    assert workshop.run(folder.name).status == "failed"
    assert last_step(folder) == 8
    progress.unlink()
    kept.rename(progress)

    adapter = resume_run(workshop.store, workshop.settings, folder.name)
    assert workshop.run(folder.name).status == "finished"
    assert [one.resumed_from for one in read_all(folder) if one.resumed_from] == [4, 8]
    assert weights(adapter) == weights(undisturbed)


def test_a_small_disk_is_filled_and_emptied(
    workshop: Workshop, quick: str, undisturbed: Adapter
) -> None:
    """Whatever is written to it fails; the reserve lets the run say so, and it goes on."""
    runs = workshop.settings.folder("runs")
    ballast = runs / "ballast"

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file:
            try:
                while file.write(b"\0" * (1 << 20)):
                    pass
            except OSError:
                file.truncate(ballast.stat().st_size - LEFT_BYTES)

    with small_disk(runs, DISK_BYTES):
        with pytest.raises(TrainingError, match=r"the disk is full: .* MB free and a checkpoint"):
            train_adapter(
                workshop.store,
                workshop.settings,
                workshop.request(recipe=quick),
                progress=at_step(5, fill),
            )
        ballast.unlink()
        folder = newest_run(workshop)
        assert workshop.run(folder.name).status == "failed"
        assert last_step(folder) in {4, 8, 12}  # it went on until the disk was filled
        adapter = resume_run(workshop.store, workshop.settings, folder.name)
        assert weights(adapter) == weights(undisturbed)
