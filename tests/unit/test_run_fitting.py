"""What does not fit into memory is refused before any compute, with bytes by part and the mends."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlmodel import Session

from core.errors import DataError, TrainingError
from core.settings import EngineSettings, RetrainSettings, Settings
from feedback.store import Store
from feedback.tables import DatasetVersion, Run
from retrain.parallel.plan import Parallel
from retrain.recipe import load_recipe
from retrain.runs import fitting, memory
from retrain.runs.assembly import TrainRequest
from retrain.runs.devices import held_devices
from retrain.runs.fitting import expect, require_fit, require_fit_in_job
from retrain.runs.last_speed import last_tokens_per_s
from retrain.runs.lengths import read_lengths
from retrain.runs.memory import Room, gpu_room, machine_room, room_of_answer
from retrain.runs.runner import train_adapter
from retrain.runs.spec import JobSpec
from retrain.speed import cpu_flops
from tests.training_world import GOOD, a_job, conversation
from tests.unit.test_estimate import SMOLLM2

RECIPE = load_recipe("sft-lora").for_mode("full")


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    """Give a job on a model's configuration and 40 conversations."""
    folder, model = tmp_path / "desk--d1", tmp_path / "model"
    folder.mkdir()
    model.mkdir()
    (model / "config.json").write_text(json.dumps(SMOLLM2 | {"model_type": "llama"}))
    for split, count in (("train", 40), ("validation", 5), ("test", 8)):
        rows = [{"messages": conversation(number, GOOD)} for number in range(count)]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    return a_job(model, folder)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", engine=EngineSettings(max_lora_rank=64))


def groups(folder: Path, limit: str, used: int, cached: int, *, version: int) -> tuple[Path, Path]:
    """Write a process's group with that limit, as the system shows it; return both paths."""
    proc, root = folder / "cgroup", folder / "groups"
    if version == 2:
        inner, names = root / "job", ("memory.max", "memory.current", "inactive_file")
        proc.write_text("0::/job/inner\n")
    else:
        inner = root / "memory" / "job"
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        proc.write_text("9:name=systemd:/x\n4:memory:/job/inner\n0::/\n")
    (inner / "inner").mkdir(parents=True)
    (inner / names[0]).write_text(f"{limit}\n")
    (inner / names[1]).write_text(f"{used}\n")
    (inner / "memory.stat").write_text(f"anon 1\n{names[2]} {cached}\n")
    return proc, root


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_counts_less_what_it_uses(tmp_path: Path, version: int) -> None:
    """That of a group above counts, too; files that are only cached are given back."""
    room = machine_room(*groups(tmp_path, str(10**9), 7 * 10**8, 10**8, version=version))
    assert (room.free, room.whole, room.what) == (4 * 10**8, 10**9, "this container (cgroup)")
    assert room.cpu


@pytest.mark.parametrize(("version", "limit"), [(2, "max"), (1, "9223372036854771712")])
def test_no_limit_leaves_the_machines_memory(tmp_path: Path, version: int, limit: str) -> None:
    """Also where there are no groups at all."""
    for proc, root in (
        groups(tmp_path, limit, 5, 0, version=version),
        (tmp_path / "none", tmp_path / "none"),
    ):
        room = machine_room(proc, root)
        assert room.what == "this machine"
        assert 0 < room.free < room.whole


def test_a_gpu_is_asked_by_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it tells is read; what it cannot tell is told with the driver's names."""
    assert room_of_answer("warning\nnull\n") is None
    told = room_of_answer('{"free": 7, "whole": 9, "bfloat16": true, "flops": 5.0}')
    assert told == Room(7, 9, "the GPU", cpu=False, bfloat16=True, flops=5.0)
    assert gpu_room() is None or memory.find_devices() != ("cpu",)
    monkeypatch.setattr(memory, "find_devices", lambda: ("gpu-0",))
    monkeypatch.setattr(memory, "MODULE", "retrain.runs.no_such_module")
    with pytest.raises(TrainingError, match=r"names gpu-0.*No module named.*mend the driver"):
        gpu_room()


def test_lengths_are_those_of_the_data(spec: JobSpec) -> None:
    """Without a tokenizer by four characters a token, and five tokens around each message."""
    found = read_lengths(spec, RECIPE)
    characters = [
        sum(len(message["content"]) for message in conversation(number, GOOD))
        for number in range(40)
    ]
    assert (found.rows, found.watched_rows) == (40, 5)
    assert found.mean == pytest.approx(sum(characters) / 40 / 4 + 10)
    assert found.longest == round(max(characters) / 4 + 10)
    assert 0.4 < found.answer_share < 0.6


def test_tokens_are_those_of_the_models_tokenizer(spec: JobSpec, base_model: Path) -> None:
    """Of English text, some four characters each."""
    found = read_lengths(replace(spec, base_model=str(base_model)), RECIPE)
    assert found.mean == pytest.approx(read_lengths(spec, RECIPE).mean, rel=0.3)
    assert found.mean != read_lengths(spec, RECIPE).mean


def test_a_tokenizer_that_is_none_is_told(spec: JobSpec) -> None:
    """By its file."""
    (Path(spec.base_model) / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json is not a tokenizer.*fetch the model"):
        read_lengths(spec, RECIPE)


def test_examples_that_are_too_long_do_not_count(spec: JobSpec) -> None:
    """Of those that are left out neither rows nor lengths; when all are, the limit counts."""
    found = read_lengths(spec, RECIPE.model_copy(update={"max_length": 16}))
    assert (found.rows, found.longest) == (1, 16)


def test_an_increment_learns_what_is_new(spec: JobSpec) -> None:
    """With as much replay as the recipe says."""
    recipe = load_recipe("sft-lora").for_mode("incremental")
    again = replace(spec, mode="incremental", seen_dataset=spec.dataset)
    assert read_lengths(again, recipe).rows == 40  # nothing is new: all of it
    fresh = replace(spec, mode="incremental")
    assert read_lengths(fresh, recipe).rows == 40


@contextmanager
def room(monkeypatch: pytest.MonkeyPatch, free_gb: float, whole_gb: float) -> Generator[None]:
    """Let this machine have so much memory."""
    with monkeypatch.context() as patch:
        given = Room(free_gb * 1e9, whole_gb * 1e9, "this machine")
        patch.setattr(fitting, "machine_room", lambda: given)
        patch.setattr(fitting, "gpu_room", lambda: None)
        yield


def test_what_does_not_fit_is_refused_with_bytes_and_mends(
    spec: JobSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Needed and available, by part, and changes that would fit, the mildest first."""
    large = RECIPE.model_copy(update={"batch_size": 64})
    with room(monkeypatch, 1.8, 20.0):
        expected = expect(spec, large, settings)
        assert expected is not None
        assert not expected.fits
        with pytest.raises(TrainingError) as raised:
            require_fit(expected, large)
        smaller = expect(spec, RECIPE.model_copy(update={"batch_size": 8}), settings)
    told = str(raised.value)
    assert f"needs {expected.memory_bytes / 1e9:.2f} GB of memory and 1.80 GB are available" in told
    assert "on this machine (GB by part: activations " in told
    assert "weights 0.54" in told
    assert "This would fit: batch_size = " in told
    assert told.endswith("--even-if-it-may-not-fit")
    assert "qlora" not in told
    assert smaller is not None
    require_fit(smaller, RECIPE)


def test_a_run_that_must_wait_is_judged_by_all_of_the_memory(
    spec: JobSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one holds the device, and its memory; that run ends before this one begins."""
    with room(monkeypatch, 0.1, 20.0):
        now = expect(spec, RECIPE, settings)
        held = held_devices(settings.data_dir, ("cpu",), my_turn=lambda: True, waiting=lambda: None)
        with held:
            later = expect(spec, RECIPE, settings)
        again = expect(spec, RECIPE, settings)
    assert now is not None
    assert later is not None
    assert again is not None
    assert (now.fits, later.fits, again.fits) == (False, True, False)


def test_several_processes_share_the_machine(
    spec: JobSpec, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has half of the memory and a half of each batch."""
    two = replace(spec, parallel=Parallel(2))
    divided = replace(spec, parallel=Parallel(2, "zero3"))
    with room(monkeypatch, 20.0, 24.0):
        alone, both = expect(spec, RECIPE, settings), expect(two, RECIPE, settings)
        parted = expect(divided, RECIPE, settings)
    assert alone is not None
    assert both is not None
    assert parted is not None
    assert both.available == 10e9
    assert both.parts["weights"] == alone.parts["weights"]
    assert parted.parts["weights"] == alone.parts["weights"] / 2


def test_elsewhere_the_job_itself_looks(spec: JobSpec, settings: Settings) -> None:
    """Nobody knows here what another machine has: memory is told, nothing refused, time unknown."""
    cluster = settings.model_copy(update={"retrain": RetrainSettings(launcher="slurm")})
    expected = expect(spec, RECIPE, cluster)
    assert expected is not None
    assert expected.fits
    assert (expected.available, expected.seconds) == (None, None)
    assert expected.words() == f"expected: {expected.memory_bytes / 1e9:.2f} GB of memory"
    assert set(expected.details()) == {"memory_gb", "parts_gb", "fits"}


def test_time_is_by_the_last_run_or_by_a_look(spec: JobSpec, settings: Settings) -> None:
    """The last run knows the machine better; words and details carry both numbers."""
    looked = expect(spec, RECIPE, settings)
    known = expect(spec, RECIPE, settings, 100.0)
    assert looked is not None
    assert known is not None
    learnt = known.lengths.rows * known.lengths.mean * RECIPE.epochs
    assert known.seconds == pytest.approx(learnt / 100.0, rel=0.25)  # validation comes on top
    assert known.seconds is not None
    assert known.seconds > learnt / 100.0
    assert looked.seconds is not None
    assert looked.seconds > 0
    assert " available, 0:0" in known.words()
    assert known.details()["seconds"] == pytest.approx(known.seconds, abs=0.1)
    assert known.details()["fits"]


def test_a_look_at_the_processor_is_plausible() -> None:
    """Between an old core's ten thousand million and a hundred new ones' best; the same twice."""
    assert 1e9 < cpu_flops() < 1e14
    assert cpu_flops() == cpu_flops()


def test_the_job_looks_again_where_it_trains(
    spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless nobody measured the data, or somebody knows better."""
    full = Room(0.5e9, 20e9, "the GPU", cpu=False)
    monkeypatch.setattr(fitting, "room_of_job", lambda: full)
    known = replace(spec, lengths=read_lengths(spec, RECIPE))
    with pytest.raises(TrainingError, match=r"and 0\.50 GB are available on the GPU"):
        require_fit_in_job(known, RECIPE)
    require_fit_in_job(replace(known, even_if_it_may_not_fit=True), RECIPE)
    require_fit_in_job(spec, RECIPE)


class StoppedError(Exception):
    """What ends a test before anything is trained."""


def test_a_refused_run_leaves_nothing_and_an_override_is_recorded(
    spec: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row, no folder; with the override the row and the job say that somebody wanted it."""
    settings = Settings(
        data_dir=tmp_path / "data", engine=EngineSettings(model=Path(spec.base_model))
    )
    store = Store(settings.store_address)
    store.create_tables()
    with store.session() as session:
        session.add(
            DatasetVersion(
                id="desk--d1",
                application="desk",
                path=spec.dataset,
                content_hash="0",
                train_rows=40,
                validation_rows=5,
                test_rows=8,
                new_rows=40,
            )
        )
        session.commit()
    request = TrainRequest("desk", "desk--d1", "full", None, "sft-lora", "by_hand: test", "ann")
    told: list[str] = []
    seen: list[dict[str, object]] = []

    def look(session: Session, run_id: str) -> None:
        run = session.get_one(Run, run_id)
        seen.append(run.details)
        assert JobSpec.read(Path(run.folder)).even_if_it_may_not_fit
        raise StoppedError

    with room(monkeypatch, 0.9, 20.0):
        with pytest.raises(TrainingError, match="This would fit: "):
            train_adapter(store, settings, request, on_queued=look, on_expected=told.append)
        assert (told, list(settings.folder("runs").iterdir())) == ([], [])
        forced = replace(request, even_if_it_may_not_fit=True)
        with pytest.raises(StoppedError):
            train_adapter(store, settings, forced, on_queued=look, on_expected=told.append)
    assert seen[0]["even_if_it_may_not_fit"] is True
    assert seen[0]["expected"]["fits"] is False  # type: ignore[index]
    assert told[0].startswith("expected: ")
    assert "of 0.90 available" in told[0]
    store.close()


def test_the_last_run_says_how_fast_this_machine_is(tmp_path: Path) -> None:
    """The newest finished one there that measured it."""
    store = Store(f"sqlite:///{tmp_path}/store.db")
    store.create_tables()
    rows = [
        ("r1", "finished", "local", {"tokens_per_s": 100.0}),
        ("r2", "finished", "local", {"tokens_per_s": 300.0}),
        ("r3", "finished", "local", {"tokens_per_s": None}),
        ("r4", "failed", "local", {"tokens_per_s": 900.0}),
        ("r5", "finished", "slurm", {"tokens_per_s": 700.0}),
    ]
    with store.session() as session:
        for id_, status, launcher, metrics in rows:
            session.add(
                Run(
                    id=id_,
                    application="desk",
                    dataset_id="desk--d1",
                    recipe="sft-lora",
                    mode="full",
                    reason="by_hand: test",
                    status=status,
                    folder=str(tmp_path),
                    launcher=launcher,
                    metrics=metrics,
                )
            )
            session.flush()
        assert last_tokens_per_s(session, "desk", "local") == 300.0
        assert last_tokens_per_s(session, "other", "local") is None
    store.close()
