"""Two processes that talk by gloo train as one does, tell as one, and end as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import TrainingError
from core.launcher_settings import LaunchersSettings, LocalSettings
from retrain.launchers.local import LocalLauncher
from retrain.parallel.plan import ALONE, Parallel
from retrain.registry.servable import WEIGHTS_FILE
from retrain.runs.cancelling import Cancellation
from retrain.runs.checkpoints import newest_complete
from retrain.runs.progress import TrainProgress, read_all
from retrain.runs.runner import cancel_run, resume_run, train_adapter
from retrain.runs.spec import ADAPTER_FOLDER, CHECKPOINT_FOLDER
from tests.preference_world import job, make_dataset, quick_recipe
from tests.training_world import Workshop, assert_same, tiny_workshop, weights

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def alone(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a dataset, where one process trains."""
    with tiny_workshop(base_model, tmp_path_factory.mktemp("workshop"), 32) as opened:
        yield opened


@pytest.fixture(scope="module")
def pair(alone: Workshop) -> Workshop:
    """Give the same, where two train."""
    places = LaunchersSettings(local=LocalSettings(processes=2))
    return replace(alone, settings=alone.settings.model_copy(update={"launchers": places}))


def test_two_processes_end_with_the_weights_of_one_even_after_a_break(
    alone: Workshop, pair: Workshop
) -> None:
    """Eight steps of the same effective batch; the pair is cancelled once and resumed."""
    recipe = alone.recipe(
        "eight", rank=4, learning_rate=0.01, epochs=2, save_every_steps=2, eval_every_steps=2
    )
    one: list[TrainProgress] = []
    expected = alone.train(alone.request(recipe=recipe), one)
    before, two = pair.runs(), list[TrainProgress]()

    def cancel_soon(told: TrainProgress) -> None:
        two.append(told)
        if told.phase == "train" and told.step == 5 and told.loss is not None:
            (run_id,) = pair.runs() - before
            cancel_run(pair.store, run_id, Cancellation("ann"))

    request = pair.request(recipe=recipe)
    with pytest.raises(TrainingError, match="was cancelled"):
        train_adapter(pair.store, pair.settings, request, progress=cancel_soon)
    (run_id,) = pair.runs() - before
    newest = newest_complete(Path(pair.run(run_id).folder) / CHECKPOINT_FOLDER)
    assert newest is not None
    adapter = resume_run(pair.store, pair.settings, run_id, progress=two.append)
    assert [told.resumed_from for told in two if told.resumed_from] == [newest[1]]
    assert losses(two) == pytest.approx(losses(one), rel=1e-3)
    assert weights(adapter) == pytest.approx(weights(expected), abs=2e-3)
    assert [told.phase for told in read_all(Path(pair.run(run_id).folder))].count("done") == 1


@pytest.mark.parametrize("name", ["dpo-lora", "reward-lora"])
def test_pairs_teach_two_processes_what_they_teach_one(
    alone: Workshop, tmp_path: Path, name: str
) -> None:
    """An adapter by DPO, whose reference each of them has, and a reward model."""
    dataset = make_dataset(tmp_path / "desk--d1")
    recipe = quick_recipe(name, {"epochs": 1, "batch_size": 4, "gradient_accumulation": 2})
    found: list[Path] = []
    for plan in (ALONE, Parallel(2)):
        folder = tmp_path / str(plan.processes)
        folder.mkdir()
        spec = job(alone.settings.engine.model, dataset, recipe, evaluated=False, parallel=plan)
        spec.write(folder)
        LocalLauncher().run(folder, lambda _: None, lambda: False)
        found.append(folder / ADAPTER_FOLDER / WEIGHTS_FILE)
    one, two = found
    assert_same(two, one)


def test_an_error_of_any_process_ends_the_run_with_its_words(pair: Workshop) -> None:
    """Not with those of torch's launcher."""
    recipe = pair.recipe("short", rank=4, max_length=16)
    with pytest.raises(TrainingError, match=r"rank [01]: training_failed: .*raise max_length"):
        pair.train(pair.request(recipe=recipe))


def test_batches_that_two_cannot_share_are_refused_before_there_is_a_run(pair: Workshop) -> None:
    """With the values and the mend."""
    before = pair.runs()
    recipe = pair.recipe("odd", batch_size=5, gradient_accumulation=3)
    with pytest.raises(TrainingError, match=r"batch_size 5 can be shared by 2 processes"):
        pair.train(pair.request(recipe=recipe))
    assert pair.runs() == before


def losses(told: list[TrainProgress]) -> list[float]:
    """Return the last told loss of each step, in order."""
    found = {one.step: one.loss for one in told if one.loss is not None}
    return [found[step] for step in sorted(found)]
