"""The settings of who else is told how a training goes: MLflow, Weights & Biases.

TensorBoard's event files are always written, into the run's folder. Keys and passwords are not
settings: the job's process inherits WANDB_API_KEY and MLFLOW_TRACKING_TOKEN from the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from core.sections import Section


class TrackersSettings(Section):
    """Experiment trackers besides TensorBoard; none by default."""

    mlflow_uri: str | None = None  # https://…, or sqlite:///mlflow.db; None: no MLflow
    mlflow_experiment: str = Field(default="ratchet", min_length=1)
    wandb: Literal["off", "offline", "online"] = "off"  # offline: sent later by `wandb sync`
    wandb_project: str = Field(default="ratchet", min_length=1)
    wandb_entity: str | None = None  # team or user; None: the key's own

    @field_validator("mlflow_uri")
    @classmethod
    def _known_store(cls, uri: str | None) -> str | None:
        if uri is None or ("://" in uri and not uri.startswith("file:")):
            return uri
        raise ValueError(
            f"{uri!r} is a folder, which MLflow no longer writes: use sqlite:///mlflow.db, "
            "or a server's https://…"
        )

    def settled(self) -> TrackersSettings:
        """Return the same with a path that holds in every process: SQLite's made absolute."""
        scheme = "sqlite:///"
        if self.mlflow_uri is None or not self.mlflow_uri.startswith(scheme):
            return self
        path = Path(self.mlflow_uri.removeprefix(scheme)).resolve()
        return self.model_copy(update={"mlflow_uri": f"{scheme}{path}"})
