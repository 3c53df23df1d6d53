"""Hosted fine-tuning by the real OpenAI and Azure OpenAI clients, against a stand-in owner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from core.errors import DataError, SettingsError, TrainingError
from core.launcher_settings import HostedSettings
from retrain.launchers.hosted import HostedModel, open_hosted
from retrain.recipe import load_recipe
from retrain.runs.progress import TrainProgress
from tests.fakes.tuner import JOB, KEY, Tuner, running_tuner

pytest.importorskip("openai")


@pytest.fixture
def tuner() -> Iterator[Tuner]:
    with running_tuner() as owner:
        yield owner


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "desk--d1"
    folder.mkdir()
    write(folder, train=12, validation=2)
    return folder


def write(folder: Path, **splits: int) -> None:
    """Write so many conversations into each split."""
    for split, count in splits.items():
        rows = [
            {
                "messages": [
                    {"role": "user", "content": f"{split} question {number}"},
                    {"role": "assistant", "content": "Answer."},
                ]
            }
            for number in range(count)
        ]
        schema = pa.schema(
            [("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))]
        )
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"{split}.parquet")


def settings(tuner: Tuner, **changes: object) -> HostedSettings:
    values = {"base_url": f"{tuner.url}/v1", "api_key": SecretStr(KEY), "poll_s": 0.01}
    return HostedSettings.model_validate(values | changes)


def train(
    chosen: HostedSettings, dataset: Path, told: list[TrainProgress], *, stopped: bool = False
) -> HostedModel:
    said: list[str] = []
    training = open_hosted(chosen, said.append)
    return training.train(
        dataset, load_recipe("sft-lora"), name="desk--d1", tell=told.append, stopped=lambda: stopped
    )


def test_a_dataset_becomes_a_tuned_model(tuner: Tuner, dataset: Path) -> None:
    """Conversations go out as JSON lines, the recipe's values as hyperparameters."""
    told: list[TrainProgress] = []
    made = train(settings(tuner), dataset, told)
    assert made == HostedModel("ft:gpt-4o-mini-2024-07-18:acme:desk--d1", JOB, 1234)
    lines = tuner.files["train.jsonl"].splitlines()
    assert len(lines) == 12
    assert json.loads(lines[0])["messages"][0]["content"] == "train question 0"
    assert len(tuner.files["validation.jsonl"].splitlines()) == 2
    assert tuner.job["method"]["supervised"]["hyperparameters"] == {"n_epochs": 5, "batch_size": 8}
    assert [(one.step, one.total_steps, one.loss) for one in told] == [(3, 6, 0.7)]


def test_azure_is_asked_by_its_own_client(tuner: Tuner, dataset: Path) -> None:
    """Another address, another key header, the same job."""
    azure = settings(tuner, base_url=None, azure_endpoint=tuner.url)
    assert train(azure, dataset, []).job == JOB
    assert all(path.startswith("/openai/") for path in tuner.paths)


def test_a_failed_job_tells_the_owners_reason(tuner: Tuner, dataset: Path) -> None:
    """As the owner says it."""
    tuner.course, tuner.error = ["running", "failed"], "the file has a bad line"
    with pytest.raises(TrainingError, match="failed: the file has a bad line"):
        train(settings(tuner), dataset, [])


def test_a_stop_cancels_the_job_there(tuner: Tuner, dataset: Path) -> None:
    """It would cost money otherwise."""
    tuner.course = ["running"]
    with pytest.raises(TrainingError, match="was cancelled"):
        train(settings(tuner), dataset, [], stopped=True)
    assert tuner.cancelled


def test_too_few_examples_are_told_before_anything_is_sent(tuner: Tuner, tmp_path: Path) -> None:
    """The owner would refuse them."""
    write(tmp_path, train=3, validation=0)
    with pytest.raises(DataError, match="has 3 examples"):
        train(settings(tuner), tmp_path, [])
    assert tuner.files == {}


def test_a_missing_key_is_told(monkeypatch: pytest.MonkeyPatch, tuner: Tuner) -> None:
    """By the setting's name."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"launchers\.hosted"):
        open_hosted(settings(tuner, api_key=None))
