"""Jobs for managed clouds, built and checked by their own SDKs; nothing is asked of a cloud."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import SettingsError
from core.launcher_settings import (
    AzureMLSettings,
    LaunchersSettings,
    SageMakerSettings,
    VertexSettings,
)
from retrain.launchers.managed import specify
from retrain.parallel.plan import Parallel

pytestmark = pytest.mark.filterwarnings("ignore")  # the SDKs' own

SETTINGS = LaunchersSettings(
    sagemaker=SageMakerSettings(
        role="arn:aws:iam::123456789012:role/train",
        image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/ratchet:1",
        bucket="s3://acme/ratchet/",
    ),
    azureml=AzureMLSettings(environment="azureml:ratchet:1"),
    vertex=VertexSettings(image="europe-docker.pkg.dev/acme/ratchet:1", bucket="gs://acme/ratchet"),
)


def test_sagemaker_gets_a_spot_job_that_keeps_its_checkpoints() -> None:
    """The run's folder is what SageMaker keeps in step with S3, so a taken machine costs little."""
    job = json.loads(specify("sagemaker", "run-1", SETTINGS, max_s=3600).text)
    assert job["CheckpointConfig"]["S3Uri"] == "s3://acme/ratchet/runs/run-1"
    command = job["AlgorithmSpecification"]
    assert command["ContainerEntrypoint"] == ["python", "-m", "retrain.runs.job"]
    assert command["ContainerArguments"] == [job["CheckpointConfig"]["LocalPath"]]
    assert job["EnableManagedSpotTraining"]
    assert job["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 3600,
        "MaxWaitTimeInSeconds": 7200,
    }
    steady = SETTINGS.model_copy(
        update={"sagemaker": SETTINGS.sagemaker.model_copy(update={"spot": False})}
    )
    assert "MaxWaitTimeInSeconds" not in specify("sagemaker", "run-1", steady).text


def test_a_run_of_several_processes_is_started_so_in_every_cloud() -> None:
    """By torch's launcher, which the container begins with; the folder comes last."""
    plan = Parallel(4, "zero2")
    job = json.loads(specify("sagemaker", "run-1", SETTINGS, parallel=plan).text)
    begin = job["AlgorithmSpecification"]["ContainerEntrypoint"]
    assert begin[:3] == ["python", "-m", "torch.distributed.run"]
    assert "--nproc-per-node=4" in begin
    azure = json.loads(specify("azureml", "run-1", SETTINGS, parallel=plan).text)["command"]
    assert azure.endswith("--nproc-per-node=4 -m retrain.runs.job ${{outputs.run}}")
    (pool,) = json.loads(specify("vertex", "run-1", SETTINGS, parallel=plan).text)[
        "workerPoolSpecs"
    ]
    assert pool["containerSpec"]["command"] == begin


def test_azureml_gets_a_command_job_on_its_datastore() -> None:
    """The run's folder is mounted for reading and writing, in place."""
    specification = specify("azureml", "run-1", SETTINGS)
    job = json.loads(specification.text)
    assert job["command"] == "python -m retrain.runs.job ${{outputs.run}}"
    assert job["outputs"]["run"]["path"].endswith("/paths/ratchet/runs/run-1")
    assert specification.submit == "az ml job create --file azureml-job.yml"


def test_vertex_gets_a_custom_job_with_an_accelerator() -> None:
    """The bucket is what the container sees below /gcs."""
    job = json.loads(specify("vertex", "run-1", SETTINGS).text)
    (pool,) = job["workerPoolSpecs"]
    assert pool["containerSpec"]["args"] == ["/gcs/acme/ratchet/runs/run-1"]
    assert pool["machineSpec"]["acceleratorType"] == "NVIDIA_TESLA_T4"
    assert job["scheduling"]["strategy"] == "SPOT"


@pytest.mark.parametrize(
    ("cloud", "changes", "told"),
    [
        ("sagemaker", {"role": ""}, "sagemaker.role is not set"),
        ("sagemaker", {"role": "short"}, "sagemaker: .*RoleArn"),
        ("azureml", {"environment": ""}, "azureml.environment is not set"),
        ("vertex", {"bucket": "acme"}, "write it as gs://"),
        ("vertex", {"accelerator": "TESLA_X"}, "the SDK knows no 'TESLA_X'"),
    ],
)
def test_what_the_sdk_would_refuse_is_refused_here(
    cloud: Any, changes: dict[str, str], told: str
) -> None:
    """Before anybody pays for a machine."""
    own = getattr(SETTINGS, cloud).model_copy(update=changes)
    with pytest.raises(SettingsError, match=told):
        specify(cloud, "run-1", SETTINGS.model_copy(update={cloud: own}))
