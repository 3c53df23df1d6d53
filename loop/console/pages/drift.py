"""Drift reports: what differed from what, how sure that is, new topics with prompts, and the run.

DriftReport rows come in; the report's own files are served from its folder, each in a sandbox of
its own: they bring styles, and Evidently's bring scripts. Example prompts are those that the store
holds, which are redacted; erased ones are gone. Knows nothing of tests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.response import Template
from sqlmodel import Session, col, select

from core.errors import NotFoundError
from feedback.drift_tables import DriftReport
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.visitors import Visitor
from loop.wiring import Parts
from monitoring.drift.reading import read_texts

SHOWN = 100  # reports in the list, the newest
MAX_PROMPTS, MAX_PROMPT_CHARS = 5, 400  # of a new topic
FILE = re.compile(r"report\.html|evidently_[a-z]+\.html")
# an opaque origin: whatever it holds, it reaches neither the console nor another site
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "font-src data:; script-src 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'"
)

AnyRequest = Request[Any, Any, Any]


def drift_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the pages of drift."""

    @get("/drift", sync_to_thread=True)
    def show_reports(request: AnyRequest) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            rows = session.exec(
                select(DriftReport)
                .where(DriftReport.application == visitor.application)
                .order_by(col(DriftReport.made_at).desc())
                .limit(SHOWN)
            ).all()
        return page(request, visitor, "drift.html", "drift", reports=rows)

    @get("/drift/{report_id:str}", sync_to_thread=True)
    def show_report(request: AnyRequest, report_id: str) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            report = _own(session, visitor, report_id)
            clusters = [_cluster(session, cluster) for cluster in _list(report, "clusters")]
        context = {
            "report": report,
            "findings": _list(report, "findings"),
            "clusters": clusters,
            "files": _files(report),
        }
        return page(request, visitor, "drift_report.html", "drift", **context)

    @get("/drift/{report_id:str}/files/{name:str}", sync_to_thread=True)
    def show_file(request: AnyRequest, report_id: str, name: str) -> Response[bytes]:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            report = _own(session, visitor, report_id)
        if name not in _files(report):
            raise NotFoundError(f"drift report {report_id} has no file {name!r}")
        content = (Path(report.folder) / name).read_bytes()
        headers = {"content-security-policy": SANDBOX}
        return Response(content, media_type="text/html; charset=utf-8", headers=headers)

    return [show_reports, show_report, show_file]


def _own(session: Session, visitor: Visitor, report_id: str) -> DriftReport:
    report = session.get(DriftReport, report_id)
    if report is None or report.application != visitor.application:
        raise NotFoundError(f"no drift report {report_id!r} of {visitor.application}")
    return report


def _files(report: DriftReport) -> list[str]:
    """Return the names of the report's pages that are there."""
    folder = Path(report.folder)
    names = (path.name for path in folder.glob("*.html")) if folder.is_dir() else ()
    return sorted(name for name in names if FILE.fullmatch(name))


def _list(report: DriftReport, name: str) -> Sequence[dict[str, Any]]:
    found = report.numbers.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _cluster(session: Session, cluster: dict[str, Any]) -> dict[str, Any]:
    """Return a new topic with the prompts that are its examples, the most typical first."""
    texts = read_texts(session, [str(id_) for id_ in cluster.get("examples", ())][:MAX_PROMPTS])
    return {**cluster, "prompts": [one.prompt[:MAX_PROMPT_CHARS] for one in texts.values()]}
