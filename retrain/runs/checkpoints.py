"""Checkpoints of a run: which are whole, and where to go on from.

A checkpoint `checkpoint-N` counts only when its marker is there, written after every file of
it has reached the disk; a process killed while saving leaves one without. Knows nothing of
torch.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

MARKER = "complete"
_NAME = re.compile(r"checkpoint-(\d+)")


def mark_complete(checkpoint: Path) -> None:
    """Flush the checkpoint's files to disk, then mark it as whole."""
    for path in [*checkpoint.iterdir(), checkpoint]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    (checkpoint / MARKER).touch()


def newest_complete(folder: Path) -> tuple[Path, int] | None:
    """Return the newest whole checkpoint below `folder` with its step, or None."""
    found = [
        (path, int(name.group(1)))
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (name := _NAME.fullmatch(path.name)) and (path / MARKER).is_file()
    ]
    return max(found, key=lambda item: item[1], default=None)


def remove_incomplete(folder: Path) -> list[Path]:
    """Delete the checkpoints that a killed process left half written; return their paths."""
    broken = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if _NAME.fullmatch(path.name) and not (path / MARKER).is_file()
    ]
    for path in broken:
        shutil.rmtree(path)
    return broken
