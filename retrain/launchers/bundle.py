"""A run's folder that is whole by itself: with data, base model and adapter, for another machine.

A run's folder goes in; a copy comes out whose `job.json` names its inputs by paths below itself, so
that it can be sent anywhere. What comes back from there is taken over into the run's folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from core.errors import DataError, StateError
from retrain.runs import progress
from retrain.runs.checkpoints import MARKER
from retrain.runs.spec import CHECKPOINT_FOLDER, FOLDERS, JOB_FILE, JobResult, JobSpec

INPUTS = "inputs"


def pack(folder: Path, target: Path, *, tell: Callable[[str], None] = print) -> Path:
    """Copy the run of `folder` with all that it needs to `target`, and return that.

    Files that are there with the same size are left alone: a broken-off copy goes on.

    Raises: DataError when an input is missing; TrainingError when `folder` holds no job.
    """
    spec = JobSpec.read(folder)
    moved: dict[str, str] = {}
    for name in FOLDERS:
        source = getattr(spec, name)
        if source is None:
            continue
        if not Path(source).is_dir():
            raise DataError(f"{name} of run {spec.run_id} is {source}, which is no folder any more")
        tell(f"{name}: {source}")
        _copy(Path(source), target / INPUTS / name)
        moved[name] = f"{INPUTS}/{name}"
    if (folder / CHECKPOINT_FOLDER).is_dir():
        _copy(folder / CHECKPOINT_FOLDER, target / CHECKPOINT_FOLDER)
    replace(spec, **moved).write(target)
    return target


def unpack(source: Path, folder: Path) -> JobResult:
    """Take what a job left in `source` over into the run's `folder`; return its result.

    Raises: StateError when it has no result yet, or is another run's.
    """
    if JobSpec.read(source).run_id != JobSpec.read(folder).run_id:
        raise StateError(
            f"{source} is the folder of run {JobSpec.read(source).run_id}, not of {folder.name}"
        )
    result = JobResult.read(source)
    if result is None:
        raise StateError(
            f"{source} holds no result: the job has not ended, or its folder was not fetched whole"
        )
    for path in source.iterdir():
        if path.name in (INPUTS, JOB_FILE, CHECKPOINT_FOLDER, progress.FILE):
            continue
        if path.is_dir():
            _copy(path, folder / path.name)
        else:
            shutil.copyfile(path, folder / path.name)
    return result


def _copy(source: Path, target: Path) -> None:
    """Copy the files that are not there yet, each whole or not at all; markers last."""
    files = sorted((path for path in source.rglob("*") if path.is_file()), key=_marker_last)
    for path in files:
        place = target / path.relative_to(source)
        if place.is_file() and place.stat().st_size == path.stat().st_size:
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.partial")
        shutil.copyfile(path, partial)
        partial.replace(place)


def _marker_last(path: Path) -> tuple[bool, str]:
    return path.name == MARKER, path.as_posix()
