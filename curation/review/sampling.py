"""CURATE: which candidates people look at, and why: an audit by chance, and the doubtful ones.

Light rows and the settings come in, picks with their reasons go out: pure, and the same at every
run. The audit is by hash of the candidate, so that the ones chosen stay chosen as the data grow.
Every reason has its turn while there is room. Knows no texts.

Source: the fine-tuning guide, "Human review" (5-10 % at random) and "Active learning" (uncertainty,
disagreement, novelty, error analysis).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import sha256
from heapq import nsmallest

from core.settings import ReviewSettings
from curation.review.words import Because


@dataclass(frozen=True, slots=True)
class Light:
    """What sampling asks of a candidate."""

    candidate_id: str
    logprob: float | None = None  # mean of its answer's tokens; None: not logged
    votes_for: int = 0
    votes_against: int = 0
    novelty: float | None = None  # distance from what the parent dataset holds; None: not measured
    failed_gate: bool = False  # like an item that an adapter failed at the gate
    augmented: bool = False  # a model wrote it


@dataclass(frozen=True, slots=True)
class Pick:
    """A candidate that people shall see, and all that speaks for it; higher priority first."""

    candidate_id: str
    because: tuple[Because, ...]
    priority: float


def sample(
    rows: Sequence[Light],
    rules: ReviewSettings,
    known: Set[str] = frozenset(),
    room: int | None = None,
) -> list[Pick]:
    """Return at most `room` (default: `review.max_open`) candidates, the most urgent first.

    Shares are of all `rows`; those in `known` were picked before, and are not again.
    """
    wanted: dict[Because, list[str]] = {
        reason: [id_ for id_ in ids if id_ not in known]
        for reason, ids in _by_reason(rows, rules).items()
    }
    reasons: dict[str, list[Because]] = defaultdict(list)
    for reason, ids in wanted.items():
        for id_ in ids:
            reasons[id_].append(reason)
    rounds = _dealt(wanted.values(), rules.max_open if room is None else room)
    return [Pick(id_, tuple(reasons[id_]), 1 / (1 + turn)) for id_, turn in rounds.items()]


def chance(seed: int, name: str) -> float:
    """Return a number in [0, 1) that is always the same for a name."""
    digest = sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _by_reason(rows: Sequence[Light], rules: ReviewSettings) -> Mapping[Because, list[str]]:
    """Return the candidates that each reason wants, the most wanted first."""

    def drawn(row: Light) -> tuple[float, str]:
        return chance(rules.seed, row.candidate_id), row.candidate_id

    def lowest(scored: Iterable[tuple[float, str]], share: float) -> list[str]:
        return [id_ for _, id_ in nsmallest(math.ceil(share * len(rows)), scored)]

    return {
        "augmented": [id_ for _, id_ in sorted(drawn(row) for row in rows if row.augmented)],
        "failed_gate": [id_ for _, id_ in sorted(drawn(row) for row in rows if row.failed_gate)],
        "random": [id_ for number, id_ in sorted(map(drawn, rows)) if number < rules.random_share],
        "uncertain": lowest(
            ((row.logprob, row.candidate_id) for row in rows if row.logprob is not None),
            rules.uncertain_share,
        ),
        "disputed": lowest(
            ((-_dispute(row), row.candidate_id) for row in rows if _dispute(row) > 0),
            rules.disputed_share,
        ),
        "novel": lowest(
            ((-row.novelty, row.candidate_id) for row in rows if row.novelty is not None),
            rules.novel_share,
        ),
    }


def _dispute(row: Light) -> float:
    """Return how far votes disagree: the smaller side's number, times how even the sides are.

    5 against 5 is more of a dispute than 1 against 1, and that more than 1 against 9. Our choice.
    """
    less, more = sorted((row.votes_for, row.votes_against))
    return less * less / more if more else 0.0


def _dealt(lists: Iterable[Sequence[str]], room: int) -> dict[str, int]:
    """Return the names, one of each list at a turn, and the turn at which each came."""
    turns: dict[str, int] = {}
    hands = [list(dict.fromkeys(names)) for names in lists]
    for turn in range(max(map(len, hands), default=0)):
        for hand in hands:
            if turn < len(hand) and len(turns) < room:
                turns.setdefault(hand[turn], turn)
    return turns
