"""CURATE: the folder in which a build works, so that one that died goes on where it was.

    datasets/.work/APPLICATION.lock  APPLICATION/MARK/  selected/  rows/  buckets/  selected.json

`MARK` names what the build reads: settings, code, and how far the store is. With another mark the
old folder is of no use and vanishes, as it does when a build is done or a person is erased.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

import curation
from core.errors import ConflictError
from core.files import sources_sha256
from feedback.tables import Feedback, Interaction, JudgedPair, ReviewItem

WORK_FOLDER = ".work"


@contextmanager
def only_build(datasets: Path, application: str) -> Generator[None]:
    """Let one build of an application work at a time; another would take its folder away.

    Raises: ConflictError while another process, or thread, builds.
    """
    place = datasets / WORK_FOLDER / f"{application}.lock"
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                f"another build for application {application} is running: wait until it is done"
            ) from error
        yield


def work_folder(datasets: Path, application: str, mark: str) -> Path:
    """Return the folder of the build with that mark, and remove those of other builds."""
    own = datasets / WORK_FOLDER / application
    place = own / mark[:16]
    for other in own.glob("*"):
        if other != place:
            shutil.rmtree(other)
    place.mkdir(parents=True, exist_ok=True)
    return place


def forget_work(datasets: Path, application: str) -> None:
    """Remove whatever builds of the application left behind: it holds people's texts."""
    shutil.rmtree(datasets / WORK_FOLDER / application, ignore_errors=True)


def store_mark(session: Session, application: str) -> list[Any]:
    """Return what changes whenever a build would read something else from the store."""
    marks: list[Any] = []
    for table, of in ((Feedback, Feedback.event_id), (Interaction, Interaction.event_id)):
        query = select(func.count(), func.max(col(of))).where(table.application == application)
        marks += session.exec(query).one()
    judged = select(func.count(), func.max(col(JudgedPair.id)))
    marks += session.exec(judged.where(JudgedPair.application == application)).one()
    effective = select(func.count()).where(
        Feedback.application == application,
        col(Feedback.effective),
        col(Feedback.anomaly).is_(None),
    )
    decided = select(func.count(), func.max(col(ReviewItem.closed_at))).where(
        ReviewItem.application == application, col(ReviewItem.verdict).is_not(None)
    )
    reviewed, last = session.exec(decided).one()
    return [*marks, session.exec(effective).one(), reviewed, last and last.isoformat()]


def code_hash() -> str:
    """Return one hash over the sources of curation, for manifests and marks."""
    return sources_sha256(Path(curation.__file__).parent, (".py", ".txt"))
