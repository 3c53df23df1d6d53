"""Learning from pairs, labels and rewards, with the real trainers on a tiny model.

What is to be learnt is simple, so that the tiny model learns it within seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import DataError
from core.settings import EngineSettings
from retrain.registry.servable import check_servable
from retrain.runs.job import run_job
from retrain.runs.spec import ADAPTER_FOLDER, JobResult
from tests.preference_world import job, make_dataset, quick_recipe, quiet
from tests.training_world import make_tiny_model

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def model(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the tiny model."""
    return make_tiny_model(base_model, tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a version with demonstrations, pairs and labels."""
    return make_dataset(tmp_path_factory.mktemp("data") / "desk--d1")


def train(
    model: Path, dataset: Path, folder: Path, name: str, table: Any = None, **values: Any
) -> JobResult:
    """Run the job of a shipped recipe in this process and return what it came to."""
    recipe = quick_recipe(name, values, table)
    reporter = quiet(folder)
    job(model, dataset, recipe).write(folder)
    return run_job(reporter)


@pytest.mark.parametrize("name", ["dpo-lora", "kto-lora"])
def test_preferences_raise_the_margin_of_good_answers(
    model: Path, dataset: Path, tmp_path: Path, name: str
) -> None:
    """What was wanted gains on what was not, and the adapter can be served."""
    result = train(model, dataset, tmp_path, name, epochs=4)
    measures = result.outcome.measures
    assert measures["rewards/margins"] > measures["rewards/margins_start"] + 0.1
    engine = EngineSettings(model=model)
    assert check_servable(tmp_path / ADAPTER_FOLDER, engine).rank == 4


def test_a_reward_model_prefers_what_people_preferred(
    model: Path, dataset: Path, tmp_path: Path
) -> None:
    """On pairs that it has not seen, far more often than a coin; RLOO is then paid by it."""
    reward = tmp_path / "reward"
    result = train(model, dataset, reward, "reward-lora", epochs=4)
    assert result.evaluations["test"].candidate.task_score > 0.9
    assert result.evaluations["test"].live.task_score == 0.5


PAID_FOR_LENGTH: dict[str, Any] = {
    "length_chars": (1, 20),
    "length_weight": 1.0,
    "generations": 8,
    "max_new_tokens": 8,
    "mask_truncated": False,
}
TINY: dict[str, Any] = {"batch_size": 16, "max_length": 96, "learning_rate": 0.02}


def test_grpo_raises_the_reward(model: Path, dataset: Path, tmp_path: Path) -> None:
    """Answers become as long as they are paid for."""
    result = train(model, dataset, tmp_path, "grpo-lora", PAID_FOR_LENGTH, epochs=4, **TINY)
    measures = result.outcome.measures
    assert measures["reward"] > measures["reward_start"]


def test_rloo_trains_by_rewards(model: Path, dataset: Path, tmp_path: Path) -> None:
    """Rewards are shares, and what comes out can be served."""
    result = train(model, dataset, tmp_path, "rloo-lora", PAID_FOR_LENGTH, epochs=1, **TINY)
    assert 0.0 < result.outcome.measures["reward"] < 1.0
    assert check_servable(tmp_path / ADAPTER_FOLDER, EngineSettings(model=model)).rank == 4


@pytest.mark.parametrize(("name", "kind"), [("dpo-lora", "pairs"), ("kto-lora", "labels")])
def test_a_version_without_such_data_is_told_before_any_compute(
    model: Path, tmp_path: Path, name: str, kind: str
) -> None:
    """By the file that is missing."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=kind):
        train(model, tmp_path / "empty", tmp_path / "run", name)
