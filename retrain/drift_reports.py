"""What the drift reports say of the live adapter, and which run answers them.

A session and the live adapter go in; the newest report comes out as a value, and is linked to the
run that it caused. How drift is found is `monitoring`'s. Decides nothing.
"""

from __future__ import annotations

from sqlmodel import Session, col, select

from core.clock import as_utc
from feedback.drift_tables import DriftReport
from feedback.tables import Adapter
from retrain.situation import Drift


def newest_drift(session: Session, live: Adapter) -> Drift | None:
    """Return the report that counts on the live adapter's traffic; those on others say nothing.

    That is the newest one, but an act stands over the `watch` that follows it: for a day the same
    drift is only watched, and a training may have to wait so long. `none` ends it.
    """
    query = (
        select(DriftReport)
        .where(DriftReport.application == live.application, DriftReport.adapter == live.name)
        .order_by(col(DriftReport.made_at).desc(), col(DriftReport.window_end).desc())
    )
    decided = session.exec(query.where(DriftReport.severity != "watch")).first()
    report = decided if decided and decided.severity == "act" else session.exec(query).first()
    if report is None:
        return None
    return Drift(
        report.id,
        report.severity,
        report.reason,
        as_utc(report.made_at),
        run_id=report.run_id,
        new_share=sum(cluster["share"] for cluster in report.numbers.get("clusters", ())),
    )


def answer_reports(session: Session, application: str, run_id: str) -> None:
    """Note that a run answers all reports that ask for action. The caller commits."""
    query = select(DriftReport).where(
        DriftReport.application == application,
        DriftReport.severity == "act",
        col(DriftReport.run_id).is_(None),
    )
    for report in session.exec(query):
        report.run_id = run_id
        session.add(report)
