"""CURATE: what earlier dataset versions of an application decided, which the next must honour.

Rows of versions and members come in; the parent, and the split of every interaction and subject
that ever was in one, go out. An adapter may have been trained on any of them, so what was in train
never becomes test, and what was in test never becomes train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from sqlmodel import Session, select

from feedback.tables import DatasetMember, DatasetVersion
from feedback.versions import dataset_versions

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SAFETY = "safety"  # what a member is in that is kept as a safety test: in no split
BATCH_ROWS = 10_000  # read from the store at a time


@dataclass(frozen=True)
class History:
    """The splits of all that was in a version; the newest version speaks last."""

    parent: DatasetVersion | None
    interactions: Mapping[str, Split]
    subjects: Mapping[str, Split]


def read_history(session: Session, application: str) -> History:
    """Return what the versions of `application` hold, from the oldest to the newest."""
    ordered = dataset_versions(session, application)
    interactions: dict[str, Split] = {}
    subjects: dict[str, Split] = {}
    for version in ordered:
        columns = select(DatasetMember.interaction_id, DatasetMember.subject, DatasetMember.split)
        query = columns.where(DatasetMember.dataset_id == version.id, DatasetMember.split != SAFETY)
        for interaction, subject, name in session.exec(
            query.execution_options(yield_per=BATCH_ROWS)
        ):
            split = cast(Split, name)
            interactions[interaction] = split
            if subject is not None:
                subjects[subject] = split
    return History(ordered[-1] if ordered else None, interactions, subjects)
