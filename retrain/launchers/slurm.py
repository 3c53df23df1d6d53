"""A training as a SLURM batch job: one script that sees the run's folder on a shared file system.

A run's folder goes in; the script is submitted by `sbatch`, watched by `squeue`, cancelled by
`scancel`. Accounting (`sacct`) is not needed: a job that has left the queue ended well if its
result is in the folder. Not run on a cluster here: tested with commands that stand in for SLURM's.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from core.errors import SettingsError, TrainingError
from core.launcher_settings import SlurmSettings
from retrain.launchers.following import Stopped, Tell, follow
from retrain.parallel.plan import ALONE, Parallel
from retrain.parallel.starting import module_arguments
from retrain.runs.spec import LOG_FILE, RESULT_FILE, parallel_of

SCRIPT_FILE = "job.sbatch"
TIMEOUT_S = 60.0


def batch_script(folder: Path, settings: SlurmSettings, parallel: Parallel = ALONE) -> str:
    """Return the script that trains what the run's folder asks for. Pure."""
    options = {
        "job-name": f"ratchet-{folder.name}",
        "partition": settings.partition,
        "account": settings.account,
        "gres": settings.gres or None,
        "cpus-per-task": str(settings.cpus),
        "mem": settings.memory,
        "time": settings.time_limit,
        "output": str(folder / "slurm.log"),
        "open-mode": "append",
        "signal": "B:TERM@120",  # two minutes before its time is over
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    command = shlex.join([settings.python, *module_arguments(parallel), str(folder)])
    log = shlex.quote(str(folder / LOG_FILE))
    body = ["export HF_HUB_OFFLINE=1", *settings.lines, f"exec {command} 2>> {log}"]
    return "\n".join(["#!/bin/bash", *lines, "set -eu", *body, ""])


@dataclass(frozen=True)
class SlurmLauncher:
    """Runs jobs on a SLURM cluster."""

    settings: SlurmSettings
    poll_s: float = 2.0
    name: str = "slurm"

    def run(self, folder: Path, tell: Tell, stopped: Stopped) -> None:
        """Run the job of `folder` by SLURM and return when it has ended.

        Raises: TrainingError; SettingsError where SLURM's commands are missing.
        """
        script = folder / SCRIPT_FILE
        script.write_text(batch_script(folder, self.settings, parallel_of(folder)))
        number = _ask("sbatch", "--parsable", str(script)).split(";")[0]
        follow(folder, _Job(number, folder), tell, stopped, every_s=self.poll_s)


@dataclass(frozen=True)
class _Job:
    number: str
    folder: Path

    def ended(self) -> str | None:
        """Return None while it is in the queue, then whether it left a result."""
        listed = _ask("squeue", "--noheader", "--jobs", self.number, "--format=%T", lost_is="")
        if listed and listed.split()[0] not in ENDED:
            return None
        if (self.folder / RESULT_FILE).is_file():
            return ""
        return f"SLURM job {self.number} ended {listed or 'and left the queue'} without a result"

    def cancel(self) -> None:
        """Take it out of the queue, or end it."""
        _ask("scancel", self.number)


# Job states that squeue still lists for a while though the job is over (man squeue).
ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
    }
)


def _ask(command: str, *arguments: str, lost_is: str | None = None) -> str:
    """Return what a command of SLURM prints; `lost_is` stands for a job that it knows no more."""
    if shutil.which(command) is None:
        raise SettingsError(
            f"the launcher slurm needs {command} on the path: run Ratchet on a login node, or "
            "choose another launcher"
        )
    done = subprocess.run(
        [command, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode == 0:
        return done.stdout.strip()
    if lost_is is not None and "Invalid job id" in done.stderr:
        return lost_is
    raise TrainingError(f"{command} {' '.join(arguments)} failed: {done.stderr.strip()}")
