"""The dataset versions of an application in their order, and the newest of them.

A session and an application go in, rows come out. The order is that of the numbers in their ids: a
version that was pulled keeps the time at which it was made elsewhere. Knows nothing of what is in
them.
"""

from __future__ import annotations

from sqlmodel import Session, select

from core.errors import NotFoundError
from feedback.tables import DatasetVersion


def dataset_versions(session: Session, application: str) -> list[DatasetVersion]:
    """Return all versions of the application, the oldest first."""
    query = select(DatasetVersion).where(DatasetVersion.application == application)
    return sorted(session.exec(query), key=version_number)


def newest_version(session: Session, application: str) -> DatasetVersion | None:
    """Return the version of the application that was made last, or None."""
    return next(reversed(dataset_versions(session, application)), None)


def require_newest_version(session: Session, application: str) -> DatasetVersion:
    """Return the version of the application that was made last.

    Raises: NotFoundError when there is none.
    """
    newest = newest_version(session, application)
    if newest is None:
        raise NotFoundError(f"{application} has no dataset version yet: run `ratchet curate` first")
    return newest


def version_number(version: DatasetVersion) -> int:
    """Return N of `application--dN`."""
    return int(version.id.rpartition("--d")[2])
