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
from retrain.runs import disk, preflight
from retrain.runs.disk import checkpoint_bytes, needed_bytes, trained_numbers
from retrain.runs.preflight import check_before_run
from retrain.runs.spec import JobSpec
from tests.training_world import a_job
from tests.unit.test_estimate import SMOLLM2

ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    """Give a job with a model's configuration and an empty dataset folder."""
    for name in ("model", "desk--d1"):
        (tmp_path / name).mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(SMOLLM2))
    return a_job(tmp_path / "model", tmp_path / "desk--d1")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", engine=EngineSettings(max_lora_rank=32))


def write(spec: JobSpec, table: Any, **others: Any) -> None:
    """Write the table as every split, or another one where it is named."""
    for split in ("train", "validation", "test"):
        pq.write_table(others.get(split, table), Path(spec.dataset) / f"{split}.parquet")


def recipe(name: str = "sft-lora", **changes: object) -> Recipe:
    return load_recipe(name).for_mode("full").model_copy(update=changes)


ROWS = pa.Table.from_pylist([ROW] * 40)


def test_what_is_well_passes(spec: JobSpec, settings: Settings) -> None:
    """A dataset with conversations, a rank that is served, and room on disk and in memory."""
    write(spec, ROWS)
    expected = check_before_run(spec, recipe(), settings)
    assert expected is not None
    assert expected.fits
    assert expected.lengths.rows == 40


def test_a_dataset_without_its_file_columns_or_rows_is_told(
    spec: JobSpec, settings: Settings
) -> None:
    """By the file's name and what it has; each split that is read later is looked at now."""
    with pytest.raises(DataError, match=r"test\.parquet is missing"):
        check_before_run(spec, recipe(), settings)
    write(spec, pa.table({"text": ["Hi"]}), test=ROWS)
    with pytest.raises(DataError, match=r"no column 'messages'.*\(it has \['text'\]\)"):
        check_before_run(spec, recipe(), settings)
    write(spec, ROWS, train=ROWS.slice(0, 0))
    with pytest.raises(DataError, match=r"train\.parquet is empty: collect more ratings"):
        check_before_run(spec, recipe(), settings)
    write(spec, ROWS, test=ROWS.slice(0, 0))
    with pytest.raises(DataError, match=r"test\.parquet is empty.*raise curation\.test_share"):
        check_before_run(spec, recipe(), settings)
    write(spec, ROWS, validation=pa.table({"text": ["Hi"]}))
    with pytest.raises(DataError, match=r"validation\.parquet has no column 'messages'"):
        check_before_run(spec, recipe(), settings)


def test_a_row_that_is_no_conversation_is_told_before_any_compute(
    spec: JobSpec, settings: Settings
) -> None:
    """By its number: the trainer would find it only once the model is loaded."""
    bad = pa.Table.from_pylist([ROW, {"messages": ROW["messages"][:1]}])
    write(spec, ROWS, train=bad)
    with pytest.raises(DataError, match=r"train\.parquet, row 1: a prompt must come first"):
        check_before_run(spec, recipe(), settings)


@pytest.mark.parametrize("name", ["dpo-lora", "kto-lora", "reward-lora"])
def test_preferences_that_are_not_there_are_told_before_any_compute(
    spec: JobSpec, settings: Settings, name: str
) -> None:
    """With what they come of; then with the column that is lacking."""
    write(spec, ROWS)
    kind = "labels" if name == "kto-lora" else "pairs"
    with pytest.raises(DataError, match=rf"has no {kind} .* is missing"):
        check_before_run(spec, recipe(name), settings)
    folder = Path(spec.dataset) / kind
    folder.mkdir()
    for split in ("train", "validation"):
        pq.write_table(pa.table({"text": ["Hi"]}), folder / f"{split}.parquet")
    with pytest.raises(DataError, match=r"has no column 'prompt'"):
        check_before_run(spec, recipe(name), settings)


def test_a_rank_that_the_engine_would_refuse_is_told(spec: JobSpec, settings: Settings) -> None:
    """Before an hour of training."""
    write(spec, ROWS)
    with pytest.raises(TrainingError, match=r"rank is 64.*at most 32.*engine\.max_lora_rank"):
        check_before_run(spec, recipe(rank=64), settings)


def test_processes_that_cannot_share_the_work_are_told(spec: JobSpec, settings: Settings) -> None:
    """A strategy that was never tried with the recipe, and batches that cannot be divided."""
    write(spec, ROWS)
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
    write(spec, ROWS)
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
    write(spec, ROWS)
    monkeypatch.setattr(disk, "SPARE_BYTES", 1 << 60)
    with pytest.raises(TrainingError, match=r"GB free.*may need.*3 checkpoints of 0\.06 GB"):
        check_before_run(spec, recipe(), settings)


def test_what_a_run_writes_is_what_it_trains(spec: JobSpec) -> None:
    """SmolLM2's own LoRA of rank 16 has 4.88 million numbers: the bound is near, and above."""
    model = Path(spec.base_model)
    assert 4_884_480 <= trained_numbers(model, recipe()) < 1.3 * 4_884_480
    wanted = needed_bytes(model, recipe(keep_checkpoints=2))
    assert wanted == (3 * 12 + 2 * 4) * trained_numbers(model, recipe()) + disk.SPARE_BYTES
    without = checkpoint_bytes(model, recipe())
    (model / "tokenizer.json").write_bytes(b" " * 1_000)
    assert checkpoint_bytes(model, recipe()) == without + 1_000  # each checkpoint holds it
    assert trained_numbers(model, recipe("sft-full")) == pytest.approx(134_515_008, rel=0.01)


def test_a_model_of_unknown_shape_is_taken_to_be_large(spec: JobSpec, settings: Settings) -> None:
    """Its memory is not judged, its files are counted."""
    model = Path(spec.base_model)
    (model / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (model / "model.safetensors").write_bytes(b"\0" * 4_000)
    assert trained_numbers(model, recipe("sft-full")) == 1_000
    assert trained_numbers(model, recipe()) > 4_884_480
    write(spec, ROWS)
    assert check_before_run(spec, recipe(), settings) is None
