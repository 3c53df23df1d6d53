"""The settings of drift: how sure, how large, how long before anything is said or done.

Effect sizes are the field's small and large ones, so that a change which is sure because there is
much data, and matters to nobody, raises nothing.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from core.sections import Alpha, Positive, Section, Share

Group = Literal["input", "output", "quality", "operation"]


class EffectSettings(Section):
    """How large a change must be: `small` to be spoken of, `large` to act on at once."""

    small: float = Field(gt=0.0)
    large: float = Field(gt=0.0)

    @model_validator(mode="after")
    def _ordered(self) -> EffectSettings:
        if self.large < self.small:
            raise ValueError(f"large is {self.large}: it must be at least small, {self.small}")
        return self


class CliffsDeltaSettings(EffectSettings):
    """Of numbers: how often one side is above the other. Source: Romano et al. 2006."""

    small: float = Field(default=0.147, gt=0.0)
    large: float = Field(default=0.474, gt=0.0)


class WassersteinSettings(EffectSettings):
    """Of numbers: a shift by so many standard deviations. Source: Cohen 1988, d."""

    small: float = Field(default=0.2, gt=0.0)
    large: float = Field(default=0.8, gt=0.0)


class CramersVSettings(EffectSettings):
    """Of categories, all together. Source: Cohen 1988, w."""

    small: float = Field(default=0.1, gt=0.0)
    large: float = Field(default=0.5, gt=0.0)


class CohensHSettings(EffectSettings):
    """Of one share, or the category that changed most. Source: Cohen 1988, h."""

    small: float = Field(default=0.2, gt=0.0)
    large: float = Field(default=0.8, gt=0.0)


class RatingDropSettings(EffectSettings):
    """Of good ratings, relative. Source: the fine-tuning guide, "When to Retrain"; its double.

    Ratings are few: `small` is reached unless the ratings show that the fall is smaller.
    """

    small: float = Field(default=0.05, gt=0.0)
    large: float = Field(default=0.10, gt=0.0)


class ErrorRiseSettings(EffectSettings):
    """Of errors, in points. Source: `canary.error_tolerance`; the guide's critical error rate."""

    small: float = Field(default=0.02, gt=0.0)
    large: float = Field(default=0.05, gt=0.0)


class DriftSettings(Section):
    """When a change is drift, and when drift is acted on."""

    # a check without drift says `watch` or `act` at most so often, all columns together
    alpha: Alpha = 0.01  # at most 1 false alarm in 100 checks. Our choice: see decision 0037
    slow_fall_alpha: Alpha = 0.5  # of alpha, for slow falls of ratings: decision 0037
    min_values: Positive = 50  # of a column, on each side; fewer are not tested. Our choice
    cliffs_delta: CliffsDeltaSettings = CliffsDeltaSettings()
    wasserstein: WassersteinSettings = WassersteinSettings()
    cramers_v: CramersVSettings = CramersVSettings()
    cohens_h: CohensHSettings = CohensHSettings()
    rating_drop: RatingDropSettings = RatingDropSettings()
    error_rise: ErrorRiseSettings = ErrorRiseSettings()
    permutations: Positive = 19_999  # at most; the smallest p is 1 / 20,000
    embedding_rows: Positive = 1_000  # of each side: cost stays flat
    embedding_features: Positive = 256  # random Fourier features. Source: Rahimi and Recht 2007
    horizon_windows: Positive = 12  # over which slow losses of quality add up: decision 0037
    persistence_windows: int = Field(default=2, ge=2)  # of the same drift, before acting on it
    cooldown_s: float = Field(default=86_400.0, ge=0.0)  # after an act, before the next one
    # what retraining can mend; slow or failing engines are for alerts
    acts_on: tuple[Group, ...] = ("input", "output", "quality")
    cluster_share: Share = 0.02  # of a window, for a new cluster to be named. Our choice
    cluster_examples: Positive = 5  # prompts shown of each
    # its reports beside ours, 11 MB a check, where the extra `drift` is installed
    evidently: Literal["always", "drift", "never"] = "drift"  # drift: where something was found
