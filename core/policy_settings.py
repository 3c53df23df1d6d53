"""A section of the retraining policy: how long each trigger rests after it started a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.sections import Section

DAY_S = 86_400.0

Rest = Annotated[float, Field(ge=0.0)]


class CooldownSettings(Section):
    """How long a trigger rests after it started a run; none: `retrain.cooldown_s`, seconds.

    What a person asks for, and what an erasure demands, never rests.
    """

    base_model: Rest | None = None
    first: Rest | None = None
    rating: Rest | None = 7 * DAY_S  # as rating_window_days: the same ratings start one run
    evaluation: Rest | None = DAY_S  # our choice: evaluations come with other runs' gates
    drift: Rest | None = DAY_S  # our choice: windows of drift reports are of a day
    growth: Rest | None = None
    schedule: Rest | None = None
