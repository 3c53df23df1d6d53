"""DETECT, backwards: what must not be kept goes out of windows and references.

An erased person's interactions leave the files of features; means and shares of many, in the
summaries, stay. Windows that are older than their interactions may be kept go whole.
Done again after a break it finds nothing more to do. The caller commits.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from sqlalchemy import delete
from sqlmodel import Session, col, select

from core.settings import Settings
from feedback.drift_tables import FeatureWindow, Reference
from monitoring.windows.feature_file import read_features, write_features


def forget_interactions(session: Session, application: str, ids: Sequence[str]) -> int:
    """Take these interactions out of all windows and references; return how many rows went.

    A file that is not there holds nobody. Raises: DataError for one that cannot be read.
    """
    if not ids:
        return 0
    unwanted, gone = frozenset(ids), 0
    for table in (FeatureWindow, Reference):
        query = select(table).where(col(table.application) == application)
        for row in session.exec(query).all():
            gone += _forget(session, row, unwanted)
    return gone


def forget_old(session: Session, settings: Settings, now: datetime) -> int:
    """Delete windows older than `monitoring.keep_days`, or than their interactions are kept.

    Return how many went.
    """
    gone = 0
    for name, application in settings.applications.items():
        days = min(settings.monitoring.keep_days, application.keep_days or float("inf"))
        is_old = (
            col(FeatureWindow.application) == name,
            col(FeatureWindow.end) < now - timedelta(days=days),
        )
        for path in session.exec(select(FeatureWindow.path).where(*is_old)):
            Path(path).unlink(missing_ok=True)
        gone += session.exec(delete(FeatureWindow).where(*is_old)).rowcount
    return gone


def _forget(session: Session, row: FeatureWindow | Reference, unwanted: Set[str]) -> int:
    path = Path(row.path)
    if not path.is_file():
        return 0
    table = read_features(path)
    kept = np.array([id_ not in unwanted for id_ in table["interaction_id"].to_pylist()], np.bool_)
    gone = int(len(kept) - kept.sum())
    if not gone:
        return 0
    left = table.filter(pa.array(kept))
    row.summary = row.summary | {"erased": row.summary.get("erased", 0) + gone}
    if isinstance(row, FeatureWindow):
        row.sampled_rows = left.num_rows
    else:
        row.rows = left.num_rows
    session.add(row)
    write_features(path, left)
    return gone
