"""One rollout as one HTML file.

DETECT's report. In comes the store and a rollout's id; out goes a page in a folder. Reads the
rollout, its verdicts, the adapter, its run and its dataset; writes no row. Knows nothing of
how the page looks: that is `monitoring.page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from core.canary_settings import rules_of
from core.errors import NotFoundError
from core.files import write_atomic
from feedback.store import Store
from feedback.tables import Adapter, DatasetVersion, Rollout, Run, VerdictRecord
from monitoring.arms import counts_from_dict
from monitoring.counts import count_rollout
from monitoring.page import RolloutStory, render

MAX_RECORDS = 400  # a drawing cannot show more, and two weeks of checks are 240,000


def write_rollout_report(store: Store, rollout_id: str, folder: Path) -> Path:
    """Write `rollout-<id>.html` into `folder` and return its path.

    Raises: NotFoundError when there is no such rollout.
    """
    with store.session() as session:
        page = render(_read_story(session, rollout_id))
    path = folder / f"rollout-{rollout_id}.html"
    write_atomic(path, page)
    return path


def read_forecasts(session: Session) -> dict[str, dict[str, Any]]:
    """Return what the active rollouts' last verdicts said is missing to a decision, by rollout."""
    active = session.exec(select(Rollout.id).where(col(Rollout.finished_at).is_(None))).all()
    found: dict[str, dict[str, Any]] = {}
    for rollout_id in active:
        newest = (
            select(VerdictRecord)
            .where(VerdictRecord.rollout_id == rollout_id)
            .order_by(col(VerdictRecord.created_at).desc(), col(VerdictRecord.id).desc())
        )
        record = session.exec(newest.limit(1)).first()
        if record is not None and (said := record.numbers.get("forecast")) is not None:
            found[rollout_id] = said
    return found


def _read_story(session: Session, rollout_id: str) -> RolloutStory:
    rollout = session.get(Rollout, rollout_id)
    if rollout is None:
        raise NotFoundError(f"no rollout {rollout_id!r}: `ratchet canary list` shows them")
    rules = rules_of(rollout.settings)
    records = _read_records(session, rollout_id)
    decisive = _decisive(records)
    adapter = session.get(Adapter, rollout.canary_adapter)
    return RolloutStory(
        rollout=rollout,
        rules=rules,
        records=records,
        decisive=decisive,
        counts=counts_from_dict(decisive.counts)
        if decisive is not None
        else count_rollout(session, rollout, rules),
        adapter=adapter,
        run=session.get(Run, adapter.run_id) if adapter else None,
        dataset=session.get(DatasetVersion, adapter.dataset_id) if adapter else None,
    )


def _decisive(records: Sequence[VerdictRecord]) -> VerdictRecord | None:
    """Return the last verdict that moved the rollout, else the last one."""
    moving = [record for record in records if record.decision != "hold"]
    return next(reversed(moving or records), None)


def _read_records(session: Session, rollout_id: str) -> list[VerdictRecord]:
    """Return the verdicts in order of time, thinned out between those that changed something."""
    marks = session.exec(
        select(VerdictRecord.id, VerdictRecord.state, VerdictRecord.step, VerdictRecord.decision)
        .where(VerdictRecord.rollout_id == rollout_id)
        .order_by(col(VerdictRecord.created_at), col(VerdictRecord.id))
    ).all()
    stride = 1 + len(marks) // MAX_RECORDS
    kept = [
        mark[0]
        for place, mark in enumerate(marks)
        if place % stride == 0
        or place + 1 == len(marks)
        or mark[1:] != marks[place - 1][1:]
        or mark[1:] != marks[place + 1][1:]
    ]
    rows = session.exec(select(VerdictRecord).where(col(VerdictRecord.id).in_(kept)))
    by_id = {row.id: row for row in rows}
    return [by_id[record_id] for record_id in kept]
