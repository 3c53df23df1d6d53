"""A training as a Ray task: one worker that sees the run's folder on a shared file system.

A run's folder goes in; a task with the asked-for devices starts the job's process on some node,
and hands back how it ended. When the worker dies, the job's output has no reader any more and it
ends too; when a run is cancelled, a file in the folder tells the worker to end it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import SettingsError
from core.launcher_settings import RayLaunchSettings
from retrain.launchers.following import Stopped, Tell, follow
from retrain.parallel.starting import module_arguments
from retrain.runs.spec import LOG_FILE, parallel_of

STOP_FILE = "stop"
LOOK_EVERY_S = 0.5
SOURCE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class RayLauncher:
    """Runs jobs on a Ray cluster."""

    settings: RayLaunchSettings
    poll_s: float = 2.0
    name: str = "ray"

    def run(self, folder: Path, tell: Tell, stopped: Stopped) -> None:
        """Run the job of `folder` on the cluster and return when it has ended.

        Raises: TrainingError; SettingsError without Ray or its cluster.
        """
        ray = _connected(self.settings)
        (folder / STOP_FILE).unlink(missing_ok=True)
        work = ray.remote(num_gpus=self.settings.gpus, num_cpus=self.settings.cpus, max_retries=0)(
            run_here
        )
        follow(
            folder,
            _Task(ray, work.remote(str(folder)), folder),
            tell,
            stopped,
            every_s=self.poll_s,
        )


def run_here(folder: str) -> int:
    """Run the job of `folder` on this node and return its exit code; runs in a Ray worker."""
    stop = Path(folder) / STOP_FILE
    environment = os.environ | {"PYTHONPATH": str(SOURCE_ROOT), "HF_HUB_OFFLINE": "1"}
    starting = module_arguments(parallel_of(Path(folder)))
    command = [sys.executable, *starting, folder]
    with (
        (Path(folder) / LOG_FILE).open("a") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as process,
    ):
        output = process.stdout
        assert output is not None
        os.set_blocking(output.fileno(), False)
        while process.poll() is None:
            output.read()  # told in the folder, too; a full pipe would halt the job
            if stop.exists():
                process.send_signal(signal.SIGTERM)
            time.sleep(LOOK_EVERY_S)
        return process.returncode


@dataclass
class _Task:
    ray: Any
    reference: Any
    folder: Path
    _seen: str | None = field(default=None, init=False)

    def ended(self) -> str | None:
        """Return None while it waits or runs, then how it ended."""
        if self._seen is None:
            done, _ = self.ray.wait([self.reference], timeout=0)
            if done:
                self._seen = self._how()
        return self._seen

    def cancel(self) -> None:
        """Tell the worker to end the job; a task that has not begun is taken back."""
        (self.folder / STOP_FILE).touch()
        self.ray.cancel(self.reference, force=False)

    def _how(self) -> str:
        try:
            code = self.ray.get(self.reference)
        except self.ray.exceptions.RayError as error:
            return " ".join(str(error).split())[:500]
        return "" if code == 0 else f"exit code {code}"


def _connected(settings: RayLaunchSettings) -> Any:
    """Return Ray, connected to its cluster."""
    try:
        import ray
    except ImportError as error:
        raise SettingsError(
            "the launcher ray needs Ray: `pip install ratchet-llm[ray]`, or choose another launcher"
        ) from error
    if not ray.is_initialized():
        try:
            ray.init(address=settings.address, log_to_driver=False)
        except ConnectionError as error:
            raise SettingsError(
                f"launchers.ray.address is {settings.address!r}, where no Ray cluster answers "
                f"({error}): start one, or set it to `local`"
            ) from error
    return ray
