"""A run of Weights & Biases: sent at once, or written to the run's folder and sent later.

Settings become the run's config, numbers its history. `offline` needs no key and no network:
`wandb sync RUN_FOLDER/wandb/offline-run-*` sends it. Code, console and git state are not sent.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from core.errors import SettingsError
from core.tracking_settings import TrackersSettings
from retrain.watching.trackers.tracker import Subject

STEP = "step"  # the axis of all metrics; W&B's own counter cannot go back after a crash
WAIT_S = 30  # for the server's answer at the beginning


class WandbTracker:
    """Keeps one run in Weights & Biases."""

    name = "wandb"

    def __init__(self, subject: Subject, settings: TrackersSettings) -> None:
        try:
            wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise SettingsError(
                f"retrain.trackers.wandb is {settings.wandb!r}, and wandb is not installed: "
                "`pip install ratchet-llm[tracking]`, or set it to off"
            ) from error
        quiet = wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            x_disable_stats=True,  # ours are logged
            init_timeout=WAIT_S,
        )
        self._run: Any = wandb.init(
            project=settings.wandb_project,
            entity=settings.wandb_entity,
            id=subject.run_id,
            name=subject.run_id,
            dir=str(subject.folder),
            mode=settings.wandb,
            resume="allow",
            config=dict(subject.settings),
            settings=quiet,
        )
        self._run.define_metric("*", step_metric=STEP)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Hand on the numbers of a step; they are sent in the background."""
        self._run.log({STEP: step, **values})

    def finish(self, *, ok: bool) -> None:
        """Wait until all is sent or written."""
        self._run.finish(exit_code=0 if ok else 1)
