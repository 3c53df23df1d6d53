"""CURATE: whether reviewers can be trusted: do they agree with each other, and with known answers?

Krippendorff's alpha of each mark and of the decisions, and each reviewer's share of right decisions
on calibration items. Reviews come in, numbers go out: pure. Items that one reviewer alone judged
say nothing of agreement.

Source: Krippendorff, Content Analysis, chapter 12: rely on 0.8 and more, conclude tentatively from
0.667 on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from curation.review.binomial import interval
from curation.review.words import BEST_MARK, RUBRIC

MARKS = tuple(range(1, BEST_MARK + 1))


@dataclass(frozen=True, slots=True)
class Given:
    """What one reviewer said of one item, as far as agreement asks; skips are left out."""

    item_id: str
    reviewer: str
    decision: str  # approve | reject | correct | prefer
    preferred: str | None = None  # a | b | tie
    rubric: Mapping[str, int] = field(default_factory=dict[str, int])
    expected: str | None = None  # of a calibration item: approve | reject


@dataclass(frozen=True, slots=True)
class Calibrated:
    """How a reviewer did on items with a known answer; the interval is exact, at 95 %."""

    reviewer: str
    items: int
    right: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Alpha:
    """Krippendorff's alpha: 1 all agree, 0 as by chance; None where it cannot be told.

    It cannot where no item was judged by two, nor where all judgements are the same.
    """

    value: float | None
    items: int  # that two or more judged
    reviewers: int  # of them


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far reviewers agree."""

    decisions: Alpha  # nominal: approve, reject, correct
    preferences: Alpha  # nominal: a, b, tie
    rubric: dict[str, Alpha]  # interval, by name
    calibration: tuple[Calibrated, ...]  # by reviewer


def agreement(reviews: Iterable[Given]) -> Agreement:
    """Return how far the reviewers agree with each other and with known answers."""
    given = list(reviews)
    judged = [one for one in given if one.decision != "prefer"]
    decisions = [(one.item_id, one.reviewer, one.decision) for one in judged]
    preferences = [
        (one.item_id, one.reviewer, one.preferred) for one in given if one.preferred is not None
    ]
    return Agreement(
        decisions=alpha(decisions, ("approve", "correct", "reject"), "nominal"),
        preferences=alpha(preferences, ("a", "b", "tie"), "nominal"),
        rubric={name: _of_mark(given, name) for name in RUBRIC},
        calibration=tuple(_calibrated(judged)),
    )


def alpha(
    ratings: Iterable[tuple[str, str, str | int]],
    domain: Sequence[str | int],
    level: Literal["nominal", "interval"],
) -> Alpha:
    """Return the alpha of ratings, given as (item, reviewer, value of `domain`)."""
    import krippendorff  # and numpy with it: nothing else of review needs them

    by_item: dict[str, dict[str, str | int]] = defaultdict(dict)
    for item, reviewer, value in ratings:
        by_item[item][reviewer] = value
    shared = [values for values in by_item.values() if len(values) > 1]
    reviewers = len({reviewer for values in shared for reviewer in values})
    used = {value for values in shared for value in values.values()}
    if len(used) < 2:
        return Alpha(None, len(shared), reviewers)
    counts = [Counter(values.values()) for values in shared]
    value = krippendorff.alpha(
        value_counts=[[count[value] for value in domain] for count in counts],
        value_domain=list(range(len(domain))) if level == "nominal" else list(MARKS),
        level_of_measurement=level,
    )
    return Alpha(float(value), len(shared), reviewers)


def _of_mark(given: Iterable[Given], name: str) -> Alpha:
    marks = [(one.item_id, one.reviewer, one.rubric[name]) for one in given if name in one.rubric]
    return alpha(marks, MARKS, "interval")


def _calibrated(judged: Iterable[Given]) -> Iterable[Calibrated]:
    """Return how each reviewer did.

    To correct an answer is as right as to reject it where the answer is known to be bad: both say
    that it must not be learnt as it is.
    """
    right: dict[str, list[bool]] = defaultdict(list)
    for one in judged:
        if one.expected is not None:
            says_good = one.decision == "approve"
            right[one.reviewer].append(says_good == (one.expected == "approve"))
    for reviewer, hits in sorted(right.items()):
        low, high = interval(sum(hits), len(hits))
        yield Calibrated(reviewer, len(hits), sum(hits), sum(hits) / len(hits), low, high)
