"""Splits: nothing of one person or one question on both sides, now or in any later version."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from curation.candidates import Candidate
from curation.history import History, Split
from curation.similarity import Near, find_near
from curation.split import Assigned, Shares, assign_splits, check_no_leak, place_groups
from feedback.events import Message
from tests.unit.curation_world import EMPTY_HISTORY, candidate, name

SHARES = Shares(validation=0.1, test=0.1)
THRESHOLD = 0.9


def long_text(topic: int, variant: int) -> str:
    """Return a text that is near any variant of its topic, and far from other topics'."""
    filler = "".join(hashlib.sha256(f"{topic} {part}".encode()).hexdigest() for part in range(5))
    return f"{filler} {name(variant)}"


def near_of(candidates: Sequence[Candidate], history: History = EMPTY_HISTORY) -> Near:
    """Compare all prompts of now and of before."""
    texts = {c.prompt_key: c.prompt_text for c in candidates}
    return find_near({**history.prompt_texts, **texts}, THRESHOLD)


def assign(candidates: Sequence[Candidate], history: History = EMPTY_HISTORY) -> Assigned:
    """Split the candidates, and check them as the pipeline does."""
    near = near_of(candidates, history)
    assigned = assign_splits(candidates, near, history, SHARES)
    check_no_leak(assigned.kept, assigned.splits, near, history)
    return assigned


def as_history(assigned: Assigned) -> History:
    """Return what the next version will know of this one."""
    splits = assigned.splits
    subjects: dict[str, Split] = {
        c.subject: splits[c.interaction_id] for c in assigned.kept if c.subject
    }
    prompts: dict[str, Split] = {c.prompt_key: splits[c.interaction_id] for c in assigned.kept}
    texts = {c.prompt_key: c.prompt_text for c in assigned.kept}
    return History(None, splits, subjects, prompts, texts)


def loners(count: int, first: int = 0) -> list[Candidate]:
    """Return candidates that share nothing, so that every split has its own."""
    return [
        candidate(
            long_text(1_000 + n, 0), subject=f"loner {n}", minute=n, interaction_id=f"loner {n}"
        )
        for n in range(first, first + count)
    ]


people = st.one_of(st.none(), st.integers(0, 8).map(str))
crowds = st.lists(
    st.builds(
        candidate,
        st.builds(long_text, st.integers(0, 10), st.integers(0, 2)),
        subject=people,
        minute=st.integers(0, 99),
    ),
    max_size=25,
)


def splits_by(assigned: Sequence[Assigned], key: str) -> dict[str, set[Split]]:
    """Return the splits of each subject, or of each topic, over all versions."""
    found: defaultdict[str, set[Split]] = defaultdict(set)
    for version in assigned:
        for kept in version.kept:
            of = kept.subject if key == "subject" else kept.prompt_text.rpartition(" ")[0]
            if of is not None:
                found[of].add(version.splits[kept.interaction_id])
    return found


@settings(max_examples=25, deadline=None)
@given(crowds)
def test_no_subject_and_no_near_duplicate_is_in_two_splits(crowd: list[Candidate]) -> None:
    """Whatever people ask, a subject's examples and a topic's variants stay together."""
    assigned = assign([*crowd, *loners(3)])
    assert assigned.dropped == []
    for key in ("subject", "topic"):
        assert all(len(splits) == 1 for splits in splits_by([assigned], key).values())


@settings(max_examples=25, deadline=None)
@given(crowds, crowds, crowds)
def test_splits_stay_as_data_grow(
    first: list[Candidate], second: list[Candidate], third: list[Candidate]
) -> None:
    """Over three versions nothing moves, and no subject or topic is ever on two sides."""
    seen = [*first, *loners(6)]
    versions = [assign(seen)]
    history = as_history(versions[0])
    for batch in (second, third):
        seen = [*seen, *batch]
        versions.append(assign(seen, history))
        kept = versions[-1].splits
        assert {id_: kept[id_] for id_ in history.interactions} == history.interactions
        history = as_history(versions[-1])
    for key in ("subject", "topic"):
        assert all(len(splits) == 1 for splits in splits_by(versions, key).values())


@settings(max_examples=20, deadline=None)
@given(crowds)
def test_splits_do_not_depend_on_order(crowd: list[Candidate]) -> None:
    """The same candidates in reverse get the same splits."""
    candidates = [*crowd, *loners(3)]
    assert assign(candidates).splits == assign(candidates[::-1]).splits


def test_splits_get_their_shares() -> None:
    """Of 200 groups of one, a tenth goes to validation and a tenth to test."""
    counted = list(assign(loners(200)).splits.values())
    assert {split: counted.count(split) for split in ("train", "validation", "test")} == {
        "train": 160,
        "validation": 20,
        "test": 20,
    }


def test_earlier_versions_bind_what_is_no_longer_here() -> None:
    """A subject that an earlier test set held goes to test, though its old example is gone."""
    old = candidate(long_text(1, 0), subject="ann")
    history = as_history(Assigned([old], [], splits={old.interaction_id: "test"}))
    new = candidate(long_text(2, 0), subject="ann")
    near_old = candidate(long_text(1, 1), subject="bob")
    splits = assign([new, near_old, *loners(10)], history).splits
    assert (splits[new.interaction_id], splits[near_old.interaction_id]) == ("test", "test")


def test_candidate_between_two_splits_is_dropped() -> None:
    """Who is in train and asks what is in test would leak, and is named."""
    tested = candidate(long_text(1, 0), subject="ann")
    trained = candidate(long_text(2, 0), subject="bob")
    old = Assigned(
        [tested, trained],
        [],
        splits={tested.interaction_id: "test", trained.interaction_id: "train"},
    )
    leak = candidate(long_text(1, 1), subject="bob")
    assigned = assign([tested, trained, leak, *loners(5)], as_history(old))
    assert [(d.interaction_id, d.reason) for d in assigned.dropped] == [
        (leak.interaction_id, "would leak")
    ]


def test_turns_of_one_conversation_stay_together_without_a_subject() -> None:
    """The second turn repeats the first: only its text tells that it is the same person's."""
    pairs: list[tuple[Candidate, Candidate]] = []
    for number in range(20):
        first = candidate(long_text(number, 0), f"answer {number}", minute=number)
        follow_up = (
            *first.messages,
            Message("user", long_text(50 + number, 0)),
            Message("assistant", "Yes."),
        )
        pairs.append((first, replace(candidate("?"), messages=follow_up)))
    splits = assign([turn for pair in pairs for turn in pair]).splits
    assert set(splits.values()) == {"train", "validation", "test"}
    for first, second in pairs:
        assert splits[first.interaction_id] == splits[second.interaction_id]


def test_one_group_cannot_fill_three_splits() -> None:
    """The error says how many groups there are, what is empty, and what to do."""
    crowd = [candidate(long_text(number, 0), subject="ann") for number in range(30)]
    with pytest.raises(
        DataError,
        match=r"30 examples form only 1 groups.*test and validation.*at least 2 more subjects",
    ):
        assign(crowd)


def test_smallest_groups_fill_empty_splits() -> None:
    """Three groups are enough, and train keeps the largest."""
    members = {"big": ["1", "2", "3", "4", "5"], "mid": ["6", "7", "8"], "small": ["9", "10"]}
    placed = place_groups(members, dict.fromkeys(members), SHARES)
    assert placed["big"] == "train"
    assert sorted(placed.values()) == ["test", "train", "validation"]


def test_share_of_zero_leaves_a_split_empty() -> None:
    """Who wants no validation set gets none, and no error."""
    assigned = assign_splits(loners(10), Near({}, {}), EMPTY_HISTORY, Shares(0.0, 0.2))
    assert sorted(set(assigned.splits.values())) == ["test", "train"]


@pytest.mark.parametrize("tie", ["subject", "prompt", "near", "history"])
def test_leak_is_found_by_a_check_of_its_own(tie: str) -> None:
    """Splits made by other means are refused, and the message names the first shared thing."""
    one = candidate(long_text(1, 0), subject="ann")
    other = {
        "subject": candidate(long_text(2, 0), subject="ann"),
        "prompt": candidate(long_text(1, 0), subject="bob"),
        "near": candidate(long_text(1, 1), subject="bob"),
        "history": candidate(long_text(2, 0), subject="ann"),
    }[tie]
    splits: dict[str, Split] = {one.interaction_id: "train", other.interaction_id: "test"}
    history = EMPTY_HISTORY
    now = [one, other]
    if tie == "history":
        history, now = as_history(Assigned([one], [], splits=splits)), [other]
    with pytest.raises(DataError, match=rf"{other.interaction_id} is in test, but its .* in train"):
        check_no_leak(now, splits, near_of([one, other]), history)
