"""How fast the last training was, as its row tells: it knows a machine better than a look does."""

from __future__ import annotations

from sqlmodel import Session, col, select

from feedback.tables import Run

LOOKED_AT = 5  # reinforcement measures none, and the run before it may have


def last_tokens_per_s(session: Session, application: str, launcher: str) -> float | None:
    """Return the speed of the application's newest finished run there; None if none measured it."""
    query = select(Run).where(
        Run.application == application, Run.launcher == launcher, Run.status == "finished"
    )
    runs = session.exec(query.order_by(col(Run.started_at).desc()).limit(LOOKED_AT)).all()
    speeds = (run.metrics.get("tokens_per_s") for run in runs)
    return next((float(speed) for speed in speeds if speed), None)
