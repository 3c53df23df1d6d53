"""Incidents: what an alert rule found, when it was told and resolved, and what people do about it.

Incident, IncidentNote and Silence rows come in; notes, ends and silences by `monitoring.alerts` go
out, each in the audit log. Those of the whole service, which belong to no application, are for
people and not for one application's key. Knows nothing of rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from litestar import Request, get, post
from litestar.response import Redirect, Template
from sqlmodel import Session, col, select

from core.clock import utc_now
from core.errors import NotFoundError, RequestError
from core.ids import new_id
from feedback.alert_tables import Incident, Silence
from feedback.audit import HumanAct, record
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.console.visitors import Visitor
from loop.durations import duration
from loop.wiring import Parts
from monitoring.alerts.incidents import (
    active_silences,
    add_silence,
    end_silence,
    note,
    resolve_by_hand,
    timeline,
)

SHOWN = 100  # incidents in the list, the newest
MAX_WORDS = 2_000  # characters of a note or a reason
LENGTHS = ("30m", "2h", "8h", "1d", "7d")  # of a silence, to choose from

AnyRequest = Request[Any, Any, Any]

_log = structlog.get_logger(__name__)


def incident_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the pages of incidents."""

    @get("/incidents", sync_to_thread=True)
    def show_incidents(request: AnyRequest) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            rows = session.exec(
                select(Incident)
                .where(col(Incident.application).in_(_seen_by(visitor)))
                .order_by(col(Incident.state), col(Incident.opened_at).desc())  # firing comes first
                .limit(SHOWN)
            ).all()
            silences = _silences(session, visitor)
        context = {"incidents": rows, "silences": silences, "may_act": visitor.may("operate")}
        return page(request, visitor, "incidents.html", "incidents", **context)

    @get("/incidents/{incident_id:str}", sync_to_thread=True)
    def show_incident(request: AnyRequest, incident_id: str) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            incident = _own(session, visitor, incident_id)
            notes = timeline(session, incident_id)
            quiet = [row for row in _silences(session, visitor) if _covers(row, incident)]
        context = {
            "incident": incident,
            "notes": notes,
            "silences": quiet,
            "lengths": LENGTHS,
            "may_act": visitor.may("operate"),
        }
        return page(request, visitor, "incident.html", "incidents", **context)

    return [show_incidents, show_incident]


def incident_acts(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return what people do about incidents."""

    @post("/incidents/{incident_id:str}/{act:str}", status_code=303)
    async def act_on(request: AnyRequest, incident_id: str, act: str) -> Redirect:
        visitor, form = sessions.caller(request), await request.form()
        sent = {name: str(form.get(name, "")).strip() for name in ("text", "for")}
        await asyncio.to_thread(_act, parts, visitor, (incident_id, act), sent)
        return Redirect(f"/incidents/{incident_id}", status_code=303)

    @post("/silences/{silence_id:str}/end", status_code=303, sync_to_thread=True)
    def end(request: AnyRequest, silence_id: str) -> Redirect:
        _end(parts, sessions.caller(request), silence_id)
        return Redirect("/incidents", status_code=303)

    return [act_on, end]


def _act(parts: Parts, visitor: Visitor, what: tuple[str, str], sent: Mapping[str, str]) -> None:
    """Note on an incident, resolve it, or silence its rule.

    Raises: NotFoundError; RequestError without words or with a wrong length; StateError when it is
    resolved already.
    """
    (incident_id, act), text, now = what, sent["text"], utc_now()
    if not 0 < len(text) <= MAX_WORDS:
        raise RequestError(f"write 1 to {MAX_WORDS} characters: they are kept", field="text")
    with parts.store.session() as session:
        incident = _own(session, visitor, incident_id)
        if act == "note":
            note(session, incident_id, "note", text, author=visitor.actor, now=now)
            done = "incident_noted"
        elif act == "resolve":
            resolve_by_hand(session, incident_id, by=visitor.actor, reason=text, now=now)
            done = "incident_resolved"
        elif act == "silence":
            _silence(session, visitor, incident, sent, now)
            done = "alerts_silenced"
        else:
            raise NotFoundError(f"nothing called {act!r} can be done to an incident")
        details = {"rule": incident.rule} | ({"for": sent["for"]} if act == "silence" else {})
        place = ("incident", incident_id, incident.application or None)
        record(session, HumanAct(visitor.actor, done, *place, text, details))
        session.commit()
    _log.info(done, incident=incident_id, by=visitor.actor)


def _silence(
    session: Session, visitor: Visitor, incident: Incident, sent: Mapping[str, str], now: datetime
) -> None:
    """Tell nobody of an incident's rule for a time, and say so in its timeline."""
    row = Silence(
        id=new_id(),
        rule=incident.rule,
        application=incident.application,
        reason=sent["text"],
        created_by=visitor.actor,
        created_at=now,
        ends_at=now + duration(sent["for"], "for"),
    )
    add_silence(session, row)
    told = f"nobody is told until {row.ends_at:%Y-%m-%d %H:%M} UTC: {sent['text']}"
    note(session, incident.id, "silenced", told, author=visitor.actor, now=now)


def _end(parts: Parts, visitor: Visitor, silence_id: str) -> None:
    """Let a silence end now. Raises: NotFoundError, StateError when it has ended."""
    with parts.store.session() as session:
        row = session.get(Silence, silence_id)
        if row is None or not _may_see(visitor, row):
            raise NotFoundError(f"no silence {silence_id!r} of {visitor.application}")
        end_silence(session, silence_id, utc_now())
        place = ("silence", silence_id, row.application or None)
        details = {"rule": row.rule}
        record(session, HumanAct(visitor.actor, "silence_ended", *place, details=details))
        session.commit()
    _log.info("silence_ended", silence=silence_id, by=visitor.actor)


def _own(session: Session, visitor: Visitor, incident_id: str) -> Incident:
    incident = session.get(Incident, incident_id)
    if incident is None or incident.application not in _seen_by(visitor):
        raise NotFoundError(f"no incident {incident_id!r} of {visitor.application}")
    return incident


def _seen_by(visitor: Visitor) -> list[str]:
    """Return whose incidents somebody sees; an empty name is the whole service."""
    return [visitor.application, ""] if visitor.is_person else [visitor.application]


def _silences(session: Session, visitor: Visitor) -> list[Silence]:
    """Return the silences that have not ended, and that somebody may see."""
    return [row for row in active_silences(session, utc_now()) if _may_see(visitor, row)]


def _may_see(visitor: Visitor, row: Silence) -> bool:
    """Return whether somebody may see a silence; one of every application is for people."""
    return visitor.is_person if row.application is None else row.application in _seen_by(visitor)


def _covers(silence: Silence, incident: Incident) -> bool:
    """Return whether an incident's news are not told because of this silence."""
    return silence.rule in {None, incident.rule} and silence.application in {
        *(None, incident.application),
    }
