"""What is simulated: how good each arm is, who rates, what goes wrong. Values only.

Shares are of answers. `promotion` and `roll_back` say whether that end would be right, wrong, or
is not judged. The two limits of the guarantee are in it: worse by exactly the margin, and a
guardrail at exactly its tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from core.canary_settings import CanarySettings, GuardrailName

Right = Literal["right", "wrong", "not judged"]
FLAGS: tuple[GuardrailName, ...] = (
    *("error", "latency", "ttft", "too_long", "too_short", "truncated", "refusal"),
)
# Of answers in both arms; our choice: of the size of their tolerances
EVENTS: dict[GuardrailName, float] = {
    "error": 0.01,
    "latency": 0.05,
    "ttft": 0.04,
    "too_long": 0.03,
    "too_short": 0.01,
    "truncated": 0.03,
    "refusal": 0.03,
}


@dataclass(frozen=True)
class Arm:
    """An arm as people meet it."""

    good: float = 0.6  # of answers: the user is content
    rate_good: float = 0.25  # of content users: they rate
    rate_bad: float = 0.25  # of the others
    events: dict[GuardrailName, float] = field(default_factory=lambda: dict(EVENTS))


@dataclass(frozen=True)
class Crowd:
    """People who come back; each has a taste, and spammers dislike everything and say so."""

    people: int
    spammers: int = 0
    spam: float = 0.0  # of all requests
    taste: float = 0.0  # spread of the people's own shares of good answers


@dataclass(frozen=True)
class Scenario:
    """One kind of rollout."""

    name: str
    baseline: Arm = Arm()
    canary: Arm = Arm()
    promotion: Right = "wrong"
    roll_back: Right = "wrong"
    margin: float = 0.0
    drift: float = 0.0  # half of the swing of the share of good answers, in both arms
    crowd: Crowd | None = None  # None: everyone comes once
    lost: float = 0.0  # of the canary's answers never arrive in the log
    shares: tuple[float, ...] = (0.05, 0.25, 0.5)  # of the canary arm, step by step
    compared: bool = False  # with the ratings that a fixed sample of equal power needs

    @property
    def rules(self) -> CanarySettings:
        """The rules: the defaults, but for a shorter ramp and no minimum time."""
        return CanarySettings(shares=self.shares, min_s=0.0, margin=self.margin)


def _slow(share: float) -> dict[GuardrailName, float]:
    return {**EVENTS, "latency": share}


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("equal"),
    Scenario("better", Arm(0.3), Arm(0.6), "right", "wrong", compared=True),
    Scenario("better, no ramp", Arm(0.3), Arm(0.6), "right", shares=(0.5,), compared=True),
    Scenario("less better", Arm(0.5), Arm(0.7), "right", "wrong", compared=True),
    Scenario("worse", Arm(0.6), Arm(0.3), "wrong", "right", compared=True),
    Scenario("worse, no ramp", Arm(0.6), Arm(0.3), "wrong", "right", shares=(0.5,), compared=True),
    Scenario("less worse", Arm(0.7), Arm(0.5), "wrong", "right", compared=True),
    Scenario("worse by exactly the margin", Arm(0.6), Arm(0.55), "wrong", "right", margin=0.05),
    Scenario("liked, but slow", Arm(0.6), Arm(0.75, events=_slow(0.2)), "wrong", "right"),
    Scenario("slow by exactly the tolerance", Arm(0.6), Arm(0.75, events=_slow(0.1))),
    Scenario("drifting base rate", drift=0.25),
    Scenario("low response", Arm(0.6, 0.02, 0.02), Arm(0.6, 0.02, 0.02)),
    Scenario("biased response", Arm(0.6), Arm(0.6, 0.25, 0.07), "wrong", "not judged"),
    Scenario("spammers", crowd=Crowd(4_000, spammers=5, spam=0.15)),
    # not looked at when `exposures_per_subject` was chosen
    Scenario("more spammers", crowd=Crowd(4_000, spammers=12, spam=0.3)),
    Scenario("people come back", crowd=Crowd(500, taste=0.3)),
    Scenario(
        "lost events", Arm(0.5), Arm(0.75), promotion="not judged", roll_back="not judged", lost=0.2
    ),
)
