"""What would stop a run later stops it before any compute, with the value and the mend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import DataError, TrainingError
from core.settings import EngineSettings, RetrainSettings, Settings
from retrain.parallel.plan import Parallel
from retrain.recipe import Recipe, load_recipe
from retrain.runs import preflight
from retrain.runs.preflight import check_before_run, lora_weights, needed_bytes
from retrain.runs.spec import JobSpec

SMOLLM2 = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    """Give a job with a model's configuration and an empty dataset folder."""
    for name in ("model", "desk--d1"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(SMOLLM2))
    return JobSpec(
        run_id="run-1",
        mode="full",
        base_model=str(tmp_path / "model"),
        base_model_name="model",
        dataset=str(tmp_path / "desk--d1"),
        seen_dataset=None,
        live_adapter=None,
        recipe={},
        threads=1,
        gate_examples=8,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", engine=EngineSettings(max_lora_rank=32))


def write(spec: JobSpec, table: Any) -> None:
    pq.write_table(table, Path(spec.dataset) / "train.parquet")


def recipe(**changes: object) -> Recipe:
    return load_recipe("sft-lora").model_copy(update=changes)


def test_what_is_well_passes(spec: JobSpec, settings: Settings) -> None:
    """A dataset with conversations, a rank that is served, and room on the disk."""
    write(spec, pa.Table.from_pylist([ROW]))
    check_before_run(spec, recipe(), settings)


def test_a_dataset_without_its_file_columns_or_rows_is_told(
    spec: JobSpec, settings: Settings
) -> None:
    """By the file's name and what it has."""
    with pytest.raises(DataError, match=r"train\.parquet is missing"):
        check_before_run(spec, recipe(), settings)
    write(spec, pa.table({"text": ["Hi"]}))
    with pytest.raises(DataError, match=r"no column 'messages'.*\(it has \['text'\]\)"):
        check_before_run(spec, recipe(), settings)
    write(spec, pa.Table.from_pylist([ROW]).slice(0, 0))
    with pytest.raises(DataError, match="is empty: collect more ratings"):
        check_before_run(spec, recipe(), settings)


def test_a_rank_that_the_engine_would_refuse_is_told(spec: JobSpec, settings: Settings) -> None:
    """Before an hour of training."""
    write(spec, pa.Table.from_pylist([ROW]))
    with pytest.raises(TrainingError, match=r"rank is 64.*at most 32.*engine\.max_lora_rank"):
        check_before_run(spec, recipe(rank=64), settings)


def test_processes_that_cannot_share_the_work_are_told(spec: JobSpec, settings: Settings) -> None:
    """A strategy that was never tried with the recipe, and batches that cannot be divided."""
    write(spec, pa.Table.from_pylist([ROW]))
    check_before_run(replace(spec, parallel=Parallel(2, "zero2")), recipe(), settings)
    with pytest.raises(TrainingError, match=r"recipe sft-lora: launchers\.offload is true"):
        check_before_run(replace(spec, parallel=Parallel(2, offload=True)), recipe(), settings)
    with pytest.raises(TrainingError, match=r"recipe grpo-lora: trainer grpo was never tried"):
        check_before_run(
            replace(spec, parallel=Parallel(2)), load_recipe("grpo-lora").for_mode("full"), settings
        )
    odd = recipe(batch_size=5, gradient_accumulation=3)
    with pytest.raises(TrainingError, match="batch_size 5 can be shared by 2 processes"):
        check_before_run(replace(spec, parallel=Parallel(2)), odd, settings)


def test_deepspeed_that_is_not_installed_is_told(
    spec: JobSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how to install it here; another place may have it."""
    write(spec, pa.Table.from_pylist([ROW]))
    monkeypatch.setattr(preflight, "find_spec", lambda _name: None)  # pyright: ignore[reportUnknownLambdaType]
    divided = replace(spec, parallel=Parallel(2, "zero3"))
    with pytest.raises(TrainingError, match=r"strategy is zero3.*ratchet-llm\[deepspeed\]"):
        check_before_run(divided, recipe(), settings)
    elsewhere = settings.model_copy(update={"retrain": RetrainSettings(launcher="slurm")})
    check_before_run(divided, recipe(), elsewhere)


def test_a_disk_without_room_is_told(
    spec: JobSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how much is free and how much may be needed."""
    write(spec, pa.Table.from_pylist([ROW]))
    monkeypatch.setattr(preflight, "SPARE_BYTES", 1 << 60)
    with pytest.raises(TrainingError, match=r"GB free.*may need.*3 checkpoints"):
        check_before_run(spec, recipe(), settings)


def test_the_size_of_an_adapter_is_that_of_its_matrices(spec: JobSpec) -> None:
    """SmolLM2's own LoRA of rank 16 has 4.88 million numbers: the bound is near, and above."""
    assert 4_884_480 <= lora_weights(SMOLLM2, 16) < 1.3 * 4_884_480
    wanted = needed_bytes(Path(spec.base_model), recipe(keep_checkpoints=2))
    assert wanted == 3 * 12 * lora_weights(SMOLLM2, 16) + preflight.SPARE_BYTES
