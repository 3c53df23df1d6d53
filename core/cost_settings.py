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
    spot_discount: Share = 0.7  # guide, "Spot/Preemptible Instances": 60-90 %
