"""The settings of monitoring's windows: how much of traffic is looked at, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from core.sections import Positive, Section, Share


class MonitoringSettings(Section):
    """Windows of features, and the references that they are held against."""

    # hashing needs no model and knows letters; sentence knows meanings, and needs encoder_model
    encoder: Literal["hashing", "sentence"] = "hashing"
    encoder_model: Path | None = None  # folder of a sentence-transformer
    every_s: float = Field(default=300.0, gt=0.0)  # between two looks of the scheduler. Our choice
    window_interactions: Positive = 2_000  # so many new ones close a window; the newest are taken
    window_hours: float = Field(default=24.0, gt=0.0)  # or so long a time; a day has all hours
    min_rows: Positive = 50  # fewer say nothing of shares. Our choice
    sample_rows: Positive = 1_000  # of a window, whose texts are read: cost stays flat
    settle_s: float = Field(default=30.0, ge=0.0)  # until ingest has what was answered before
    reference_rows: Positive = 5_000  # of training examples, to which distances are measured
    healthy_days: float = Field(default=7.0, gt=0.0)  # the first healthy week. Our choice
    healthy_interactions: Positive = 2_000  # or so many, whichever comes first
    healthy_max_error_share: Share = 0.05  # guide, alert rules: error rate over 5 % is critical
    topics: Positive = 12  # clusters of a reference, at most. Our choice: what people can read
    keep_days: float = Field(default=90.0, gt=0.0)  # windows; at most as long as their interactions

    @model_validator(mode="after")
    def _has_its_model(self) -> Self:
        if self.encoder == "sentence" and self.encoder_model is None:
            raise ValueError(
                'encoder = "sentence" needs encoder_model, the folder of a sentence-transformer '
                'such as all-MiniLM-L6-v2; without one set encoder = "hashing"'
            )
        return self
