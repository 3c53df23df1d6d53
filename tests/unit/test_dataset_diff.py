"""What differs between two dataset versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import DataError
from curation.dataset_diff import diff_versions
from tests.unit.candidate_tables import row
from tests.unit.dataset_world import FACTS, SPLITS, Shelf, open_shelf, some_rows


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    """Give an empty store and folder."""
    shelf = open_shelf(tmp_path)
    yield shelf
    shelf.store.close()


def test_a_version_does_not_differ_from_itself(shelf: Shelf) -> None:
    """No example is added, removed or moved, and no setting differs."""
    version = shelf.put()
    diff = diff_versions(version, version)
    assert (diff.same_content, diff.common) == (True, 9)
    assert (diff.added.examples, diff.removed.examples, diff.moved.any) == (0, 0, False)
    assert diff.settings == {}
    assert diff.counts["demonstration train"] == [4, 4]


def test_added_and_removed_are_counted_by_source_kind_and_split(shelf: Shelf) -> None:
    """Kinds count apart: the demonstration of i0 goes, a corrected one and a test come."""
    first = shelf.put()
    rows = some_rows()[1:]
    rows.append(row("How long is it?", "A metre.", source="correction", subject="n", id_="i7"))
    rows.append(row("How wide is it?", "A foot.", subject="m", id_="i8"))
    second = shelf.put("desk--d2", rows, {**SPLITS, "i8": "test"}, parent="desk--d1")
    diff = diff_versions(first, second)
    assert (diff.before, diff.after, diff.common) == ("desk--d1", "desk--d2", 8)
    assert diff.added.by == {
        "source": {"correction": 1, "thumbs_up": 1},
        "kind": {"demonstration": 2},
        "split": {"train": 1, "test": 1},
    }
    assert diff.removed.by["split"] == {"train": 1}
    assert diff.counts["demonstration test"] == [1, 2]
    assert not diff.moved.any


def test_what_moved_to_another_split_is_told(shelf: Shelf) -> None:
    """As example, as interaction and as subject: each alone would be a leak."""
    first = shelf.put()
    rows = some_rows()
    rows[3] = row("Another question entirely?", "Yes.", subject="subject 3", id_="i3-new")
    rows[5] = row("Of the same interaction.", "Yes.", id_="i5")
    second = shelf.put("desk--d2", rows, {"i4": "test", "i3-new": "test", "bad": "safety"})
    moved = diff_versions(first, second).moved
    assert (moved.examples, moved.interactions, moved.subjects) == (1, 2, 2)
    assert len(moved.first) == 1


def test_safety_tests_are_in_no_split(shelf: Shelf) -> None:
    """Somebody's flagged answer may be a test while another is learnt from."""
    first = shelf.put()
    rows = [*some_rows(), row("Kind?", "Yes!", subject="s", id_="bad")]
    second = shelf.put("desk--d2", rows[:8] + rows[9:], {"i4": "validation", "i5": "test"})
    assert not diff_versions(first, second).moved.any


def test_settings_and_stages_are_compared(shelf: Shelf) -> None:
    """By their dotted names, and by reason; a stage that one lacks has None there."""
    first = shelf.put()
    stages = [
        {**FACTS["stages"][0], "dropped": {"flagged": 5, "empty": 1}},
        {"name": "quality", "before": 6, "after": 5, "changed": 0, "dropped": {"refusal": 1}},
    ]
    rules = {"curation": {"near_duplicate_similarity": 0.9, "max_tokens": 1024, "workers": None}}
    second = shelf.put("desk--d2", settings=rules, stages=stages, code_hash="d" * 64)
    diff = diff_versions(first, second)
    assert diff.settings == {
        "curation.near_duplicate_similarity": [0.95, 0.9],
        "code_hash": ["c" * 64, "d" * 64],
    }
    assert diff.stages["select"] == {"flagged": [3, 5], "empty": [0, 1]}
    assert diff.stages["quality"] == {"refusal": [None, 1]}
    assert diff.stages["redact"] == {}


def test_erasures_since_are_counted(shelf: Shelf) -> None:
    """What an erasure took out of a version is no choice of curation."""
    first = shelf.put(erased=[{"erasure": "e", "at": "2026", "examples": 2}])
    assert diff_versions(first, shelf.put("desk--d2")).erased == {"desk--d1": 2, "desk--d2": 0}


def test_a_broken_or_missing_file_is_named(shelf: Shelf) -> None:
    """With the version and the mend."""
    first, second = shelf.put(), shelf.put("desk--d2")
    path = Path(second.path) / "pairs" / "train.parquet"
    path.chmod(0o644)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"desk--d2: .*pairs/train\.parquet cannot be read .*pull"):
        diff_versions(first, second)
    path.unlink()
    with pytest.raises(DataError, match=r"desk--d2: .*pairs/train\.parquet is missing"):
        diff_versions(first, second)
