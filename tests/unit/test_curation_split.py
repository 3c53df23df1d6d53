"""Splits: nothing of one person or one question on both sides, now or in any later version."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from curation.history import History, Split
from curation.split import Group, Prompts, Shares, assign_splits, check_no_leak, place_groups
from curation.table import Table, conversations
from tests.unit.candidate_tables import keyed, near_in, row
from tests.unit.curation_world import name

SHARES = Shares(validation=0.1, test=0.1)
THRESHOLD = 0.9
EMPTY_HISTORY = History(None, {}, {})

Row = dict[str, Any]


def long_text(topic: int, variant: int) -> str:
    """Return a text that is near any variant of its topic, and far from other topics'."""
    filler = "".join(hashlib.sha256(f"{topic} {part}".encode()).hexdigest() for part in range(5))
    return f"{filler} {name(variant)}"


def ask(prompt: str, **columns: Any) -> Row:
    """Return a row that asks."""
    return row(prompt, "An answer.", **columns)


@dataclass
class Past:
    """What earlier versions held: their rows, and what the history says of them."""

    rows: list[Row]
    history: History


@dataclass
class Assigned:
    """What a version holds: its rows, the split of each interaction, and what was dropped."""

    table: Table
    splits: dict[str, Split]
    dropped: list[Row]


NOTHING = Past([], EMPTY_HISTORY)


def compared(rows: Sequence[Row], past: Past = NOTHING) -> tuple[Table, Prompts]:
    """Return the rows by their keys, and all prompts of now and of before."""
    now = {r["interaction_id"] for r in rows}
    old = [r for r in past.rows if r["interaction_id"] not in now]
    held = past.history.interactions
    every = keyed(*(
        {**r, "preference": -1 if r in old else 0 if r["interaction_id"] in held else 1}
        for r in (*old, *rows)
    ))  # fmt: skip
    near = near_in(every, THRESHOLD)
    ids, numbers = every["interaction_id"].to_pylist(), every["number"].to_pylist()
    bound: dict[int, Split] = {
        number: held[id_] for id_, number in zip(ids, numbers, strict=True) if id_ in held
    }
    table = every.filter(pa.array([id_ in now for id_ in ids]))
    return table, Prompts(table["number"].to_numpy(), near, bound)


def assign(rows: Sequence[Row], past: Past = NOTHING, shares: Shares = SHARES) -> Assigned:
    """Split the rows, and check them as the pipeline does."""
    table, prompts = compared(rows, past)
    assigned = assign_splits(table, prompts, past.history, shares)
    kept = assigned.outcome.kept
    own = Prompts(kept["number"].to_numpy(), prompts.near, prompts.bound)
    check_no_leak(kept, assigned.splits, own, past.history)
    splits = dict(zip(kept["interaction_id"].to_pylist(), assigned.splits, strict=True))
    return Assigned(kept, splits, assigned.outcome.drops.to_pylist())


def remembered(rows: Sequence[Row], splits: dict[str, Split]) -> Past:
    """Return what the next version will know of one with these rows."""
    kept = [r for r in rows if r["interaction_id"] in splits]
    subjects: dict[str, Split] = {
        r["subject"]: splits[r["interaction_id"]] for r in kept if r.get("subject")
    }
    return Past(kept, History(None, splits, subjects))


def loners(count: int, first: int = 0) -> list[Row]:
    """Return rows that share nothing, so that every split has its own."""
    return [
        ask(long_text(1_000 + n, 0), subject=f"loner {n}", minute=n, id_=f"loner {n}")
        for n in range(first, first + count)
    ]


people = st.one_of(st.none(), st.integers(0, 8).map(str))
crowds = st.lists(
    st.builds(
        ask,
        st.builds(long_text, st.integers(0, 10), st.integers(0, 2)),
        subject=people,
        minute=st.integers(0, 99),
    ),
    max_size=25,
)


def splits_by(versions: Sequence[Assigned], key: str) -> dict[str, set[Split]]:
    """Return the splits of each subject, or of each topic, over all versions."""
    found: defaultdict[str, set[Split]] = defaultdict(set)
    for version in versions:
        texts = [texts[0] for texts in conversations(version.table)]
        for kept, text in zip(version.table.to_pylist(), texts, strict=True):
            of = kept["subject"] if key == "subject" else text.rpartition(" ")[0]
            if of is not None:
                found[of].add(version.splits[kept["interaction_id"]])
    return found


@settings(max_examples=20, deadline=None)
@given(crowds)
def test_no_subject_and_no_near_duplicate_is_in_two_splits(crowd: list[Row]) -> None:
    """Whatever people ask, a subject's examples and a topic's variants stay together."""
    assigned = assign([*crowd, *loners(3)])
    assert assigned.dropped == []
    for key in ("subject", "topic"):
        assert all(len(splits) == 1 for splits in splits_by([assigned], key).values())


@settings(max_examples=20, deadline=None)
@given(crowds, crowds, crowds)
def test_splits_stay_as_data_grow(first: list[Row], second: list[Row], third: list[Row]) -> None:
    """Over three versions nothing moves, and no subject or topic is ever on two sides."""
    seen = [*first, *loners(6)]
    versions = [assign(seen)]
    past = remembered(seen, versions[0].splits)
    for batch in (second, third):
        seen = [*seen, *batch]
        versions.append(assign(seen, past))
        kept, held = versions[-1].splits, past.history.interactions
        assert {id_: kept[id_] for id_ in held} == held
        past = remembered(seen, kept)
    for key in ("subject", "topic"):
        assert all(len(splits) == 1 for splits in splits_by(versions, key).values())


@settings(max_examples=20, deadline=None)
@given(crowds)
def test_splits_do_not_depend_on_order(crowd: list[Row]) -> None:
    """The same rows in reverse get the same splits."""
    rows = [*crowd, *loners(3)]
    assert assign(rows).splits == assign(rows[::-1]).splits


@given(st.lists(st.tuples(st.integers(1, 40), st.uuids()), min_size=3, max_size=9))
def test_three_groups_are_enough(drawn: list[tuple[int, UUID]]) -> None:
    """However large each is, and whatever their order: no split stays empty."""
    groups = {
        root: Group(size, str(first), 0, 0, shows=True) for root, (size, first) in enumerate(drawn)
    }
    placed = place_groups(groups, {}, Shares(0.1, 0.1))
    assert set(placed.values()) == {"train", "validation", "test"}


def test_splits_get_their_shares() -> None:
    """Of 200 groups of one, a tenth goes to validation and a tenth to test."""
    counted = list(assign(loners(200)).splits.values())
    assert {split: counted.count(split) for split in ("train", "validation", "test")} == {
        "train": 160,
        "validation": 20,
        "test": 20,
    }


def test_each_split_has_the_topics_of_the_whole() -> None:
    """A topic of a fifth is a fifth of the test set too."""
    groups = {
        number: Group(1, f"interaction {number}", topic=int(number % 5 == 0))
        for number in range(3, 1_003)
    }
    placed = place_groups(groups, {}, SHARES)
    for split in ("test", "validation"):
        topics = [groups[root].topic for root, own in placed.items() if own == split]
        assert (len(topics), sum(topics)) == (100, 20)


def test_the_newest_are_held_out_in_a_split_by_time() -> None:
    """Validation is newer than train, and test newer still."""
    splits = assign(loners(50), shares=Shares(0.1, 0.1, temporal=True)).splits
    assert [splits[f"loner {n}"] for n in range(39, 50)] == [
        "train", *["validation"] * 5, *["test"] * 5,
    ]  # fmt: skip


def test_earlier_versions_bind_what_is_no_longer_here() -> None:
    """A subject that an earlier test set held goes to test, though its old example is gone."""
    old = ask(long_text(1, 0), subject="ann", id_="old")
    past = remembered([old], {"old": "test"})
    new = ask(long_text(2, 0), subject="ann", id_="new")
    near_old = ask(long_text(1, 1), subject="bob", id_="near")
    splits = assign([new, near_old, *loners(10)], past).splits
    assert (splits["new"], splits["near"]) == ("test", "test")


def test_row_between_two_splits_is_dropped() -> None:
    """Who is in train and asks what is in test would leak, and is named."""
    tested = ask(long_text(1, 0), subject="ann", id_="tested")
    trained = ask(long_text(2, 0), subject="bob", id_="trained")
    past = remembered([tested, trained], {"tested": "test", "trained": "train"})
    leak = ask(long_text(1, 1), subject="bob", id_="leak")
    assigned = assign([tested, trained, leak, *loners(5)], past)
    assert [(d["interaction_id"], d["reason"]) for d in assigned.dropped] == [
        ("leak", "would leak")
    ]


def test_turns_of_one_conversation_stay_together_without_a_subject() -> None:
    """The second turn repeats the first: only its text tells that it is the same person's."""
    rows: list[Row] = []
    for number in range(20):
        first = row(long_text(number, 0), f"answer {number}", minute=number, id_=f"{number} a")
        follow_up = [
            *first["messages"],
            {"role": "user", "content": long_text(50 + number, 0)},
            {"role": "assistant", "content": "Yes."},
        ]
        rows += [first, row("?", "!", messages=follow_up, id_=f"{number} b")]
    splits = assign(rows).splits
    assert set(splits.values()) == {"train", "validation", "test"}
    for number in range(20):
        assert splits[f"{number} a"] == splits[f"{number} b"]


def test_one_group_cannot_fill_three_splits() -> None:
    """The error says how many groups there are, what is empty, and what to do."""
    crowd = [ask(long_text(number, 0), subject="ann") for number in range(30)]
    with pytest.raises(
        DataError,
        match=r"30 examples form only 1 groups.*test and validation.*at least 2 more subjects",
    ):
        assign(crowd)


def test_smallest_groups_fill_empty_splits() -> None:
    """Three groups are enough, and train keeps the largest."""
    groups = {10: Group(5, "1"), 11: Group(3, "6"), 12: Group(2, "9")}
    placed = place_groups(groups, {}, SHARES)
    assert placed[10] == "train"
    assert sorted(placed.values()) == ["test", "train", "validation"]


def test_share_of_zero_leaves_a_split_empty() -> None:
    """Who wants no validation set gets none, and no error."""
    assigned = assign(loners(10), shares=Shares(0.0, 0.2))
    assert sorted(set(assigned.splits.values())) == ["test", "train"]


@pytest.mark.parametrize("tie", ["subject", "prompt", "near", "history"])
def test_leak_is_found_by_a_check_of_its_own(tie: str) -> None:
    """Splits made by other means are refused, and the message names the first shared thing."""
    one = ask(long_text(1, 0), subject="ann", id_="one")
    other = {
        "subject": ask(long_text(2, 0), subject="ann", minute=1, id_="other"),
        "prompt": ask(long_text(1, 0), subject="bob", minute=1, id_="other"),
        "near": ask(long_text(1, 1), subject="bob", minute=1, id_="other"),
        "history": ask(long_text(2, 0), subject="ann", minute=1, id_="other"),
    }[tie]
    splits: dict[str, Split] = {"one": "train", "other": "test"}
    past, now = NOTHING, [one, other]
    if tie == "history":
        past, now = remembered([one], {"one": "train"}), [other]
    table, prompts = compared(now, past)
    own: list[Split] = [splits[id_] for id_ in table["interaction_id"].to_pylist()]
    with pytest.raises(DataError, match=r"other is in test, but its .* in train"):
        check_no_leak(table, own, prompts, past.history)
