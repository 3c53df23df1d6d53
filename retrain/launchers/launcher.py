"""Where a run's process lives: one protocol for this machine, a cluster, or somebody else's.

A run's folder with `job.json` goes in; it is trained somewhere, progress is told, and `result.json`
lies in the folder at the end. Knows nothing of tables: the runner registers what came of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from retrain.launchers.following import Stopped, Tell


class Launcher(Protocol):
    """Somebody who runs jobs."""

    @property
    def name(self) -> str:
        """What the settings and the run's row call it."""
        ...

    def run(self, folder: Path, tell: Tell, stopped: Stopped) -> None:
        """Run the job of `folder` to its end, telling its progress; `stopped` asks to cancel it.

        A run that was broken off goes on from its newest checkpoint.

        Raises: TrainingError when it failed or was cancelled; SettingsError when it cannot begin.
        """
        ...
