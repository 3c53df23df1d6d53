"""The canary's rules: steps, error rates, guardrails, strata. Part of `core.settings`.

A rollout keeps a copy of its rules from its start on, so that every verdict can be computed
again; `rules_of` reads such a copy, of an older version too. Source: DESIGN section 3,
"Rollouts", where a line names no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from core.sections import Alpha, Positive, Section, Share

GuardrailName = Literal[
    "error",
    "latency",
    "ttft",
    "too_long",
    "too_short",
    "truncated",
    "refusal",
    "thumbs_down",
    "unrated",
]
GUARDRAILS: tuple[GuardrailName, ...] = get_args(GuardrailName)
OTHER_STRATUM = "other"  # whatever `strata` does not name
# What a rollout lived by whose copy of the rules is older than these settings
_BEFORE: dict[str, Any] = {
    "guardrails": ("error", "latency"),
    "alpha_mismatch": 0.0,
    "pool_steps": False,
    "focus_bets": False,
    "exposures_per_subject": 0,
}
_STRATIFIER = re.compile(r"endpoint|metadata\.[A-Za-z0-9_-]{1,64}")


class CanarySettings(Section):
    """The canary's steps, error rates and guardrails. Source: DESIGN section 3."""

    shares: tuple[Share, ...] = (0.01, 0.05, 0.25, 0.50)
    step_min_exposures: int = 30  # in the canary arm, before the share grows
    step_min_s: float = 300.0
    min_ratings: int = 20  # over both arms and all steps, before a promotion
    min_s: float = 900.0  # time in canary before a promotion
    deadline_s: float = 14 * 86_400.0
    alpha_promote: Alpha = 0.05
    alpha_roll_back: Alpha = 0.05
    alpha_guardrail: Alpha = 0.005  # of each guardrail: nine of them add 0.045
    # 0: not looked at. 0.0005 in Fabijan et al. 2019, Diagnosing sample ratio mismatch
    alpha_mismatch: float = Field(default=0.001, ge=0.0, lt=1.0)
    pool_steps: bool = True  # bet also that shares are the same in all steps: decision 0038
    focus_bets: bool = True  # bet only on what a hypothesis excludes: decision 0038
    margin: Share = 0.0  # promote only what is better than baseline - margin
    good_stars: int = Field(default=4, ge=1, le=5)  # of 5: satisfied, as in a top-two-box score
    feedback_window_s: float = Field(default=7 * 86_400.0, gt=0.0)  # later ratings do not count
    guardrails: tuple[GuardrailName, ...] = GUARDRAILS  # those that are looked at
    # Tolerances are the d of each guardrail: the share that the canary may add. Without an event
    # 0.02 is shown after 386 exposures of each arm, 0.05 after 141 (decision 0038)
    error_tolerance: Share = 0.02  # d of the error guardrail
    latency_over_s: float = 10.0  # q: an answer slower than this counts against its arm
    latency_tolerance: Share = 0.05  # its d
    ttft_over_s: float = Field(default=3.0, gt=0.0)  # q of the time to first token; our choice
    ttft_tolerance: Share = 0.05  # its d
    long_over_tokens: Positive = 1_024  # our choice: some 800 words
    long_tolerance: Share = 0.05  # d of too_long
    short_under_tokens: int = Field(default=2, ge=0)  # our choice: nothing, or a lone full stop
    short_tolerance: Share = 0.05  # d of too_short
    truncated_tolerance: Share = 0.05  # its d
    refusal_tolerance: Share = 0.05  # its d
    # feedback on one answer is waited for so long before the answer counts; our choice
    response_window_s: float = Field(default=3_600.0, ge=0.0)
    thumbs_down_tolerance: Share = 0.05  # its d, of settled exposures
    unrated_tolerance: Share = 0.05  # its d, of settled exposures
    # and step, for guardrails; 0: all. Of five spammers 50 rolled back 13 % for nothing, 5 none:
    # bench/canary
    exposures_per_subject: int = Field(default=5, ge=0)
    breaker_errors: int = 5  # consecutive canary errors that trip the hard breaker
    stratify_by: str | None = None  # `endpoint`, or `metadata.NAME`: a tag of OpenAI's `metadata`
    strata: tuple[str, ...] = ()  # the tag's values that are compared each within itself
    holdback: Share = 0.05  # stays on the old adapter during the watch
    watch_s: float = 86_400.0
    check_every_s: float = 5.0
    ready_share: Share = Field(default=1.0, gt=0.0)  # of engines, before a step
    shadow_share: Share = 0.1  # of requests that the canary answers too; our choice
    shadow_concurrent: int = Field(default=4, ge=0)  # at once per gateway; what is more is dropped
    shadow_min_pairs: int = Field(default=0, ge=0)  # our choice: a quiet application is not stuck
    shadow_max_s: float = 3_600.0  # our choice: then the canary begins with fewer pairs

    @field_validator("shares")
    @classmethod
    def _growing(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not shares or list(shares) != sorted(set(shares)) or shares[0] <= 0.0:
            raise ValueError(
                f"shares must be positive and grow, for instance 0.01, 0.05; got {shares}"
            )
        return shares

    @field_validator("guardrails")
    @classmethod
    def _once(cls, names: tuple[GuardrailName, ...]) -> tuple[GuardrailName, ...]:
        if len(set(names)) != len(names):
            raise ValueError(f"each guardrail once; got {', '.join(names)}")
        return names

    @field_validator("stratify_by")
    @classmethod
    def _known(cls, stratifier: str | None) -> str | None:
        if stratifier is not None and not _STRATIFIER.fullmatch(stratifier):
            raise ValueError(
                f"must be endpoint, or metadata.NAME for a tag of the request's metadata; "
                f"got {stratifier!r}"
            )
        return stratifier

    @model_validator(mode="after")
    def _named(self) -> CanarySettings:
        if self.stratify_by is not None and not self.strata:
            raise ValueError(
                f"stratify_by = {self.stratify_by!r} needs strata: name the values to compare "
                f'each within itself, for instance ["en", "de"]; others are pooled'
            )
        return self

    @property
    def tag(self) -> str | None:
        """The name of the metadata tag that strata come from, if they come from one."""
        by = self.stratify_by
        return by.removeprefix("metadata.") if by is not None and by != "endpoint" else None

    def stratum_of(self, value: str | None) -> str:
        """Return the stratum of a request whose tag (or endpoint) has this value."""
        return value if value is not None and value in self.strata else OTHER_STRATUM


def rules_of(kept: Mapping[str, Any]) -> CanarySettings:
    """Return a rollout's rules from the copy that it keeps; what is newer than it is off."""
    return CanarySettings.model_validate({**_BEFORE, **kept})
