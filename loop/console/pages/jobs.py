"""Jobs: what the scheduler runs by itself, how each went last, when it comes next, and who leads.

JobState and Leadership rows come in. Jobs are of the whole service. Knows no job.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.response import Template
from sqlmodel import col, select

from feedback.job_tables import JobState, Leadership
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.wiring import Parts


def job_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the page of jobs."""

    @get("/jobs", sync_to_thread=True)
    def show_jobs(request: Request[Any, Any, Any]) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            jobs = session.exec(select(JobState).order_by(col(JobState.name))).all()
            newest = select(Leadership).order_by(col(Leadership.epoch).desc()).limit(1)
            leader = session.exec(newest).first()
        return page(request, visitor, "jobs.html", "jobs", jobs=jobs, leader=leader)

    return [show_jobs]
