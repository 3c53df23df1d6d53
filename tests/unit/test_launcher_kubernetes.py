"""A run as a Kubernetes Job, over HTTPS against a stand-in for the API server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import SettingsError, TrainingError
from core.launcher_settings import KubernetesJobSettings
from retrain.launchers.kubernetes import KubernetesLauncher, job_manifest, job_name
from retrain.parallel.plan import Parallel
from retrain.runs.progress import TrainProgress
from tests.fakes.kubernetes_jobs import JobServer, running_jobs

FOLDER = Path("/data/runs/0198F00D-11")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[JobServer]:
    with running_jobs(tmp_path / "account") as server:
        yield server


def launcher(api: JobServer, tmp_path: Path) -> KubernetesLauncher:
    settings = KubernetesJobSettings(url=api.url, account=tmp_path / "account")
    return KubernetesLauncher(settings, Path("/data"), poll_s=0.01)


def test_the_job_sees_the_runs_folder_and_the_devices() -> None:
    """Volume at the same path, devices as limits, restarts for pods that die."""
    settings = KubernetesJobSettings(
        gpus=2, node_selector={"gpu": "a100"}, service_account="trainer", claim="shared"
    )
    job = job_manifest(FOLDER, Path("/data"), settings)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["metadata"]["name"] == "ratchet-run-0198f00d-11"
    assert container["args"] == [str(FOLDER)]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert container["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared"}
    assert (pod["nodeSelector"], pod["serviceAccountName"]) == ({"gpu": "a100"}, "trainer")
    assert (pod["restartPolicy"], job["spec"]["backoffLimit"]) == ("Never", 3)
    assert "exec python -m retrain.runs.job" in container["command"][2]
    several = str(job_manifest(FOLDER, Path("/data"), settings, Parallel(2, "zero3")))
    assert "torch.distributed.run --standalone --nnodes=1 --nproc-per-node=2" in several
    bare = job_manifest(FOLDER, Path("/data"), KubernetesJobSettings(gpus=0))
    assert "nvidia.com/gpu" not in str(bare)


def test_a_job_is_made_and_followed_to_its_end(api: JobServer, tmp_path: Path) -> None:
    """It returns when the Job is complete."""
    run(api, tmp_path, lambda name: api.end(name, "Complete"))
    assert list(api.jobs) == [job_name(tmp_path / "run-1")]


def test_a_failed_job_tells_the_clusters_reason(api: JobServer, tmp_path: Path) -> None:
    """As the condition says it."""
    with pytest.raises(TrainingError, match="BackoffLimitExceeded: it died 4 times"):
        run(
            api,
            tmp_path,
            lambda name: api.end(name, "Failed", "BackoffLimitExceeded", "it died 4 times"),
        )


def test_a_running_job_is_taken_over_and_an_ended_one_replaced(
    api: JobServer, tmp_path: Path
) -> None:
    """A service that was restarted makes no second pod; a resumed run gets a new one."""
    name = job_name(tmp_path / "run-1")
    api.jobs[name] = {"status": {}, "mark": "first"}
    run(api, tmp_path, lambda name: api.end(name, "Complete"))
    assert api.jobs[name]["mark"] == "first"
    assert api.deleted == []
    run(api, tmp_path, lambda name: api.end(name, "Complete"))
    assert api.deleted == [name]
    assert "mark" not in api.jobs[name]


def test_a_cancelled_run_deletes_its_job(api: JobServer, tmp_path: Path) -> None:
    """Nothing goes on computing for nobody."""
    folder = tmp_path / "run-1"
    folder.mkdir()
    with pytest.raises(TrainingError, match="was cancelled"):
        launcher(api, tmp_path).run(folder, _nobody, lambda: True)
    assert api.deleted == [job_name(folder)]
    with pytest.raises(TrainingError, match="somebody deleted it"):
        run(api, tmp_path, lambda name: api.jobs.pop(name))


def test_what_the_account_may_not_do_is_told(api: JobServer, tmp_path: Path) -> None:
    """With the rights that it needs; without an account, where one is looked for."""
    folder = tmp_path / "run-1"
    folder.mkdir()
    api.refuse = 403
    with pytest.raises(TrainingError, match=r"answers 403 to POST.*create, get and delete on jobs"):
        launcher(api, tmp_path).run(folder, _nobody, lambda: False)
    (tmp_path / "account" / "token").unlink()
    with pytest.raises(SettingsError, match="holds no service account"):
        launcher(api, tmp_path).run(folder, _nobody, lambda: False)


def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    """By its address."""
    with running_jobs(tmp_path / "account") as api:
        gone = launcher(api, tmp_path)
    folder = tmp_path / "run-1"
    folder.mkdir()
    with pytest.raises(TrainingError, match="does not answer"):
        gone.run(folder, _nobody, lambda: False)


def run(api: JobServer, tmp_path: Path, end: Callable[[str], object]) -> None:
    """Run a folder's job, which `end` ends at the second look."""
    folder = tmp_path / "run-1"
    folder.mkdir(exist_ok=True)
    looks = 0

    def look() -> bool:
        nonlocal looks
        looks += 1
        if looks == 2:
            end(job_name(folder))
        return False

    launcher(api, tmp_path).run(folder, _nobody, look)


def _nobody(_: TrainProgress) -> None:
    pass
