"""A disk that is full while a run writes: how it is known, what is said, and room to say it.

An error and the run's folder go in; words with file, folder and bytes come out. A run keeps a small
reserve on the disk, which is given back then, so that its end can still be written down. The last
whole checkpoint stays: `ratchet resume` goes on from it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from core.errors import TrainingError
from retrain.runs.checkpoints import remove_incomplete
from retrain.runs.disk import checkpoint_bytes
from retrain.runs.spec import CHECKPOINT_FOLDER, JobSpec

RESERVE_FILE = "reserve"
RESERVE_BYTES = 2 << 20  # a row and its log in the store, a report, last words: under 1 MB together
NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# What libraries say that hide the number: safetensors (Rust) and torch's writer of archives.
WORDS = (
    *("No space left on device", "Disk quota exceeded", "File too large"),
    *("os error 28", "os error 122", "os error 27"),
    "database or disk is full",
)
TORCH_WRITER = ("PytorchStreamWriter failed", "inline_container.cc", "unexpected pos")
# Files that are written to all the time: none of them tells what filled the disk.
ALWAYS_WRITTEN = frozenset({RESERVE_FILE, "job.log", "job.lock", "runner.lock", "system.jsonl"})
MEND = "make room, lower keep_checkpoints in the recipe, or set data_dir to a larger disk"


def is_full_disk(error: BaseException) -> bool:
    """Return whether the error, or what it came of, is that nothing more could be written."""
    return any(_says_full(one) for one in _chain(error))


def as_full_disk(error: BaseException, folder: Path) -> TrainingError | None:
    """Return the error in words if a full disk is what it is or came of, else None."""
    if isinstance(error, TrainingError) or not is_full_disk(error):
        return None  # what the job said needs no other words
    return TrainingError(full_disk_words(folder, error))


def full_disk_words(folder: Path, error: BaseException | None = None) -> str:
    """Return what a run's folder tells of a disk that is full now: file, bytes, mend."""
    free = shutil.disk_usage(folder).free
    what = _named(error) or _newest(folder)
    spec = JobSpec.read(folder)
    needed = checkpoint_bytes(Path(spec.base_model), spec.parsed_recipe())
    limit = (
        "" if free < needed else ", so that a quota or a limit on the size of files is in the way"
    )
    return (
        f"the disk is full: {what} could not be written whole; {folder} has {free / 1e6:.1f} MB "
        f"free and a checkpoint takes up to {needed / 1e6:.1f} MB{limit}: {MEND}; then "
        f"`ratchet resume {folder.name}` goes on from the last whole checkpoint"
    )


def keep_reserve(folder: Path) -> None:
    """Take a little room of the disk, to be given back when there is no other.

    Raises: TrainingError when there is not even that.
    """
    path = folder / RESERVE_FILE
    try:  # of random bytes, which no file system makes smaller
        path.write_bytes(os.urandom(RESERVE_BYTES))
    except OSError as error:
        error.filename = str(path)  # writing names none
        told = as_full_disk(error, folder)
        drop_reserve(folder)
        raise told or error from error


def drop_reserve(folder: Path) -> None:
    """Give the reserve back."""
    (folder / RESERVE_FILE).unlink(missing_ok=True)


def make_room(folder: Path) -> None:
    """Delete the reserve, and what the job whose disk is full left half written."""
    drop_reserve(folder)
    remove_incomplete(folder / CHECKPOINT_FOLDER)
    for partial in folder.glob(".*.partial"):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in NUMBERS:
        return True
    said = str(error)
    return any(words in said for words in (*WORDS, *TORCH_WRITER))


def _named(error: BaseException | None) -> str | None:
    """Return the file that the error names, if it names one."""
    names = [one.filename2 or one.filename for one in _chain(error) if isinstance(one, OSError)]
    return next((str(name) for name in names if name), None)


def _newest(folder: Path) -> str:
    """Return the file that was written to last, below the run's folder."""
    files = (path for path in folder.rglob("*") if not path.is_dir())
    told = (path for path in files if path.name not in ALWAYS_WRITTEN)
    newest = max(told, key=lambda path: path.lstat().st_mtime_ns, default=folder / "checkpoints")
    return newest.relative_to(folder).as_posix()
