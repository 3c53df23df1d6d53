"""What one run of the demo found, as plain frozen values, and whether that is enough.

Pure. The conductor of the demo (`story.py`) fills a `DemoResult`, with the help of
`evidence.py`; `report.py` writes it down. Shares are 0-1, times are seconds since the demo
began unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
class Retraining:
    """What the policy began of itself."""

    kind: str  # incremental | full
    run: str
    adapter: str
    reason: str  # of the policy; starts with the trigger's name


@dataclass(frozen=True)
class Drift:
    """What the service did of itself when customers turned to a topic never seen before."""

    detected_after_interactions: int  # of the new topic, up to the end of the report's window
    reason: str  # of the drift report
    words: tuple[str, ...]  # that name the largest new cluster
    examples: tuple[str, ...]  # its prompts, as the report shows them
    report_file: str  # the drift report's page, relative to the demo's folder
    retraining: Retraining
    gate: str
    decision: Outcome
    decided_by: str
    heldout: HeldoutShare  # on the new topic, before and after; its names are base and promoted
    known: HeldoutShare  # on what was asked before: what the incremental training forgot
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
    drift: Drift
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
    checks |= _promises_of_drift(result.drift)
    return [sentence for sentence, holds in checks.items() if not holds]


def _promises_of_drift(drift: Drift) -> dict[str, bool]:
    """Return what is promised of the turn to a new topic, and whether it was shown."""
    new, run = drift.heldout, drift.retraining
    return {
        "The drift report named no new cluster with example prompts.": bool(
            drift.words and drift.examples
        ),
        f"The retraining was started by “{run.reason}”, not by drift.": run.reason.startswith(
            "drift:"
        ),
        f"The retraining was {run.kind}, not incremental.": run.kind == "incremental",
        f"The retrained adapter's gate said {drift.gate}.": drift.gate == "pass",
        f"The retrained adapter was {drift.decision}, not promoted.": drift.decision == "promoted",
        f"The retrained adapter was decided by {drift.decided_by}, not by the verdict.": (
            drift.decided_by in BY_VERDICT
        ),
        f"The good share on the new topic went from {new.base:.1%} to {new.promoted:.1%}: "
        "it did not grow.": new.promoted > new.base,
    }


def to_json(result: DemoResult) -> dict[str, Any]:
    """Return the content of `report.json`."""
    heldout, good, drift, spoiled = result.heldout, result.good, result.drift, result.spoiled
    return {
        "heldout_good_share": {"base": heldout.base, "promoted": heldout.promoted},
        "good_adapter": {
            "gate": good.gate,
            "decision": good.decision,
            "decided_by": good.decided_by,
            "ratings_to_decision": good.ratings_to_decision,
        },
        "drift": {
            "detected_after_interactions": drift.detected_after_interactions,
            "cause": {
                "reason": drift.reason,
                "words": list(drift.words),
                "examples": list(drift.examples),
                "report": drift.report_file,
            },
            "retraining": asdict(drift.retraining),
            "decision": drift.decision,
            "heldout_good_share": {
                "before": drift.heldout.base,
                "after": drift.heldout.promoted,
            },
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
            "drift": {
                "decided_by": drift.decided_by,
                "heldout_questions": drift.heldout.questions,
                "known_topics_good_share": {
                    "before": drift.known.base,
                    "after": drift.known.promoted,
                },
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
