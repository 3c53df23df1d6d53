"""The scheduler's look at drift: every application's live adapter, every window not yet checked.

DETECT's turn. A job as the scheduler wants it: parts in, a line out. Run again it finds nothing new
to check, and mends pages whose retraining or example prompts changed meanwhile.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from sqlmodel import Session, col, select

from core.errors import NotFoundError
from core.settings import Settings
from feedback.drift_tables import DriftReport
from feedback.tables import Application
from loop.wiring import Parts
from monitoring.drift.checking import Place, check_windows
from monitoring.drift.report import refresh_reports


def check_drift(parts: Parts) -> str:
    """Check what is new of all applications; return what was found in a line.

    Raises: DataError when a window's file is gone.
    """
    with parts.store.session() as session:
        names = session.exec(select(Application.name).order_by(col(Application.name))).all()
        made = [one for name in names for one in check_application(session, parts.settings, name)]
        mended = sum(refresh_reports(session, name) for name in names)
    told = Counter(one.severity for one in made)
    found = ", ".join(f"{told[word]} {word}" for word in ("act", "watch", "none") if told[word])
    pages = f"; {mended} pages written again" if mended else ""
    return f"{len(made)} windows checked{': ' if found else ''}{found}{pages}"


def check_application(
    session: Session, settings: Settings, application: str, *, evidently: bool = False
) -> list[DriftReport]:
    """Check what is new of one application; with `evidently` its reports are always written.

    Raises: NotFoundError, DataError.
    """
    row = session.get(Application, application)
    if row is None:
        raise NotFoundError(f"no application {application!r}: add [applications.{application}]")
    rules = settings.drift.model_copy(update={"evidently": "always"} if evidently else {})
    place = Place(application, row.live_adapter, rules, reports_folder(settings))
    return check_windows(session, place)


def reports_folder(settings: Settings) -> Path:
    """Return the folder of all drift reports."""
    return settings.data_dir / "monitoring" / "drift"
