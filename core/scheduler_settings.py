"""The settings of the scheduler: how often each job runs, how soon another takes over."""

from __future__ import annotations

from pydantic import Field

from core.sections import Section


class SchedulerSettings(Section):
    """Jobs of the whole service, run by one leader of all that are started. Seconds."""

    take_over_every_s: float = Field(default=5.0, gt=0.0, le=20.0)  # tries of those who do not lead
    check_every_s: float = Field(default=2.0, gt=0.0)  # a leader asks whether it still leads
    threads: int = Field(default=4, ge=1)  # jobs at once; our choice: most wait for the database
    erasures_every_s: float = Field(default=5.0, gt=0.0)  # who asks for it looks at its state soon
    mlflow_every_s: float = Field(default=60.0, gt=0.0)  # people look there, nothing waits for it
    retention_every_s: float = Field(default=86_400.0, gt=0.0)  # keep_days is in days
    alerts_every_s: float = Field(default=30.0, gt=0.0)  # rules look at minutes: half of one
    deliveries_every_s: float = Field(default=5.0, gt=0.0)  # of alerts; a person is waiting
    drift_every_s: float = Field(default=300.0, gt=0.0)  # a window takes longer to fill
    plans_every_s: float = Field(default=600.0, gt=0.0)  # a training takes minutes; our choice
