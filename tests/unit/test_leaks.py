"""The independent check that no split of a dataset version leaks into another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.dataset_check import problems
from curation.leaks import Leak, find_leaks
from curation.pipeline import build_dataset
from curation.similarity import similarity
from curation.similarity_join import SimilarityJoin
from tests.unit.candidate_tables import pair, row
from tests.unit.curation_world import name, open_world
from tests.unit.dataset_world import QUESTIONS, Shelf, open_shelf

LONG = (
    "Good morning, I would like to know where the parcel is that I sent to Cologne on Monday, "
    "because the tracking page has said nothing for three days and my sister waits for it"
)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Give an empty store and folder."""
    shelf = open_shelf(tmp_path)
    yield shelf
    shelf.store.close()


def found(shelf: Shelf, *rows: dict[str, Any], test: str = "held") -> dict[str, Leak]:
    """Return the leaks by name of a version whose interaction `held` is in test."""
    version = shelf.put(rows=rows, splits={test: "test"})
    return {leak.what: leak for leak in find_leaks(version)}


def test_a_clean_version_leaks_nothing(shelf: Shelf) -> None:
    """Pairs, labels and safety tests beside demonstrations of the same people are no leak."""
    assert find_leaks(shelf.put()) == []
    assert problems(shelf.put("desk--d2")) == []


def test_a_subject_in_two_splits_is_found(shelf: Shelf) -> None:
    """With an interaction of each split, across kinds of examples."""
    other = row("What now?", "Wait.", kind="label", label=True, subject="ann", id_="held")
    leak = found(shelf, row("Who?", "I.", subject="ann", id_="a"), other)
    assert list(leak) == ["subject"]
    assert leak["subject"].cases == 1
    assert set(leak["subject"].shown[0]) == {"a (train)", "held (test)"}
    assert "the same subject in two splits, 1 times: " in str(leak["subject"])


def test_an_interaction_in_two_splits_is_found(shelf: Shelf) -> None:
    """Its demonstration is learnt, and its pair is tested: files of two versions, mixed."""
    learnt = shelf.put(rows=[row("Who?", "I.", id_="a")], splits={})
    tested = shelf.put("desk--d2", [pair("Why?", "So.", "No.", id_="a")], {"a": "test"})
    assert find_leaks(learnt) == find_leaks(tested) == []
    (Path(tested.path) / "train.parquet").unlink()
    shutil.copyfile(Path(learnt.path) / "train.parquet", Path(tested.path) / "train.parquet")
    assert [leak.what for leak in find_leaks(tested)] == ["interaction"]


def test_what_a_model_wrote_is_where_its_seeds_are(shelf: Shelf) -> None:
    """An example that was made from one of another split gives it away."""
    seed = row("Who?", "I.", subject="ann", id_="a")
    written = row("Who is it?", "It is I.", source="paraphrase", id_="held", seeds=["a"])
    assert list(found(shelf, seed, written)) == ["interaction"]


def test_a_prompt_in_two_splits_is_found(shelf: Shelf) -> None:
    """Case, spacing and closing punctuation make no other prompt."""
    leak = found(
        shelf,
        row("Where is  the Parcel?", "Here.", subject="ann", id_="a"),
        pair("where is the parcel", "There.", "Gone.", subject="bob", id_="held"),
    )
    assert list(leak) == ["prompt"]


def test_a_near_duplicate_prompt_in_two_splits_is_found(shelf: Shelf) -> None:
    """One letter of a long question; a shorter one with another word is another question."""
    leak = found(
        shelf,
        row(LONG, "Here.", subject="ann", id_="a"),
        row(f"{LONG}s", "There.", subject="bob", id_="held"),
        row("Where is my car?", "There.", subject="cid", id_="b"),
    )
    assert list(leak) == ["near duplicate prompt"]
    assert set(leak["near duplicate prompt"].shown[0]) == {"a (train)", "held (test)"}
    assert found_none(shelf, "Where is my car?", "Where is my cat?")


def found_none(shelf: Shelf, one: str, other: str) -> bool:
    """Return whether two prompts in two splits are told apart."""
    rows = [row(one, "Here.", subject="ann", id_="a"), row(other, "No.", subject="b", id_="held")]
    return find_leaks(shelf.put("desk--d2", rows, {"held": "test"})) == []


def test_how_alike_is_too_alike_is_as_the_version_was_made(shelf: Shelf) -> None:
    """At a similarity of 1 near duplicates are no leak."""
    rows = [
        row(LONG, "Here.", subject="ann", id_="a"),
        row(f"{LONG}s", "There.", subject="bob", id_="held"),
    ]
    rules = {"curation": {"near_duplicate_similarity": 1.0}}
    assert find_leaks(shelf.put(rows=rows, splits={"held": "test"}, settings=rules)) == []


def test_a_conversation_of_nobody_that_goes_on_in_another_split_is_found(shelf: Shelf) -> None:
    """What one example ends with is how the other begins; known people are told by their hash."""
    talk = [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "Here."},
        {"role": "user", "content": "And the other one?"},
        {"role": "assistant", "content": "Over there."},
    ]
    begun, gone_on = row("Where is it?", "Here.", id_="a"), row("", "", messages=talk, id_="held")
    assert list(found(shelf, begun, gone_on)) == ["conversation"]
    people = [{**begun, "subject": "ann"}, {**gone_on, "subject": "bob"}]
    assert find_leaks(shelf.put("desk--d2", people, {"held": "test"})) == []


def test_a_long_text_before_every_question_makes_no_duplicates(shelf: Shelf) -> None:
    """What a fifth of the prompts share does not count, as in the build."""
    letters = "abcdefghijklmnopqrst"
    shared = " ".join((LONG, *QUESTIONS))
    rows = [
        row(f"{shared} {letter * 5}?", "Yes.", subject=letter, id_=letter) for letter in letters
    ]
    splits = dict.fromkeys(letters[:5], "test")
    assert find_leaks(shelf.put(rows=rows, splits=splits)) == []
    assert similarity(rows[0]["messages"][0]["content"], rows[9]["messages"][0]["content"]) > 0.95


def test_what_a_build_splits_does_not_leak(tmp_path: Path) -> None:
    """Many people, some without a name, who ask what others asked in other words."""
    world = open_world(tmp_path)
    world.crowd(30)
    for number in range(90):
        like = " ".join(name(100 + 12 * (number % 30) + word) for word in range(12)) * 2
        person = f"person {number % 45}" if number % 3 else None
        world.say(f"{like}{number // 30}", f"With {name(number)}.", subject=person, thumbs=True)
    version = build_dataset(world.store, world.settings, "desk")
    assert version.test_rows > 5
    assert problems(version) == []
    world.store.close()


WORDS = st.lists(st.sampled_from(["red", "green", "blue", "seven", "of", "parcel"]), max_size=8)


@settings(max_examples=60, deadline=None)
@given(prompts=st.lists(WORDS, min_size=2, max_size=12), threshold=st.sampled_from([0.5, 0.8, 1.0]))
def test_the_join_finds_all_pairs_and_no_others(prompts: list[list[str]], threshold: float) -> None:
    """Against a comparison of all with all, at thresholds where many are alike."""
    texts = sorted({" ".join(words) for words in prompts})
    splits = ["train" if number % 2 else "test" for number in range(len(texts))]
    whole = pa.array(texts, pa.large_string())
    join = SimilarityJoin(splits, whole, np.empty(0, np.uint32), threshold)
    pairs = sorted(join.near("train", "test"))
    wanted = [
        tuple(sorted(both, key=lambda number: splits[number] == "test"))
        for both in combinations(range(len(texts)), 2)
        if splits[both[0]] != splits[both[1]]
        and similarity(texts[both[0]].ljust(5, "\0"), texts[both[1]].ljust(5, "\0")) >= threshold
    ]
    assert pairs == sorted(wanted)
