"""CURATE: two adapters side by side before people who do not know which is which.

Preferences come in, counts and an exact test go out: pure. The unit is the prompt: reviewers of
the same prompt are not independent, so what most of them preferred counts once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from curation.review.binomial import interval, two_sided_p
from curation.review.words import Position, Preferred
from feedback.events import Message


@dataclass(frozen=True, slots=True)
class Compared:
    """One prompt and two adapters' answers (None: the base model's)."""

    interaction_id: str
    messages: tuple[Message, ...]  # the prompt
    adapter_a: str | None
    adapter_b: str | None
    answer_a: str
    answer_b: str
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Preference:
    """What one reviewer preferred of one prompt's answers."""

    item_id: str
    preferred: Preferred
    position: Position


def other_way(one: Preference) -> Preference:
    """Return the same preference with the adapters' letters swapped."""
    letters: dict[Preferred, Preferred] = {"a": "b", "b": "a", "tie": "tie"}
    place: Position = "ba" if one.position == "ab" else "ab"
    return Preference(one.item_id, letters[one.preferred], place)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How often each adapter was preferred; shares are of the prompts that are no ties."""

    adapter_a: str | None
    adapter_b: str | None
    a: int  # prompts
    b: int
    ties: int
    reviews: int
    share_a: float | None  # None without a prompt that is no tie
    low: float  # exact 95 % interval of the share
    high: float
    p: float  # two-sided exact binomial, against one half
    first: int  # reviews that preferred what was shown first: far from half is a bias of place
    second: int


def compare(a: str | None, b: str | None, preferences: Iterable[Preference]) -> Comparison:
    """Return how adapters `a` and `b` did. Ties are left out of the test, as of any sign test."""
    given = list(preferences)
    wins = Counter(_winners(given))
    decided = wins["a"] + wins["b"]
    low, high = interval(wins["a"], decided)
    first = sum(one.preferred == one.position[0] for one in given)
    return Comparison(
        adapter_a=a,
        adapter_b=b,
        a=wins["a"],
        b=wins["b"],
        ties=wins["tie"],
        reviews=len(given),
        share_a=wins["a"] / decided if decided else None,
        low=low,
        high=high,
        p=two_sided_p(wins["a"], decided),
        first=first,
        second=sum(one.preferred != "tie" for one in given) - first,
    )


def _winners(given: Iterable[Preference]) -> Iterable[Preferred]:
    """Return of each prompt whom more reviewers preferred than the other."""
    by_item: dict[str, Counter[Preferred]] = defaultdict(Counter)
    for one in given:
        by_item[one.item_id][one.preferred] += 1
    for votes in by_item.values():
        ahead = votes["a"] - votes["b"]
        yield "tie" if ahead == 0 else "a" if ahead > 0 else "b"
