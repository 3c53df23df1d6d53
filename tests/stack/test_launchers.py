"""Jobs at other places, as far as they can be here: SLURM's stand-ins and a real Ray of one node.

The job's process is the real one, on a tiny model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from core.errors import StateError, TrainingError
from core.launcher_settings import RayLaunchSettings, SlurmSettings
from retrain.launchers.bundle import INPUTS, pack, unpack
from retrain.launchers.ray import RayLauncher
from retrain.launchers.slurm import SlurmLauncher, batch_script
from retrain.parallel.plan import Parallel
from retrain.recipe import load_recipe
from retrain.runs.progress import TrainProgress
from retrain.runs.spec import ADAPTER_FOLDER, JobResult, JobSpec
from tests.fakes.slurm import write_commands
from tests.training_world import Workshop, plain, tiny_workshop

pytestmark = [pytest.mark.stack, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def workshop(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Give a workshop with the tiny model and a dataset."""
    with tiny_workshop(base_model, tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


def write_job(workshop: Workshop, run_id: str, epochs: int = 1) -> Path:
    """Write the folder of a run that trains the tiny model for so long; return it."""
    folder = workshop.settings.folder("runs") / run_id
    folder.mkdir()
    recipe = load_recipe(workshop.recipe(run_id, rank=4, learning_rate=0.01, epochs=epochs))
    workshop.job(run_id=run_id, recipe=plain(recipe.for_mode("full")), threads=2).write(folder)
    return folder


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlurmLauncher:
    """Give a launcher whose commands start processes here."""
    commands = write_commands(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    settings = SlurmSettings(python=sys.executable, lines=(f"export PYTHONPATH={ROOT}",))
    return SlurmLauncher(settings, poll_s=0.2)


def test_a_packed_run_trains_elsewhere_and_comes_back(
    workshop: Workshop, slurm: SlurmLauncher, tmp_path: Path
) -> None:
    """A folder that needs nothing of this machine's is trained by a batch job and taken over."""
    folder = write_job(workshop, "packed")
    sent = pack(folder, tmp_path / "sent", tell=lambda _: None)
    assert JobSpec.read(sent).base_model == str(sent / INPUTS / "base_model")
    with pytest.raises(StateError, match="holds no result"):
        unpack(sent, folder)
    told: list[TrainProgress] = []
    slurm.run(sent, told.append, lambda: False)
    assert max(one.step for one in told if one.phase == "train") == 5
    result = unpack(sent, folder)
    assert asdict(result) == asdict(known(JobResult.read(folder)))
    assert (folder / ADAPTER_FOLDER / "adapter_model.safetensors").is_file()
    assert not (folder / INPUTS).exists()
    other = write_job(workshop, "other")
    with pytest.raises(StateError, match="folder of run packed, not of other"):
        unpack(sent, other)


def test_a_failed_batch_job_tells_what_the_log_says(
    workshop: Workshop, slurm: SlurmLauncher
) -> None:
    """A job that left the queue without a result has failed."""
    folder = workshop.settings.folder("runs") / "broken"
    folder.mkdir()
    with pytest.raises(TrainingError, match=r"(?s)without a result.*job\.json is not a job"):
        slurm.run(folder, nobody, lambda: False)


def test_a_cancelled_batch_job_ends(workshop: Workshop, slurm: SlurmLauncher) -> None:
    """Its process is gone when the launcher returns, or soon after."""
    folder = write_job(workshop, "endless", epochs=500)
    told: list[TrainProgress] = []
    with pytest.raises(TrainingError, match="was cancelled"):
        slurm.run(folder, told.append, lambda: bool(told))
    assert told
    assert JobResult.read(folder) is None


def test_the_batch_script_asks_for_what_the_settings_say() -> None:
    """Nothing is asked for that is not set."""
    script = batch_script(
        Path("/data/runs/one two"),
        SlurmSettings(partition="gpu", gres="", lines=("module load cuda",)),
    )
    assert "#SBATCH --partition=gpu\n" in script
    assert "--gres" not in script
    assert "--account" not in script
    assert script.index("module load cuda") < script.index("exec python -m retrain.runs.job")
    assert "'/data/runs/one two'" in script
    several = batch_script(Path("/data/runs/one"), SlurmSettings(), Parallel(2, "zero2"))
    assert "exec python -m torch.distributed.run --standalone" in several


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayLauncher]:
    """Give a launcher on a Ray of one node."""
    ray = pytest.importorskip("ray") if not os.environ.get("CI") else __import__("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        yield RayLauncher(RayLaunchSettings(gpus=0), poll_s=0.2)
    finally:
        ray.shutdown()


def test_a_ray_task_trains_until_it_is_cancelled(workshop: Workshop, cluster: RayLauncher) -> None:
    """Progress comes from the node; the job ends, and keeps its checkpoints."""
    folder = write_job(workshop, "on-ray", epochs=500)
    told: list[TrainProgress] = []
    with pytest.raises(TrainingError, match="was cancelled"):
        cluster.run(folder, told.append, lambda: any(one.step for one in told))
    assert any(one.phase == "train" for one in told)


def test_a_failed_ray_task_tells_code_and_log(workshop: Workshop, cluster: RayLauncher) -> None:
    """As anywhere else."""
    folder = workshop.settings.folder("runs") / "ray-broken"
    folder.mkdir()
    with pytest.raises(TrainingError, match=r"(?s)exit code 2.*job\.json is not a job"):
        cluster.run(folder, nobody, lambda: False)


def known(result: JobResult | None) -> JobResult:
    """Return the result, which there is."""
    assert result is not None
    return result


def nobody(_: TrainProgress) -> None:
    """Hear nothing."""
