"""The audit log: what people did, the newest first, page by page, by person or by what it was.

AuditEntry rows come in; of the application that is shown, and those that are of none.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from litestar import Request, get
from litestar.response import Template
from sqlalchemy import or_
from sqlmodel import Session, col, select

from feedback.console_tables import AuditEntry
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.wiring import Parts

PAGE_ROWS = 50
LINKS = {
    **{"rollout": "/rollouts/", "adapter": "/adapters/", "incident": "/incidents/"},
    **{"dataset": "/datasets/", "run": "/runs/"},
}
KINDS = (  # to choose from: what acts are done to
    *("rollout", "adapter", "dataset", "run", "review", "incident", "silence"),
    *("key", "user", "job", "erasure"),
)


def audit_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the page of the audit log."""

    @get("/audit", sync_to_thread=True)
    def show_audit(request: Request[Any, Any, Any]) -> Template:
        visitor = sessions.caller(request)
        asked = {
            name: request.query_params.get(name, "")
            for name in ("actor", "action", "kind", "before")
        }
        with parts.store.session() as session:
            own = None if visitor.is_person else visitor.application
            rows = read_entries(session, visitor.application, own, asked)
        shown = rows[:PAGE_ROWS]
        older = ""
        if len(rows) > PAGE_ROWS:
            older = "?" + urlencode(asked | {"before": shown[-1].id})
        context = {
            **{"entries": shown, "asked": asked, "older": older, "links": LINKS, "kinds": KINDS},
            "told": {row.id: _told(row) for row in shown},
        }
        return page(request, visitor, "audit.html", "audit", **context)

    return [show_audit]


def read_entries(
    session: Session, application: str, only: str | None, asked: dict[str, str]
) -> list[AuditEntry]:
    """Return a page of entries and one more; `only`: nothing but this application's."""
    query = select(AuditEntry).order_by(col(AuditEntry.id).desc()).limit(PAGE_ROWS + 1)
    of_all = col(AuditEntry.application).is_(None)
    if only is not None:
        query = query.where(AuditEntry.application == only)
    else:
        query = query.where(or_(of_all, col(AuditEntry.application) == application))
    if asked["kind"]:
        query = query.where(AuditEntry.kind == asked["kind"])
    if asked["actor"]:
        query = query.where(AuditEntry.actor == asked["actor"])
    if asked["action"]:
        query = query.where(AuditEntry.action == asked["action"])
    if asked["before"]:
        query = query.where(AuditEntry.id < asked["before"])
    return list(session.exec(query))


def _told(entry: AuditEntry) -> str:
    """Return an entry's details in words, as far as they are plain."""
    plain = ((name, value) for name, value in entry.details.items() if value not in (None, "", {}))
    return "; ".join(f"{name.replace('_', ' ')} {_words(value)}" for name, value in plain)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
