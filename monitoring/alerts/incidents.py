"""Incidents as rows: opened by rules, told of, noted on, resolved by rules or by people.

A session goes in; the caller commits. Whatever happens to an incident is a note of its timeline.
Knows nothing of metrics or channels, but which channels' names are to be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from core.clock import as_utc
from core.errors import NotFoundError, RequestError, StateError
from core.ids import new_id
from feedback.alert_tables import AlertDelivery, AlertState, Incident, IncidentNote, Silence
from monitoring.alerts.evaluation import Quiet, Step
from monitoring.alerts.news import Event, News

RULES = "rules"  # author of what no person did


def open_incident(session: Session, step: Step, console_url: str, now: datetime) -> Incident:
    """Add the incident of a rule that fires now."""
    id_, rule = new_id(), step.rule
    incident = Incident(
        id=id_,
        fingerprint=step.fingerprint,
        rule=rule.name,
        application=step.application,
        severity=rule.severity,
        summary=step.reason,
        metric=rule.metric,
        comparison=rule.comparison,
        threshold=rule.threshold,
        value=step.value,
        worst=step.value,
        labels=dict(rule.labels),
        links={"incident": f"{console_url}/incidents/{id_}"},
        opened_at=now,
    )
    session.add(incident)
    note(session, id_, "fired", step.reason, now=now)
    return incident


def follow(
    session: Session, incident: Incident, step: Step, was_known: bool, now: datetime
) -> None:
    """Keep the newest and the worst value of an incident that goes on; note when data end."""
    if step.value is None:
        if was_known:
            note(session, incident.id, "no_data", f"goes on, though {step.reason}", now=now)
    else:
        incident.worst = step.rule.worse(incident.worst, step.value)
    incident.value = step.value
    session.add(incident)


def end(session: Session, incident: Incident, why: str, now: datetime, *, by: str = RULES) -> None:
    """Resolve an incident."""
    incident.state, incident.resolved_at, incident.resolved_by = "resolved", now, by
    session.add(incident)
    note(session, incident.id, "resolved", why, author=by, now=now)


def announce(
    session: Session, incident: Incident, event: Event, channels: Sequence[str], now: datetime
) -> None:
    """Put the news into the outbox, once for each channel."""
    news = News(
        event=event,
        incident=incident.id,
        rule=incident.rule,
        application=incident.application,
        severity=incident.severity,
        summary=incident.summary,
        metric=incident.metric,
        comparison=incident.comparison,
        threshold=incident.threshold,
        value=incident.value,
        opened_at=as_utc(incident.opened_at),
        at=now,
        labels=incident.labels,
        links=incident.links,
    ).to_dict()
    for channel in channels:
        session.add(
            AlertDelivery(
                id=new_id(),
                incident_id=incident.id,
                channel=channel,
                event=event,
                news=news,
                next_at=now,
                created_at=now,
            )
        )


def told_channels(session: Session, incident: Incident) -> list[str]:
    """Return who was, or is to be, told that it fires."""
    query = select(AlertDelivery.channel).where(
        AlertDelivery.incident_id == incident.id, AlertDelivery.event == "firing"
    )
    return sorted(session.exec(query))


def note(
    session: Session,
    incident_id: str,
    kind: str,
    text: str,
    *,
    now: datetime,
    author: str = RULES,
    link: str | None = None,
) -> IncidentNote:
    """Add an entry to an incident's timeline."""
    entry = IncidentNote(
        id=new_id(), incident_id=incident_id, at=now, kind=kind, author=author, text=text, link=link
    )
    session.add(entry)
    return entry


def get_incident(session: Session, incident_id: str) -> Incident:
    """Return an incident. Raises: NotFoundError."""
    incident = session.get(Incident, incident_id)
    if incident is None:
        raise NotFoundError(f"no incident {incident_id!r}: `ratchet incidents list` shows them")
    return incident


def list_incidents(
    session: Session,
    *,
    application: str | None = None,
    resolved: bool = False,
    limit: int = 100,
) -> list[Incident]:
    """Return incidents, newest first: those that fire, or all."""
    query = select(Incident).order_by(col(Incident.opened_at).desc(), col(Incident.id).desc())
    if application is not None:
        query = query.where(Incident.application == application)
    if not resolved:
        query = query.where(Incident.state == "firing")
    return list(session.exec(query.limit(limit)))


def timeline(session: Session, incident_id: str) -> list[IncidentNote]:
    """Return what happened to an incident, oldest first."""
    query = select(IncidentNote).where(IncidentNote.incident_id == incident_id)
    return list(session.exec(query.order_by(col(IncidentNote.at), col(IncidentNote.id))))


def resolve_by_hand(
    session: Session, incident_id: str, *, by: str, reason: str, now: datetime
) -> Incident:
    """Resolve an incident; those who were told of it are told. Its rule begins anew.

    Raises: NotFoundError; StateError when it is resolved already.
    """
    incident = get_incident(session, incident_id)
    if incident.state != "firing":
        raise StateError(f"incident {incident_id} was resolved by {incident.resolved_by} already")
    end(session, incident, reason, now, by=by)
    state = session.get(AlertState, incident.fingerprint)
    if state is not None and state.incident_id == incident_id:
        state.state, state.since, state.incident_id = "ok", now, None
        session.add(state)
    announce(session, incident, "resolved", told_channels(session, incident), now)
    return incident


def add_silence(session: Session, silence: Silence) -> Silence:
    """Silence a rule, an application, or both. Raises: RequestError if it would end before now."""
    if as_utc(silence.ends_at) <= as_utc(silence.created_at):
        raise RequestError("a silence of no length: give --for, such as 2h", field="for")
    session.add(silence)
    return silence


def active_silences(session: Session, now: datetime) -> list[Silence]:
    """Return the silences that have not ended, the first to end first."""
    query = select(Silence).where(col(Silence.ends_at) > now).order_by(col(Silence.ends_at))
    return list(session.exec(query))


def end_silence(session: Session, silence_id: str, now: datetime) -> Silence:
    """Let a silence end now. Raises: NotFoundError, StateError when it has ended."""
    silence = session.get(Silence, silence_id)
    if silence is None:
        raise NotFoundError(f"no silence {silence_id!r}: `ratchet incidents silences` shows them")
    if as_utc(silence.ends_at) <= now:
        raise StateError(f"silence {silence_id} has ended already")
    silence.ends_at = now
    session.add(silence)
    return silence


def quiet(silence: Silence) -> Quiet:
    """Return a silence as a value."""
    return Quiet(silence.rule, silence.application, as_utc(silence.ends_at))
