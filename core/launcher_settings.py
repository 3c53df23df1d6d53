"""The settings of the places where a training's process can run, besides this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from core.sections import Positive, Section

# How the processes of one training share the work, and who starts them: see retrain/parallel.
Strategy = Literal["ddp", "zero1", "zero2", "zero3", "fsdp"]
Starter = Literal["torchrun", "accelerate"]


class LocalSettings(Section):
    """A process of this machine, or several that share the work."""

    processes: Positive = 1  # one per GPU; on CPU more are slower, and only of use for tests


class KubernetesJobSettings(Section):
    """A Job per run; `data_dir` must be on a volume that the pods mount at the same path."""

    image: str = "ratchet-train"  # of deploy/; has the extra `train`
    namespace: str = "ratchet"
    url: str = "https://kubernetes.default.svc"  # what every pod can reach
    account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    claim: str = "ratchet-data"  # a PersistentVolumeClaim that several pods may write
    service_account: str | None = None
    gpus: int = Field(default=1, ge=0)  # of the pod, one process for each
    gpu_resource: str = "nvidia.com/gpu"
    memory: str = "32Gi"
    cpu: str = "4"
    node_selector: dict[str, str] = Field(default_factory=dict[str, str])
    restarts: int = Field(default=3, ge=0)  # of a pod that died: it goes on from its checkpoint
    keep_s: int = Field(default=86_400, ge=0)  # a finished Job stays so long to be looked at


class SlurmSettings(Section):
    """A batch job per run; `data_dir` and the environment must be on a file system of all nodes."""

    partition: str | None = None
    account: str | None = None
    gres: str = "gpu:1"  # empty: none
    processes: Positive = 1  # as many as gres has GPUs
    cpus: Positive = 4
    memory: str = "32G"
    time_limit: str = "1-00:00:00"  # days-hours:minutes:seconds
    python: str = "python"  # on the nodes
    lines: tuple[str, ...] = ()  # put before the command: module load, source …/activate


class RayLaunchSettings(Section):
    """A task per run on a Ray cluster; `data_dir` must be on a file system of all nodes."""

    address: str = "auto"  # of the cluster; `local` starts one here
    gpus: float = Field(default=1.0, ge=0.0)  # of the task, one process for each
    cpus: float = Field(default=1.0, gt=0.0)


class SageMakerSettings(Section):
    """What a SageMaker training job is asked for. Source: the guide, "AWS SageMaker"."""

    role: str = ""  # the ARN of the role that the job takes on
    image: str = ""  # in ECR, of deploy/
    bucket: str = ""  # s3://…, where runs are sent to and results come from
    instance: str = "ml.g5.2xlarge"  # guide: ml.g5 for 7B with LoRA
    instances: Positive = 1
    volume_gb: Positive = 200
    spot: bool = True  # guide, "Compute Optimization": up to 90 % cheaper; checkpoints make it safe


class AzureMLSettings(Section):
    """What an Azure ML command job is asked for. Source: the guide, "Azure Machine Learning"."""

    compute: str = "gpu-cluster"
    environment: str = ""  # azureml:NAME:VERSION, or an image
    datastore: str = "workspaceblobstore"
    experiment: str = "ratchet"
    instances: Positive = 1


class VertexSettings(Section):
    """What a Vertex AI custom job is asked for. Source: the guide, "Google Cloud Vertex AI"."""

    image: str = ""  # in Artifact Registry, of deploy/
    bucket: str = ""  # gs://…, which the container sees below /gcs
    machine: str = "n1-standard-8"
    accelerator: str = "NVIDIA_TESLA_T4"
    accelerators: int = Field(default=1, ge=0)
    spot: bool = True


class HostedSettings(Section):
    """Fine-tuning that a model's owner sells: OpenAI's API, or Azure OpenAI's."""

    model: str = "gpt-4o-mini-2024-07-18"
    base_url: str | None = None  # None: OpenAI's own
    azure_endpoint: str | None = None  # https://NAME.openai.azure.com: then Azure's client is used
    azure_api_version: str = "2024-10-21"
    api_key: SecretStr | None = None  # None: OPENAI_API_KEY or AZURE_OPENAI_API_KEY
    poll_s: float = Field(default=20.0, gt=0.0)


class LaunchersSettings(Section):
    """Where trainings can run."""

    local: LocalSettings = LocalSettings()
    kubernetes: KubernetesJobSettings = KubernetesJobSettings()
    slurm: SlurmSettings = SlurmSettings()
    ray: RayLaunchSettings = RayLaunchSettings()
    sagemaker: SageMakerSettings = SageMakerSettings()
    azureml: AzureMLSettings = AzureMLSettings()
    vertex: VertexSettings = VertexSettings()
    hosted: HostedSettings = HostedSettings()
    strategy: Strategy = "ddp"  # of several processes: what is held in parts, not copied
    offload: bool = False  # with zero1 to zero3: the parts wait in the host's memory, slower
    starter: Starter = "torchrun"  # of several processes; accelerate starts the same
    poll_s: float = Field(default=2.0, gt=0.0)  # between two looks at a job elsewhere
