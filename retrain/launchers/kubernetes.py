"""A training as a Kubernetes Job: one pod that sees the run's folder on a shared volume.

A run's folder goes in; the Job is made, followed and, when asked, deleted, through the API server
with the account that every pod is given (it needs `create`, `get` and `delete` on `jobs`, API group
batch). A pod that dies is started again by Kubernetes and goes on from its checkpoint; a Job that
is there already is taken over, so that a restarted service loses none.

Source: Kubernetes API reference, Job v1. Not run on a cluster here: tested against a stand-in.
"""

from __future__ import annotations

import json
import shlex
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import SettingsError, TrainingError
from core.launcher_settings import KubernetesJobSettings
from retrain.launchers.following import Stopped, Tell, follow
from retrain.parallel.plan import ALONE, Parallel
from retrain.parallel.starting import module_arguments
from retrain.runs.spec import LOG_FILE, parallel_of

TIMEOUT_S = 30.0
ERROR_CHARS = 300
NOT_FOUND, CONFLICT = 404, 409
VOLUME = "data"


def job_name(folder: Path) -> str:
    """Return the Job's name: a DNS label, of the run's id."""
    return f"ratchet-run-{folder.name}".lower()[:63].rstrip("-")


def job_manifest(
    folder: Path, data_dir: Path, settings: KubernetesJobSettings, parallel: Parallel = ALONE
) -> dict[str, Any]:
    """Return the Job that trains what the run's folder asks for. Pure."""
    job = shlex.join(["python", *module_arguments(parallel)])
    labels = {"app.kubernetes.io/name": "ratchet-train", "ratchet/run": folder.name}
    limits = {"memory": settings.memory, "cpu": settings.cpu}
    if settings.gpus:
        limits[settings.gpu_resource] = str(settings.gpus)
    container = {
        "name": "train",
        "image": settings.image,
        # the log lies beside the run, as everywhere; `exec` hands signals on
        "command": ["sh", "-c", f'exec {job} "$0" 2>> "$0/{LOG_FILE}"'],
        "args": [str(folder)],
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}],
        "resources": {"limits": limits, "requests": dict(limits)},
        "volumeMounts": [{"name": VOLUME, "mountPath": str(data_dir)}],
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": VOLUME, "persistentVolumeClaim": {"claimName": settings.claim}}],
    }
    if settings.node_selector:
        pod["nodeSelector"] = dict(settings.node_selector)
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(folder),
            "namespace": settings.namespace,
            "labels": labels,
        },
        "spec": {
            "backoffLimit": settings.restarts,
            "ttlSecondsAfterFinished": settings.keep_s,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


@dataclass(frozen=True)
class KubernetesLauncher:
    """Runs jobs in pods."""

    settings: KubernetesJobSettings
    data_dir: Path
    poll_s: float = 2.0
    name: str = "kubernetes"

    def run(self, folder: Path, tell: Tell, stopped: Stopped) -> None:
        """Run the job of `folder` in a pod and return when it has ended.

        Raises: TrainingError; SettingsError without an account.
        """
        job = _Job(self.settings, job_name(folder))
        parallel = parallel_of(folder)
        job.begin(job_manifest(folder, self.data_dir, self.settings, parallel))
        follow(folder, job, tell, stopped, every_s=self.poll_s)


@dataclass(frozen=True)
class _Job:
    settings: KubernetesJobSettings
    name: str

    def begin(self, manifest: dict[str, Any]) -> None:
        """Make the Job; one that runs is taken over, one that has ended makes room."""
        status, _ = self._ask("POST", "", manifest)
        if status != CONFLICT:
            return
        if self.ended() is None:
            return
        self.cancel("Foreground")
        status, told = self._ask("POST", "", manifest)
        if status == CONFLICT:
            raise TrainingError(
                f"the Job {self.name} of an earlier try is still being deleted ({told}): "
                "resume the run in a minute"
            )

    def ended(self) -> str | None:
        """Return None while it runs, an empty text when it is complete, else why it failed."""
        status, found = self._ask("GET", f"/{self.name}")
        if status == NOT_FOUND:
            return f"the Job {self.name} is gone: somebody deleted it"
        for condition in found.get("status", {}).get("conditions") or []:
            if condition.get("status") == "True" and condition["type"] == "Complete":
                return ""
            if condition.get("status") == "True" and condition["type"] == "Failed":
                return f"{condition.get('reason')}: {condition.get('message')}"
        return None

    def cancel(self, propagation: str = "Background") -> None:
        """Delete the Job and its pods."""
        self._ask("DELETE", f"/{self.name}?propagationPolicy={propagation}")

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the API server's status and answer; what was not expected raises."""
        account, namespace = self.settings.account, self.settings.namespace
        try:
            token = (account / "token").read_text().strip()  # Kubernetes replaces it every hour
            trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
        except OSError as error:
            raise SettingsError(
                f"launchers.kubernetes.account is {account}, which holds no service account "
                f"({error}): run inside a cluster, or name a folder with token and ca.crt"
            ) from error
        url = f"{self.settings.url}/apis/batch/v1/namespaces/{namespace}/jobs{path}"
        request = urllib.request.Request(
            url,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trusted) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            told = error.read().decode(errors="replace")[:ERROR_CHARS]
            if error.code in (NOT_FOUND, CONFLICT):
                return error.code, {"message": told}
            raise TrainingError(
                f"the Kubernetes API answers {error.code} to {method} of {self.name}: {told}; the "
                "account needs create, get and delete on jobs (API group batch)"
            ) from error
        except OSError as error:
            raise TrainingError(f"{url} does not answer: {error}") from error
