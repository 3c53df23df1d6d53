"""DETECT: reads the rules' metrics, judges them, and carries out what follows, in one transaction.

A session, rules, a source and settings go in; alert states, incidents and the outbox are written.
An alert is one incident from the time it fires to its end, however often it is looked at. Who is
silenced is told when the silence ends, if it still fires. Knows nothing of when it is run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from core.clock import as_utc
from core.settings import Settings
from feedback.alert_tables import AlertState, Incident, IncidentNote
from feedback.log.protocol import EventSource
from monitoring.alerts.channels.directory import takers
from monitoring.alerts.evaluation import (
    SEVERITIES,
    Quiet,
    Rule,
    Severity,
    Standing,
    Step,
    judge,
    silenced_until,
    targets,
)
from monitoring.alerts.incidents import (
    active_silences,
    announce,
    end,
    follow,
    note,
    open_incident,
    quiet,
    told_channels,
)
from monitoring.alerts.metrics import (
    SERVICE_METRICS,
    Readings,
    Sight,
    read_metric,
    reading_of,
)
from monitoring.alerts.rules import load_rules


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found: how many alerts stand how, and what it changed."""

    levels: Mapping[str, int]
    opened: int
    ended: int

    def __str__(self) -> str:
        levels = ", ".join(f"{self.levels[level]} {level}" for level in sorted(self.levels))
        changed = f"; {self.opened} opened, {self.ended} resolved"
        return (levels or "no rules") + (changed if self.opened or self.ended else "")


def check(session: Session, source: EventSource, settings: Settings, now: datetime) -> Checked:
    """Look at every rule once; the caller commits.

    Raises: SettingsError when the rules' file is wrong.
    """
    wanted = targets(load_rules(settings.alerts), list(settings.applications), SERVICE_METRICS)
    readings = _readings(session, source, settings, (rule for rule, _ in wanted), now)
    known = {state.fingerprint: state for state in session.exec(select(AlertState))}
    incidents = _open_incidents(session)
    steps: list[Step] = []
    for rule, application in wanted:
        reading = reading_of(rule.metric, readings[_key(rule)], application)
        state = known.get(f"{rule.name}/{application}")
        steps.append(judge(rule, application, reading, _standing(state, incidents), now))
    desk = _Desk(session, settings, [quiet(row) for row in active_silences(session, now)], now)
    for step in steps:
        desk.take(step, known.pop(step.fingerprint, None), incidents)
    gone = [desk.forget(state, incidents) for state in known.values()]
    levels = Counter(step.after for step in steps)
    ended = sum(step.is_resolved for step in steps) + sum(gone)
    return Checked(levels, sum(step.has_fired for step in steps), ended)


def _key(rule: Rule) -> tuple[str, float]:
    return rule.metric, rule.window_s


def _readings(
    session: Session,
    source: EventSource,
    settings: Settings,
    rules: Iterable[Rule],
    now: datetime,
) -> dict[tuple[str, float], Readings]:
    """Read each metric once for each window."""
    return {
        (metric, window_s): read_metric(
            metric, Sight(session, source, settings, now - timedelta(seconds=window_s))
        )
        for metric, window_s in {_key(rule) for rule in rules}
    }


def _open_incidents(session: Session) -> dict[str, Incident]:
    rows = session.exec(select(Incident).where(col(Incident.state) == "firing"))
    return {row.id: row for row in rows}


def _standing(state: AlertState | None, incidents: Mapping[str, Incident]) -> Standing | None:
    """Return how a rule stood; what fired for an incident that is over begins anew."""
    match state and state.state:
        case "ok" | "pending" | "no_data" as level:
            assert state is not None
            return Standing(level, as_utc(state.since))
        case "firing":
            assert state is not None
            return (
                Standing("firing", as_utc(state.since)) if state.incident_id in incidents else None
            )
        case _:
            return None


@dataclass(frozen=True, slots=True)
class _Desk:
    """Carries out steps."""

    session: Session
    settings: Settings
    silences: Sequence[Quiet]
    now: datetime

    def take(self, step: Step, state: AlertState | None, incidents: Mapping[str, Incident]) -> None:
        """Write the step down, with what follows for its incident."""
        was_known = state is None or state.value is not None
        incident = incidents.get(state.incident_id or "") if state else None
        if step.has_fired:
            incident = open_incident(self.session, step, self._console_url(), self.now)
        elif incident is not None and step.is_resolved:
            self._end(incident, step.reason)
            incident = None
        elif incident is not None:
            follow(self.session, incident, step, was_known, self.now)
        if incident is not None:
            self._tell(incident)
        self._write(step, state, incident)

    def forget(self, state: AlertState, incidents: Mapping[str, Incident]) -> bool:
        """Drop the state of an alert that no rule speaks of now; return whether it fired."""
        incident = incidents.get(state.incident_id or "")
        if incident is not None:
            self._end(incident, "its rule or its application is no longer there")
        self.session.delete(state)
        return incident is not None

    def _write(self, step: Step, state: AlertState | None, incident: Incident | None) -> None:
        row = state or AlertState(
            fingerprint=step.fingerprint,
            rule=step.rule.name,
            application=step.application,
            state=step.after,
        )
        row.state, row.since, row.checked_at = step.after, step.since, self.now
        row.value, row.reason = step.value, step.reason
        row.incident_id = incident.id if incident else None
        self.session.add(row)

    def _tell(self, incident: Incident) -> None:
        """Announce an incident that nobody was told of, unless it is silenced."""
        if incident.announced_at is not None:
            return
        until = self._silenced_until(incident)
        if until is not None:
            self._note_silence(incident, until)
            return
        channels = takers(self.settings.alerts, _severity(incident), incident.application)
        if not channels:
            words = f"nobody is told: no channel takes what is {incident.severity}"
            note(self.session, incident.id, "not_told", words, now=self.now)
        announce(self.session, incident, "firing", channels, self.now)
        incident.announced_at = self.now
        self.session.add(incident)

    def _end(self, incident: Incident, why: str) -> None:
        end(self.session, incident, why, self.now)
        if self._silenced_until(incident) is None:
            channels = told_channels(self.session, incident)
            announce(self.session, incident, "resolved", channels, self.now)

    def _silenced_until(self, incident: Incident) -> datetime | None:
        return silenced_until(self.silences, incident.rule, incident.application, self.now)

    def _note_silence(self, incident: Incident, until: datetime) -> None:
        """Say once that nobody is told."""
        words = f"nobody is told before {until:%Y-%m-%d %H:%M} UTC: it is silenced"
        before = self.session.exec(
            select(IncidentNote.text).where(
                IncidentNote.incident_id == incident.id, IncidentNote.kind == "silenced"
            )
        ).all()
        if words not in before:
            note(self.session, incident.id, "silenced", words, now=self.now)

    def _console_url(self) -> str:
        return (self.settings.alerts.console_url or self.settings.console.url).rstrip("/")


def _severity(incident: Incident) -> Severity:
    return next(level for level in SEVERITIES if level == incident.severity)
