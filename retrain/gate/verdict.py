"""RETRAIN → CANARY: decides whether an adapter may ask for traffic.

The new adapter's and the live one's (or the base model's) losses and scores on the same questions
go in; `pass`, `fail` or `needs a person` comes out with every reason and number. A person is asked
where the questions are too few to say: a drop that is not shown, or one that is not ruled out.
Pure: knows nothing of models, files or tables. Mandatory: only an operator's recorded override
goes past it.

Source: fine-tuning guide, "Evaluation" (regression tests, comparison to baseline); thresholds in
`core.gate_settings`; Koehn 2004 for the paired bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from core.gate_settings import GateSettings
from retrain.gate.bootstrap import Difference, paired_bootstrap
from retrain.gate.scoring import mean
from retrain.gate.suite import Suite, SuiteScores, plain

MIN_EXAMPLES = 5  # with fewer, one answer alone moves the task score by over 20 %
MIN_TIMED = 20  # answers whose 95th percentile says something. Our choice

Decision = Literal["pass", "fail", "needs a person"]
SEVERITY: Mapping[Decision, int] = {"pass": 0, "needs a person": 1, "fail": 2}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How one model does on held-out examples."""

    loss: float  # mean negative log-likelihood per answer token, in nats
    task_score: float  # mean token-F1 of greedy answers against the references, 0-1
    examples: int
    exact_match: float = 0.0  # share of answers equal to their reference, 0-1


@dataclass(frozen=True, slots=True)
class Answering:
    """What the answers of one model took, all suites together."""

    answers: int
    tokens: int  # of all answers
    seconds: float  # from the first question to the last answer
    median_s: float  # of an answer, with others asked beside it
    p95_s: float
    usd: float | None = None  # of the machine, for all answers


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """May the adapter ask for traffic? `reasons` are never empty."""

    decision: Decision
    reasons: tuple[str, ...]
    numbers: Mapping[str, Any]
    suites: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether the decision is to pass."""
        return self.decision == "pass"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON column."""
        return {
            "decision": self.decision,
            "reasons": list(self.reasons),
            "numbers": dict(self.numbers),
            "suites": dict(self.suites),
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What one look at the numbers came to."""

    about: str
    decision: Decision
    reason: str


@dataclass(frozen=True, slots=True)
class JudgedSuite:
    """A suite's scores, how far apart both models are (None: nobody to compare with), and what
    follows.
    """

    scores: SuiteScores
    difference: Difference | None
    found: Found


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All that was measured: losses by set, scores by suite, and what answering took by model."""

    sets: Mapping[str, tuple[Evaluation, Evaluation]]
    suites: Mapping[str, SuiteScores] = field(default_factory=dict[str, SuiteScores])
    answering: Mapping[str, Answering] = field(default_factory=dict[str, Answering])


def decide(evaluated: Evaluated, rules: GateSettings) -> GateVerdict:
    """Return one verdict over all sets and suites: the worst that was found, and why."""
    suites = {name: judge_suite(scores, rules) for name, scores in evaluated.suites.items()}
    found = list(_look(evaluated, suites, rules))
    if not found:
        found = [Found("gate", "fail", "nothing was evaluated: the dataset has no test split")]
    decision = max(found, key=lambda one: SEVERITY[one.decision]).decision
    told = [one for one in found if one.decision != "pass"] or found
    told.sort(key=lambda one: -SEVERITY[one.decision])
    return GateVerdict(
        decision,
        tuple(f"{one.about}: {one.reason}" for one in told),
        {name: _set_numbers(*pair, rules) for name, pair in evaluated.sets.items()},
        {name: suite_numbers(judged) for name, judged in suites.items()},
    )


def suite_numbers(judged: JudgedSuite) -> dict[str, Any]:
    """Return what a suite came to, as plain JSON values."""
    scores, difference, found = judged.scores, judged.difference, judged.found
    own, other = mean(scores.candidate), mean(scores.other)
    return {
        "decision": found.decision if scores.suite.worst != "report" else "report",
        "reason": found.reason,
        "metric": scores.suite.metric,
        "against": scores.suite.against,
        "questions": len(scores.candidate),
        "unscored": scores.unscored,
        "skipped": scores.skipped,
        "candidate": _finite(own),
        "live": _finite(other),
        "difference": difference.mean if difference else None,
        "low": difference.low if difference else None,
        "high": difference.high if difference else None,
        "kept": _finite(own / other) if scores.other and other > 0.0 else None,
        "whole": {name: list(pair) for name, pair in scores.whole.items()},
        "rules": dict(plain(scores.suite)),
    }


def judge_suite(scores: SuiteScores, rules: GateSettings) -> JudgedSuite:
    """Return what the scores of one suite mean; what its `worst` allows at most."""
    difference = (
        paired_bootstrap(scores.candidate, scores.other, level=rules.level)
        if scores.other
        else None
    )
    return JudgedSuite(scores, difference, _found(scores, difference))


def _found(scores: SuiteScores, difference: Difference | None) -> Found:
    suite = scores.suite
    if scores.skipped is not None:
        return Found(suite.name, "pass", f"not asked: {scores.skipped}")
    if len(scores.candidate) < MIN_EXAMPLES:
        few = f"only {len(scores.candidate)} questions, {MIN_EXAMPLES} are needed"
        # the obligatory test set is judged by its evaluation, where too few are a failure
        return Found(suite.name, "pass", f"nothing said: {few}")
    found = max(
        (*_floor(scores), *_comparison(scores, difference)), key=lambda one: SEVERITY[one.decision]
    )
    if suite.worst == "report":
        return Found(suite.name, "pass", found.reason)
    if suite.worst == "needs a person" and found.decision == "fail":
        return Found(suite.name, "needs a person", found.reason)
    return found


def _look(
    evaluated: Evaluated, suites: Mapping[str, JudgedSuite], rules: GateSettings
) -> Iterator[Found]:
    for name, pair in evaluated.sets.items():
        scored = name in evaluated.suites and not evaluated.suites[name].skipped
        faults = _faults(*pair, rules, score_too=not scored)
        yield from (Found(name, "fail", fault) for fault in faults)
        if not faults:
            yield Found(name, "pass", _praise(*pair))
    for judged in suites.values():
        if judged.scores.skipped is None:
            yield judged.found
    yield from _slowness(evaluated.answering, rules)


def _floor(scores: SuiteScores) -> Iterator[Found]:
    """Yield what the candidate's own score means."""
    name, least = scores.suite.name, scores.suite.min_score
    if least is None:
        return
    own = mean(scores.candidate)
    told = f"{scores.suite.metric} {own:.3f} on {len(scores.candidate)} questions"
    if own < least:
        yield Found(name, "fail", f"{told} is under {least:g}")
    else:
        yield Found(name, "pass", f"{told}, at least {least:g} is asked")


def _comparison(scores: SuiteScores, difference: Difference | None) -> Iterator[Found]:
    """Yield what the difference to the other model means."""
    suite = scores.suite
    if difference is None:
        if suite.min_score is None:
            yield Found(suite.name, "pass", f"{suite.metric} {mean(scores.candidate):.3f}")
        return
    allowed = _allowed_drop(suite, mean(scores.other))
    doubt = max(allowed, suite.max_doubt if suite.max_doubt is not None else math.inf)
    told = _told(scores, difference)
    if difference.high < -allowed:
        yield Found(suite.name, "fail", f"{told}: shown to be more than {allowed:.3g} worse")
    elif difference.mean < -allowed:
        yield Found(
            suite.name,
            "needs a person",
            f"{told}: more than {allowed:.3g} worse, which so few questions do not show",
        )
    elif difference.low < -doubt:
        yield Found(
            suite.name,
            "needs a person",
            f"{told}: a drop of {doubt:.3g} is not ruled out; ask more questions, or look yourself",
        )
    else:
        yield Found(suite.name, "pass", told)


def _told(scores: SuiteScores, difference: Difference) -> str:
    against = "base" if scores.suite.against == "base" else "live"
    return (
        f"{scores.suite.metric} {mean(scores.candidate):.3f} ({against} {mean(scores.other):.3f}), "
        f"difference {difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}] "
        f"on {difference.questions} questions"
    )


def _allowed_drop(suite: Suite, other: float) -> float:
    if suite.min_kept is not None:
        return (1.0 - suite.min_kept) * other
    return suite.max_drop or 0.0


def _slowness(answering: Mapping[str, Answering], rules: GateSettings) -> Iterator[Found]:
    """Yield what the candidate's answers took beside the live adapter's, where there is a rule."""
    candidate, live = answering.get("candidate"), answering.get("live")
    if rules.max_latency_ratio is None or candidate is None or live is None:
        return
    if min(candidate.answers, live.answers) < MIN_TIMED:
        return
    told = f"p95 of an answer {candidate.p95_s:.2f} s (live {live.p95_s:.2f} s)"
    if candidate.p95_s > rules.max_latency_ratio * live.p95_s:
        over = f"{told} is over {rules.max_latency_ratio:g} times the live adapter's"
        yield Found("latency", "needs a person", over)
    else:
        yield Found("latency", "pass", told)


def _faults(
    candidate: Evaluation, live: Evaluation, rules: GateSettings, *, score_too: bool
) -> list[str]:
    examples = min(candidate.examples, live.examples)
    if examples < MIN_EXAMPLES:
        return [f"only {examples} held-out examples, {MIN_EXAMPLES} are needed"]
    numbers = (candidate.loss, candidate.task_score, live.loss, live.task_score)
    if not all(math.isfinite(number) for number in numbers):
        return [f"not every number is finite: {candidate} against {live}"]
    faults: list[str] = []
    max_loss = live.loss * rules.max_loss_ratio
    if candidate.loss > max_loss:
        faults.append(
            f"held-out loss {candidate.loss:.3f} is over {max_loss:.3f} "
            f"(live {live.loss:.3f} times {rules.max_loss_ratio})"
        )
    min_score = live.task_score - rules.max_drop
    if score_too and candidate.task_score < min_score:
        faults.append(
            f"task score {candidate.task_score:.3f} is under {min_score:.3f} "
            f"(live {live.task_score:.3f} - {rules.max_drop})"
        )
    return faults


def _set_numbers(candidate: Evaluation, live: Evaluation, rules: GateSettings) -> dict[str, Any]:
    return {
        "candidate": _plain(candidate),
        "live": _plain(live),
        "max_loss_ratio": rules.max_loss_ratio,
        "max_drop": rules.max_drop,
        "min_examples": MIN_EXAMPLES,
    }


def _plain(evaluation: Evaluation) -> dict[str, float | None]:
    """Return the numbers, None for what is not finite: JSON columns know no NaN."""
    return {name: _finite(value) for name, value in asdict(evaluation).items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _praise(candidate: Evaluation, live: Evaluation) -> str:
    return (
        f"held-out loss {candidate.loss:.3f} (live {live.loss:.3f}), task score "
        f"{candidate.task_score:.3f} (live {live.task_score:.3f}) on {candidate.examples} examples"
    )


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of them lie; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
