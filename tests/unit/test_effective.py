"""Which feedback counts, in whatever order and however often it comes."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.effective import Claim, Vote, disputed, effective_votes

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def vote(
    id: str,
    kind: str = "thumbs",
    at_s: int = 0,
    *,
    name: str | None = None,
    other: str | None = None,
    retracted: bool = False,
    subject: str | None = "ann",
    application: str = "desk",
) -> Vote:
    """Return a feedback on interaction i1."""
    at = NOW + timedelta(seconds=at_s)
    return Vote(id, "i1", application, subject, kind, name, other, retracted, at, True)


def test_the_last_of_a_kind_wins() -> None:
    """Of each subject one, and of kinds that do not disturb each other."""
    votes = [vote("a"), vote("b", at_s=1), vote("c", "rating"), vote("d", subject="bob")]
    assert effective_votes(votes, {}) == {"b", "c", "d"}


@pytest.mark.parametrize("kind", ["score", "flag"])
def test_names_count_for_themselves(kind: str) -> None:
    """One for each metric or category."""
    votes = [vote("a", kind, name="x"), vote("b", kind, 1, name="y"), vote("c", kind, 2, name="x")]
    assert effective_votes(votes, {}) == {"b", "c"}


def test_preferences_count_for_each_other_answer() -> None:
    """Chosen over two others is two facts."""
    votes = [vote("a", "preference", other="i2"), vote("b", "preference", 1, other="i3")]
    assert effective_votes(votes, {}) == {"a", "b"}


def test_a_retraction_cancels_what_was_before_and_nothing_after() -> None:
    """It counts for nothing itself."""
    assert effective_votes([vote("a"), vote("b", at_s=1, retracted=True)], {}) == set()
    assert effective_votes([vote("b", retracted=True), vote("a", at_s=1)], {}) == {"a"}


def test_a_retraction_of_a_name_leaves_the_others() -> None:
    """Without a name all of the kind go."""
    votes = [vote("a", "score", name="x"), vote("b", "score", name="y")]
    named = vote("r", "score", 1, name="x", retracted=True)
    assert effective_votes([*votes, named], {}) == {"b"}
    unnamed = vote("r", "score", 1, retracted=True)
    assert effective_votes([*votes, unnamed], {}) == set()


def test_another_application_never_counts() -> None:
    """Once the owner of the interaction is known."""
    votes = [vote("a"), vote("b", at_s=1, application="shop")]
    assert effective_votes(votes, {"i1": "desk"}) == {"a"}


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from("xy")), max_size=8))
def test_order_and_repetition_change_nothing(drawn: list[tuple[int, bool, str]]) -> None:
    """The same facts give the same votes."""
    votes = [
        vote(str(number), "score", at_s, name=None if retracted else name, retracted=retracted)
        for number, (at_s, retracted, name) in enumerate(drawn)
    ]
    shuffled = votes + votes[:2]
    random.Random(1).shuffle(shuffled)
    assert effective_votes(shuffled, {}) == effective_votes(votes, {})


DRAWN_VOTE = st.tuples(
    *(st.sampled_from(["i1", "i2"]), st.sampled_from(["desk", "shop"])),
    *(st.sampled_from(["ann", "bob"]), st.booleans(), st.integers(0, 3)),
)
DRAWN_BATCH = st.tuples(st.lists(DRAWN_VOTE, max_size=3), st.sets(st.sampled_from(["i1", "i2"])))


@given(st.lists(DRAWN_BATCH, max_size=5))
def test_what_is_not_disputed_stands_as_it_was_given(
    batches: list[tuple[list[tuple[str, str, str, bool, int]], set[str]]],
) -> None:
    """Looking at disputed interactions only comes to the same as looking at all of them."""
    stored: list[Vote] = []
    owners: dict[str, str] = {}
    stands: set[str] = set()  # as the rows say
    for drawn, finished in batches:
        new = [
            Vote(
                f"{len(stored) + n}",
                id,
                who,
                subject,
                "thumbs",
                None,
                None,
                taken,
                f"{at}",
                not taken,
            )
            for n, (id, who, subject, taken, at) in enumerate(drawn)
        ]
        owners |= dict.fromkeys(finished, "desk")
        found = disputed([_claim(v) for v in stored], [_claim(v) for v in new], owners)
        stored += new
        stands |= {vote.event_id for vote in new if vote.effective}
        looked_at = [vote for vote in stored if vote.interaction_id in found]
        stands -= {vote.event_id for vote in looked_at}
        stands |= effective_votes(looked_at, owners)
        assert stands == effective_votes(stored, owners)


def _claim(vote: Vote) -> Claim:
    return Claim(vote.interaction_id, vote.event_id, vote.application, vote.retracted)


def test_a_lone_vote_is_not_disputed() -> None:
    """Nor is one whose interaction comes, if it is of its application."""
    claim = _claim(vote("a"))
    assert disputed([], [claim], {}) == disputed([], [claim], {"i1": "desk"}) == set()
    assert disputed([claim], [], {"i1": "desk"}) == set()
    assert disputed([claim], [], {"i1": "shop"}) == disputed([], [claim, claim], {}) == {"i1"}
