"""A drift report's folder: the page, the numbers, and both kept true as the store changes.

DETECT's edge to people. In comes a `DriftReport` row; out go `report.html` and `report.json`. The
row keeps only ids of example prompts: their texts are read from the store each time the page is
written, so that what is erased there leaves the page at the next refresh.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from core.errors import NotFoundError
from core.files import json_sha256, write_atomic
from feedback.drift_tables import DriftReport
from feedback.tables import Adapter, Run
from monitoring.drift.page import DriftStory, render
from monitoring.drift.reading import read_texts

REFRESHED = 500  # reports looked at again in one pass: those of weeks
EXAMPLE_CHARS = 300  # of a prompt, for people


def write_report(session: Session, report: DriftReport) -> Path:
    """Write the report's page and numbers; return the page's path."""
    story = _read_story(session, report)
    folder = Path(report.folder)
    write_atomic(folder / "report.html", render(story))
    told: dict[str, Any] = report.model_dump(mode="json") | {"shown_sha256": _shown(story)}
    write_atomic(folder / "report.json", json.dumps(told, indent=1) + "\n")
    return folder / "report.html"


def refresh_reports(session: Session, application: str) -> int:
    """Write again the pages whose retraining or example prompts changed; return how many."""
    rows = session.exec(
        select(DriftReport)
        .where(DriftReport.application == application, DriftReport.severity != "none")
        .order_by(col(DriftReport.made_at).desc())
        .limit(REFRESHED)
    ).all()
    stale = [row for row in rows if _written(row) not in (None, _shown(_read_story(session, row)))]
    for row in stale:
        write_report(session, row)
    return len(stale)


def find_report(session: Session, report_id: str) -> DriftReport:
    """Return the report.

    Raises: NotFoundError.
    """
    report = session.get(DriftReport, report_id)
    if report is None:
        raise NotFoundError(f"no drift report {report_id!r}: `ratchet drift list` shows them")
    return report


def list_reports(session: Session, application: str | None, limit: int) -> list[DriftReport]:
    """Return the newest reports, the newest first."""
    wanted = select(DriftReport).order_by(
        col(DriftReport.window_end).desc(), col(DriftReport.id).desc()
    )
    if application is not None:
        wanted = wanted.where(DriftReport.application == application)
    return list(session.exec(wanted.limit(limit)))


def _read_story(session: Session, report: DriftReport) -> DriftStory:
    clusters = report.numbers["clusters"]
    ids = [one for cluster in clusters for one in cluster["examples"]]
    texts = read_texts(session, ids) if ids else {}
    folder, run_id = Path(report.folder), report.run_id
    made = select(Adapter).where(Adapter.run_id == run_id)
    return DriftStory(
        report=report,
        examples=[
            [_short(texts[one].prompt) for one in cluster["examples"] if one in texts]
            for cluster in clusters
        ],
        run=session.get(Run, run_id) if run_id is not None else None,
        adapter=session.exec(made).first() if run_id is not None else None,
        files=sorted(path.name for path in folder.glob("evidently_*.html")),
    )


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= EXAMPLE_CHARS else f"{prompt[:EXAMPLE_CHARS]}…"


def _shown(story: DriftStory) -> str:
    """Return a hash of what the page shows beyond the row's own numbers."""
    run, adapter = story.run, story.adapter
    caused = [story.report.run_id, run and run.status, adapter and [adapter.name, adapter.status]]
    return json_sha256([caused, [list(some) for some in story.examples]])


def _written(report: DriftReport) -> str | None:
    """Return the hash of the page as it lies there; None: somebody removed it."""
    path = Path(report.folder) / "report.json"
    return json.loads(path.read_text()).get("shown_sha256") if path.is_file() else None
