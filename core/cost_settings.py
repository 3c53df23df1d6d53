"""The settings of what training costs here, and by whose price table."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from core.sections import Section, Share


class CostSettings(Section):
    """What an hour of training costs on the machine that trains."""

    usd_per_hour: float | None = Field(default=None, ge=0.0)  # of that machine; goes before…
    instance: str | None = None  # …a name of the price table, as `ratchet cost prices` lists them
    prices: Path | None = None  # a table of your own, in the form of retrain/money/prices.toml
    # What work on the data costs, where `ratchet cost training` counts examples
    annotation_minutes: float = Field(default=6.0, gt=0.0)  # guide, ROI: 100 h for 1,000 examples
    review_minutes: float = Field(default=1.0, gt=0.0)  # Brysbaert 2019: 238 words a minute
    annotation_usd_per_hour: float = Field(default=50.0, ge=0.0)  # guide, Data Costs: 20-100
    expert_usd_per_hour: float = Field(default=100.0, ge=0.0)  # guide, Data Costs: 50-200
    synthetic_usd_per_example: float = Field(default=0.05, ge=0.0)  # guide, Data Costs: 0.01-0.10
    spot_discount: Share = 0.7  # guide, "Spot/Preemptible Instances": 60-90 %
