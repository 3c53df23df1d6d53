"""A disk that is full while a run writes: known whoever says so, and told with bytes and mend."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import NamedTuple

import pytest

from core.errors import TrainingError
from retrain.launchers.local import LocalLauncher
from retrain.recipe import load_recipe
from retrain.runs import full_disk
from retrain.runs.full_disk import (
    RESERVE_BYTES,
    RESERVE_FILE,
    as_full_disk,
    drop_reserve,
    full_disk_words,
    is_full_disk,
    keep_reserve,
    make_room,
)
from retrain.runs.progress import FILE, Reporter, TrainProgress, read_all
from retrain.runs.ranks import Ranks, last_words, leave_words
from tests.training_world import a_job, plain
from tests.unit.test_checkpoints import save
from tests.unit.test_estimate import SMOLLM2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a run's folder with its job, on a model's configuration."""
    model, run = tmp_path / "model", tmp_path / "run-1"
    model.mkdir()
    run.mkdir()
    (model / "config.json").write_text(json.dumps(SMOLLM2))
    recipe = plain(load_recipe("sft-lora"))
    a_job(model, tmp_path, run_id="run-1", recipe=recipe).write(run)
    return run


def caused(outer: Exception, inner: Exception) -> Exception:
    """Return the outer error, as raised for the inner one."""
    try:
        raise outer from inner
    except Exception as error:
        return error


def full() -> OSError:
    """Return what writing to a full disk raises, from the system itself."""
    with pytest.raises(OSError, match="No space left") as raised:
        Path("/dev/full").write_bytes(b"something")
    return raised.value


def test_a_full_disk_is_known_by_whoever_says_so() -> None:
    """The system's number, quotas and limits, Rust's and torch's words, and what came of them."""
    for error in (
        full(),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
        caused(ValueError("cannot save"), full()),
    ):
        assert is_full_disk(error)
    for error in (OSError(errno.EIO, "I/O error"), ValueError("loss is nan")):
        assert not is_full_disk(error)
        assert as_full_disk(error, Path()) is None
    assert as_full_disk(caused(TrainingError("the job said so"), full()), Path()) is None


def test_words_name_file_folder_bytes_and_mend(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was written to last, or the one that the error names."""
    save(folder / "checkpoints", 8, complete=False)
    keep_reserve(folder)
    (folder / "system.jsonl").write_text("{}\n")
    told = full_disk_words(folder)
    assert told.startswith("the disk is full: checkpoints/checkpoint-8/optimizer.pt could not be")
    assert f"{folder} has " in told
    assert " MB free and a checkpoint takes up to 63.0 MB, so that a quota or a limit" in told
    assert "lower keep_checkpoints in the recipe, or set data_dir to a larger disk" in told
    assert "`ratchet resume run-1`" in told
    named = as_full_disk(OSError(errno.ENOSPC, "full", "/elsewhere/adapter"), folder)
    assert "the disk is full: /elsewhere/adapter could not" in str(named)
    monkeypatch.setattr(full_disk.shutil, "disk_usage", little)
    assert " has 1.0 MB free and a checkpoint takes up to 63.0 MB: make room" in full_disk_words(
        folder
    )


class Usage(NamedTuple):
    """What a disk has."""

    free: int


def little(_: Path) -> Usage:
    """Return a megabyte."""
    return Usage(free=1_000_000)


def test_a_reserve_makes_room_for_last_words(folder: Path) -> None:
    """It takes real blocks; half-written things go with it, whole ones stay."""
    whole = save(folder / "checkpoints", 4, complete=True)
    half = save(folder / "checkpoints", 8, complete=False)
    (folder / ".adapter.partial").mkdir()
    (folder / ".outcome.json.1.partial").write_text("{")
    keep_reserve(folder)
    assert (folder / RESERVE_FILE).stat().st_blocks * 512 >= RESERVE_BYTES
    make_room(folder)
    assert whole.is_dir()
    assert not half.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoints", "job.json"]
    drop_reserve(folder)


def test_no_room_for_a_reserve_is_told(folder: Path) -> None:
    """On a full disk nothing begins."""
    (folder / RESERVE_FILE).symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"the disk is full: .*reserve could not be written"):
        keep_reserve(folder)
    assert not (folder / RESERVE_FILE).is_symlink()


def test_words_that_cannot_be_kept_cost_nothing(folder: Path, tmp_path: Path) -> None:
    """The exit code says it too, and who waits finds words of its own."""
    leave_words(tmp_path / "no such folder", "words", Ranks())
    leave_words(folder, "words", Ranks())
    assert last_words(folder) is not None


def test_a_half_written_line_does_not_spoil_the_next(folder: Path) -> None:
    """A full disk leaves one without its end; the attempt after it begins a line of its own."""
    with (folder.parent / "out").open("w") as output:
        Reporter(output, folder).tell(TrainProgress("train", step=1))
        with (folder / FILE).open("a") as file:
            file.write('{"phase":"tr')
        after = Reporter(output, folder)
        after.tell(TrainProgress("train", step=8, resumed_from=8))
        after.tell(TrainProgress("train", step=9))
    assert [one.step for one in read_all(folder)] == [1, 8, 9]


def test_a_job_whose_disk_is_full_tells_its_launcher(folder: Path) -> None:
    """The real process, before it loads anything: its words come by its folder."""
    keep_reserve(folder)
    (folder / FILE).symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"run run-1 failed: .*the disk is full: "):
        LocalLauncher().run(folder, lambda _: None, lambda: False)
    assert last_words(folder) is not None
    assert not (folder / RESERVE_FILE).exists()
    assert "the disk is full" in (folder / "job.log").read_text()
