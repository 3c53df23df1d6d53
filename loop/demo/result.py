"""What one run of the demo found, as plain frozen values, and whether that is enough.

Pure. The conductor of the demo (`story.py`) fills a `DemoResult`, with the help of
`evidence.py`; `report.py` writes it down. Shares are 0-1, times are seconds since the demo
began unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Gate = Literal["pass", "fail"]
Outcome = Literal["promoted", "rolled_back", "inconclusive", "undecided"]

# `decided_by` of a decision that the verdict brought about and no person
BY_VERDICT = frozenset({"conductor", "verdict"})
WANTED_GAIN = 2.0  # held-out good share, promoted over base. Source: the demo's own definition


@dataclass(frozen=True)
class HeldoutShare:
    """Good answers on questions that nobody ever rated or corrected."""

    base: float
    promoted: float
    questions: int  # asked of each of the two


@dataclass(frozen=True)
class RolloutTrack:
    """One rollout over time: four lists of one length, one entry for each recorded verdict."""

    times_s: tuple[float, ...]  # since the rollout began
    share: tuple[float, ...]  # of subjects in the canary arm
    better_log10: tuple[float | None, ...]  # e-value of "canary is better"
    worse_log10: tuple[float | None, ...]  # e-value of "canary is worse"
    promote_at_log10: float  # thresholds of the two
    roll_back_at_log10: float
    report_file: str | None = None  # the rollout's own report, relative to the demo's folder


@dataclass(frozen=True)
class GoodAdapter:
    """The adapter trained on the customers' feedback."""

    name: str
    gate: Gate
    decision: Outcome
    decided_by: str  # the rollout row's `decided_by`
    ratings_to_decision: int  # first effective ratings of both arms, when it was promoted
    reason: str = ""  # the decisive verdict's own sentence
    track: RolloutTrack | None = None


@dataclass(frozen=True)
class SpoiledAdapter:
    """The adapter trained on spoiled data and sent past the gate by an operator."""

    name: str
    gate: Gate
    override_by: str | None  # None: nobody, so it was never exposed
    decision: Outcome
    decided_by: str
    exposures_before_rollback: int  # answers that users got from it
    reason: str = ""
    track: RolloutTrack | None = None


@dataclass(frozen=True)
class Phase:
    """One named part of the demo."""

    name: str
    began_s: float
    seconds: float


@dataclass(frozen=True)
class SeenAnswer:
    """One answer as a user of the traffic saw it."""

    time_s: float
    adapter: str
    good: bool  # by the hidden truth, not by the user's thumbs


@dataclass(frozen=True)
class LossCurve:
    """The training loss of one run."""

    adapter: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Sample:
    """One held-out question with both answers."""

    question: str
    base: str
    base_good: bool
    promoted: str
    promoted_good: bool


@dataclass(frozen=True)
class DemoResult:
    """All that the demo's report and its exit code are made from."""

    heldout: HeldoutShare
    good: GoodAdapter
    spoiled: SpoiledAdapter
    phases: tuple[Phase, ...]
    answers: tuple[SeenAnswer, ...] = ()  # all traffic, in order of time
    losses: tuple[LossCurve, ...] = ()
    samples: tuple[Sample, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])  # machine, settings, counts


def shortcomings(result: DemoResult) -> list[str]:
    """Return, as sentences, what the demo promises and this run did not show; empty: all well."""
    heldout, good, spoiled = result.heldout, result.good, result.spoiled
    checks = {
        f"The held-out good share went from {heldout.base:.1%} to {heldout.promoted:.1%}: "
        "it did not double.": heldout.promoted > 0.0
        and heldout.promoted >= WANTED_GAIN * heldout.base,
        f"The good adapter's gate said {good.gate}.": good.gate == "pass",
        f"The good adapter was {good.decision}, not promoted.": good.decision == "promoted",
        f"The good adapter was decided by {good.decided_by}, not by the verdict.": good.decided_by
        in BY_VERDICT,
        f"The spoiled adapter's gate said {spoiled.gate}.": spoiled.gate == "fail",
        "No operator sent the spoiled adapter past the gate.": bool(spoiled.override_by),
        f"The spoiled adapter was {spoiled.decision}, not rolled back.": spoiled.decision
        == "rolled_back",
        f"The spoiled adapter was decided by {spoiled.decided_by}, not by the verdict.": (
            spoiled.decided_by in BY_VERDICT
        ),
    }
    return [sentence for sentence, holds in checks.items() if not holds]


def to_json(result: DemoResult) -> dict[str, Any]:
    """Return the content of `report.json`."""
    heldout, good, spoiled = result.heldout, result.good, result.spoiled
    return {
        "heldout_good_share": {"base": heldout.base, "promoted": heldout.promoted},
        "good_adapter": {
            "gate": good.gate,
            "decision": good.decision,
            "decided_by": good.decided_by,
            "ratings_to_decision": good.ratings_to_decision,
        },
        "spoiled_adapter": {
            "gate": spoiled.gate,
            "override_by": spoiled.override_by,
            "decision": spoiled.decision,
            "exposures_before_rollback": spoiled.exposures_before_rollback,
        },
        "seconds": {phase.name: round(phase.seconds, 1) for phase in result.phases},
        "details": {
            **result.details,
            "heldout_questions": heldout.questions,
            "good_adapter": {"name": good.name, "reason": good.reason},
            "spoiled_adapter": {
                "name": spoiled.name,
                "decided_by": spoiled.decided_by,
                "reason": spoiled.reason,
            },
            "traffic_good_share": traffic_shares(result),
            "shortcomings": shortcomings(result),
        },
    }


def traffic_shares(result: DemoResult) -> dict[str, dict[str, float | int]]:
    """Return how many answers of each adapter users saw, and the share of good ones."""
    goods: dict[str, list[bool]] = {}
    for answer in result.answers:
        goods.setdefault(answer.adapter, []).append(answer.good)
    return {
        adapter: {"answers": len(good), "good_share": sum(good) / len(good)}
        for adapter, good in goods.items()
    }
