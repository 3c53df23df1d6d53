"""Checkpoints: only whole ones count, and half-written ones are cleared away."""

from __future__ import annotations

from pathlib import Path

from retrain.runs.checkpoints import mark_complete, newest_complete, remove_incomplete


def save(folder: Path, step: int, *, complete: bool) -> Path:
    """Write a checkpoint, marked or broken off."""
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "optimizer.pt").write_bytes(b"state")
    if complete:
        mark_complete(path)
    return path


def test_newest_whole_checkpoint_is_found_by_step(tmp_path: Path) -> None:
    """Step 100 is newer than step 20, and a newer broken one does not count."""
    save(tmp_path, 20, complete=True)
    newest = save(tmp_path, 100, complete=True)
    save(tmp_path, 120, complete=False)
    (tmp_path / "checkpoint-best").mkdir()
    assert newest_complete(tmp_path) == (newest, 100)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    """A run that has just begun has nothing to go on from."""
    assert newest_complete(tmp_path / "absent") is None
    save(tmp_path, 5, complete=False)
    assert newest_complete(tmp_path) is None


def test_only_broken_checkpoints_are_removed(tmp_path: Path) -> None:
    """Whole checkpoints and other folders stay."""
    whole = save(tmp_path, 20, complete=True)
    broken = save(tmp_path, 40, complete=False)
    other = tmp_path / "logs"
    other.mkdir()
    assert remove_incomplete(tmp_path) == [broken]
    assert sorted(tmp_path.iterdir()) == sorted([whole, other])
    assert remove_incomplete(tmp_path / "absent") == []


def test_a_checkpoint_that_was_damaged_later_does_not_count(tmp_path: Path) -> None:
    """A file that was cut, changed or lost sends the run back to the one before."""
    for number, harm in enumerate((cut, change, lose)):
        folder = tmp_path / str(number)
        before = save(folder, 20, complete=True)
        newest = save(folder, 40, complete=True)
        assert newest_complete(folder) == (newest, 40)
        harm(newest / "optimizer.pt")
        assert newest_complete(folder) == (before, 20)
        assert remove_incomplete(folder) == [newest]


def test_an_unreadable_marker_is_none(tmp_path: Path) -> None:
    """An empty one, too, as a full disk leaves it."""
    for text in ("", "[]"):
        newest = save(tmp_path / f"with{text}", 40, complete=True)
        (newest / "complete").write_text(text)
        assert newest_complete(newest.parent) is None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def change(path: Path) -> None:
    path.write_bytes(b"stale")


def lose(path: Path) -> None:
    path.unlink()
