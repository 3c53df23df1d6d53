"""A training as a job of a managed cloud: the specification that its own tools submit.

A run and the settings go in; a file that `aws`, `az` or `gcloud` takes comes out, built and checked
with the cloud's official SDK, without asking the cloud. Each begins the same process as everywhere
(`python -m retrain.runs.job FOLDER`), on a copy of the run's folder in the cloud's storage, writes
checkpoints there, and so goes on after a spot machine was taken away. What comes back is taken in
by `ratchet runs collect`.

Source: the fine-tuning guide, "Cloud Platforms". No cloud was here to run on: the files were
validated by the SDKs' own schemas alone.
"""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from core.errors import SettingsError
from core.launcher_settings import (
    AzureMLSettings,
    LaunchersSettings,
    SageMakerSettings,
    VertexSettings,
)
from retrain.parallel.plan import ALONE, Parallel
from retrain.parallel.starting import module_arguments

Cloud = Literal["sagemaker", "azureml", "vertex"]

DAY_S = 86_400
SPOT_WAIT = 2  # times its own duration a spot job may take with its interruptions. Our choice


@dataclass(frozen=True, slots=True)
class Specification:
    """A job as a cloud's own tool takes it."""

    cloud: Cloud
    file: str  # its name
    text: str
    submit: str  # the command, with the file's name


def specify(
    cloud: Cloud,
    run_id: str,
    settings: LaunchersSettings,
    *,
    max_s: int = DAY_S,
    parallel: Parallel = ALONE,
) -> Specification:
    """Return the job for a run whose folder lies at `runs/RUN_ID` in the cloud's storage.

    `max_s` is how long it may take, in seconds; `parallel` is the run's own, of its `job.json`:
    how many processes the machine starts, and how they share the work.

    Raises: SettingsError for what the SDK finds wrong, or when it is not installed.
    """
    job = ["python", *module_arguments(parallel)]
    makers: dict[Cloud, Callable[[], Specification]] = {
        "sagemaker": lambda: _sagemaker(run_id, settings.sagemaker, job, max_s),
        "azureml": lambda: _azureml(run_id, settings.azureml, job, max_s),
        "vertex": lambda: _vertex(run_id, settings.vertex, job, max_s),
    }
    return makers[cloud]()


def _sagemaker(
    run_id: str, settings: SageMakerSettings, job: list[str], max_s: int
) -> Specification:
    _require("launchers.sagemaker", role=settings.role, image=settings.image)
    _require("launchers.sagemaker", bucket=settings.bucket)
    place = f"{settings.bucket.rstrip('/')}/runs/{run_id}"
    folder = "/opt/ml/checkpoints"  # kept in step with S3 while the job runs, and given back to it
    stopping: dict[str, int] = {"MaxRuntimeInSeconds": max_s}
    if settings.spot:
        stopping["MaxWaitTimeInSeconds"] = SPOT_WAIT * max_s
    request = {
        "TrainingJobName": f"ratchet-{run_id}"[:63],
        "RoleArn": settings.role,
        "AlgorithmSpecification": {
            "TrainingImage": settings.image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": job,
            "ContainerArguments": [folder],
        },
        "CheckpointConfig": {"S3Uri": place, "LocalPath": folder},
        "OutputDataConfig": {"S3OutputPath": f"{place}/output"},
        "ResourceConfig": {
            "InstanceType": settings.instance,
            "InstanceCount": settings.instances,
            "VolumeSizeInGB": settings.volume_gb,
        },
        "StoppingCondition": stopping,
        "EnableManagedSpotTraining": settings.spot,
        "Environment": {"HF_HUB_OFFLINE": "1"},
        "Tags": [{"Key": "ratchet-run", "Value": run_id}],
    }
    session = _sdk("botocore.session", "sagemaker", "boto3").get_session()
    shape = session.get_service_model("sagemaker").operation_model("CreateTrainingJob").input_shape
    report = (
        _sdk("botocore.validate", "sagemaker", "boto3").ParamValidator().validate(request, shape)
    )
    if report.has_errors():
        raise SettingsError(f"launchers.sagemaker: {report.generate_report()}")
    return Specification(
        "sagemaker",
        "sagemaker-job.json",
        json.dumps(request, indent=2) + "\n",
        "aws sagemaker create-training-job --cli-input-json file://sagemaker-job.json",
    )


def _azureml(run_id: str, settings: AzureMLSettings, start: list[str], max_s: int) -> Specification:
    _require("launchers.azureml", environment=settings.environment, compute=settings.compute)
    ml = _sdk("azure.ai.ml", "azureml", "azure-ai-ml")
    place = f"azureml://datastores/{settings.datastore}/paths/ratchet/runs/{run_id}"
    job = {
        "type": "command",
        "name": f"ratchet-{run_id}",
        "experiment_name": settings.experiment,
        "display_name": f"Ratchet run {run_id}",
        "command": f"{shlex.join(start)} ${{{{outputs.run}}}}",
        # read and written in place: what it holds before is what the job is asked for
        "outputs": {"run": {"type": "uri_folder", "path": place, "mode": "rw_mount"}},
        "environment": settings.environment,
        "compute": settings.compute,
        "resources": {"instance_count": settings.instances},
        "environment_variables": {"HF_HUB_OFFLINE": "1"},
        "limits": {"timeout": max_s},
    }
    text = json.dumps(job, indent=2) + "\n"  # JSON is YAML, too
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "azureml-job.yml"
        path.write_text(text)
        try:
            ml.load_job(path)  # the SDK builds the job, by the schema of Azure's command line
        except Exception as error:  # its validation has no public root of its own
            raise SettingsError(f"launchers.azureml: {_one_line(error)}") from error
    return Specification("azureml", path.name, text, f"az ml job create --file {path.name}")


def _vertex(run_id: str, settings: VertexSettings, job: list[str], max_s: int) -> Specification:
    _require("launchers.vertex", image=settings.image, bucket=settings.bucket)
    if not settings.bucket.startswith("gs://"):
        raise SettingsError(
            f"launchers.vertex.bucket is {settings.bucket!r}: write it as gs://NAME/FOLDER"
        )
    types = _sdk("google.cloud.aiplatform_v1.types", "vertex", "google-cloud-aiplatform")
    folder = f"/gcs/{settings.bucket.removeprefix('gs://').rstrip('/')}/runs/{run_id}"
    machine: dict[str, Any] = {"machine_type": settings.machine}
    if settings.accelerators:
        machine |= {
            "accelerator_type": settings.accelerator,
            "accelerator_count": settings.accelerators,
        }
    spec = {
        "worker_pool_specs": [
            {
                "machine_spec": machine,
                "replica_count": 1,
                "container_spec": {
                    "image_uri": settings.image,
                    "command": job,
                    "args": [folder],
                    "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
                },
            }
        ],
        "scheduling": {
            "timeout": {"seconds": max_s},
            "restart_job_on_worker_restart": True,
            "strategy": "SPOT" if settings.spot else "ON_DEMAND",
        },
    }
    try:
        checked = types.CustomJobSpec(spec)
    except KeyError as error:  # of an enumeration
        raise SettingsError(f"launchers.vertex: the SDK knows no {error.args[0]!r}") from error
    except (ValueError, TypeError) as error:
        raise SettingsError(f"launchers.vertex: {_one_line(error)}") from error
    text = types.CustomJobSpec.to_json(
        checked, including_default_value_fields=False, use_integers_for_enums=False
    )
    name = f"ratchet-{run_id}"
    submit = f"gcloud ai custom-jobs create --display-name {name} --config vertex-job.json"
    return Specification("vertex", "vertex-job.json", text + "\n", submit)


def _require(section: str, **values: str) -> None:
    for name, value in values.items():
        if not value:
            raise SettingsError(f"{section}.{name} is not set: the job cannot be described")


def _sdk(module: str, cloud: Cloud, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise SettingsError(
            f"a job for {cloud} is built by its SDK, {package}: `pip install ratchet-llm[clouds]` "
            f"({error})"
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
