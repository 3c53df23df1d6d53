"""Incidents: what an alert rule found, when it was told and resolved, and people's notes.

Incident and IncidentNote rows come in, notes go out. Those of the whole service, which belong to no
application, are for people and not for one application's key. Knows nothing of rules.
"""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, get, post
from litestar.response import Redirect, Template
from sqlmodel import Session, col, select

from core.errors import NotFoundError, RequestError
from core.ids import new_id
from feedback.alert_tables import Incident, IncidentNote, Silence
from feedback.audit import HumanAct, record
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.visitors import Visitor
from loop.wiring import Parts

SHOWN = 100  # incidents in the list, the newest
MAX_NOTE_CHARS = 2_000

AnyRequest = Request[Any, Any, Any]


def incident_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the pages of incidents."""

    @get("/incidents", sync_to_thread=True)
    def show_incidents(request: AnyRequest) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            rows = session.exec(
                select(Incident)
                .where(col(Incident.application).in_(_seen_by(visitor)))
                .order_by(col(Incident.opened_at).desc())
                .limit(SHOWN)
            ).all()
            silences = session.exec(select(Silence).order_by(col(Silence.ends_at).desc()).limit(5))
            context = {"incidents": rows, "silences": silences.all() if visitor.is_person else []}
        return page(request, visitor, "incidents.html", "incidents", **context)

    @get("/incidents/{incident_id:str}", sync_to_thread=True)
    def show_incident(request: AnyRequest, incident_id: str) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            incident = _own(session, visitor, incident_id)
            notes = session.exec(
                select(IncidentNote)
                .where(IncidentNote.incident_id == incident_id)
                .order_by(col(IncidentNote.at), col(IncidentNote.id))
            ).all()
        may_note = visitor.may("operate")
        context = {"incident": incident, "notes": notes, "may_note": may_note}
        return page(request, visitor, "incident.html", "incidents", **context)

    return [show_incidents, show_incident]


def incident_acts(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return what people add to incidents."""

    @post("/incidents/{incident_id:str}/notes", status_code=303)
    async def add_note(request: AnyRequest, incident_id: str) -> Redirect:
        visitor = sessions.caller(request)
        text = str((await request.form()).get("text", "")).strip()
        await asyncio.to_thread(_note, parts, visitor, incident_id, text)
        return Redirect(f"/incidents/{incident_id}", status_code=303)

    return [add_note]


def _note(parts: Parts, visitor: Visitor, incident_id: str, text: str) -> None:
    """Keep a note. Raises: NotFoundError, RequestError when it is empty or too long."""
    if not text or len(text) > MAX_NOTE_CHARS:
        raise RequestError(f"write a note of 1 to {MAX_NOTE_CHARS} characters", field="text")
    with parts.store.session() as session:
        incident = _own(session, visitor, incident_id)
        note = IncidentNote(
            id=new_id(), incident_id=incident_id, kind="note", author=visitor.actor, text=text
        )
        session.add(note)
        place = ("incident", incident_id, incident.application or None)
        record(session, HumanAct(visitor.actor, "incident_noted", *place, text))
        session.commit()


def _own(session: Session, visitor: Visitor, incident_id: str) -> Incident:
    incident = session.get(Incident, incident_id)
    if incident is None or incident.application not in _seen_by(visitor):
        raise NotFoundError(f"no incident {incident_id!r} of {visitor.application}")
    return incident


def _seen_by(visitor: Visitor) -> list[str]:
    """Return whose incidents somebody sees; an empty name is the whole service."""
    return [visitor.application, ""] if visitor.is_person else [visitor.application]
