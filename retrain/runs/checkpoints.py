"""Checkpoints of a run: which are whole, and where to go on from.

A checkpoint `checkpoint-N` counts only when its marker is there, written after every file of it has
reached the disk, and its files are still those that the marker names: a process killed while saving
leaves one without, a bad disk one that differs. Knows nothing of torch.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import msgspec

from core.files import file_sha256, write_atomic

MARKER = "complete"
_NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(checkpoint: Path) -> None:
    """Flush the checkpoint's files to disk, then mark it as whole, with the hash of each."""
    for path in [*_files(checkpoint), checkpoint]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    write_atomic(checkpoint / MARKER, msgspec.json.encode(_hashes(checkpoint)))


def is_intact(checkpoint: Path) -> bool:
    """Return whether the checkpoint was finished, and nothing of it was changed or lost since."""
    try:
        marked = msgspec.json.decode((checkpoint / MARKER).read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.DecodeError):
        return False
    return marked == _hashes(checkpoint)


def newest_complete(folder: Path) -> tuple[Path, int] | None:
    """Return the newest intact checkpoint below `folder` with its step, or None."""
    for path, step in sorted(_numbered(folder), key=lambda item: -item[1]):
        if is_intact(path):  # older ones are only hashed when a newer one is broken
            return path, step
    return None


def remove_incomplete(folder: Path) -> list[Path]:
    """Delete what a run cannot go on from, and return the paths.

    That is what a killed process left half written, and what is newer than the newest intact one
    and differs from its marker; older ones are not looked at.
    """
    newest = newest_complete(folder)
    least = -1 if newest is None else newest[1]
    broken = [
        path for path, step in _numbered(folder) if step > least or not (path / MARKER).is_file()
    ]
    for path in broken:
        shutil.rmtree(path)
    return broken


def _numbered(folder: Path) -> list[tuple[Path, int]]:
    paths = folder.iterdir() if folder.is_dir() else ()
    return [(path, int(name.group(1))) for path in paths if (name := _NAME.fullmatch(path.name))]


def _files(checkpoint: Path) -> list[Path]:
    found = (path for path in checkpoint.rglob("*") if path.is_file() and path.name != MARKER)
    return sorted(found)


def _hashes(checkpoint: Path) -> dict[str, str]:
    return {
        path.relative_to(checkpoint).as_posix(): file_sha256(path) for path in _files(checkpoint)
    }
