"""A store with an alert rule and a clock that tests move, for tests of alerts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlmodel import select

from core.alert_settings import AlertSettings
from core.clock import utc_now
from core.settings import ApplicationSettings, Settings
from feedback.alert_tables import AlertDelivery, Incident
from feedback.store import Store
from monitoring.alerts.channels.directory import open_channels
from monitoring.alerts.checking import Checked, check
from monitoring.alerts.evaluation import Reading
from monitoring.alerts.incidents import (
    list_incidents,
    timeline,
)
from monitoring.alerts.metrics import METRICS, Sight, read_metric, reading_of
from monitoring.alerts.outbox import Told, deliver
from tests.fakes.memory_log import MemoryLog, MemorySource
from tests.unit.curation_world import World

NOW = utc_now() - timedelta(days=1)  # so that whatever a check wants told is due
APPLICATIONS = {name: ApplicationSettings(api_key=SecretStr(name)) for name in ("desk", "shop")}
RULES = """
[[rules]]
name = "error_rate"
metric = "error_rate"
comparison = ">"
threshold = 0.05
for = "2m"
severity = "critical"
min_samples = 4
"""


@dataclass
class Watch:
    """A store, its rules, and a clock that tests move."""

    store: Store
    settings: Settings
    people: World
    now: datetime = NOW
    source: MemorySource = field(default_factory=lambda: MemorySource(MemoryLog()))

    def served(self, statuses: str, application: str = "desk", **columns: Any) -> None:
        """Store an answer for each letter: `.` a good one, `x` an error, `-` a broken-off one."""
        self.people.application = application
        for letter in statuses:
            status = {".": "ok", "x": "error", "-": "disconnected"}[letter]
            fields: dict[str, Any] = {"status": status, "started_at": self.now, **columns}
            self.people.say("?", **fields)

    def look(self, *, after_s: float = 0.0) -> Checked:
        """Check the rules once, so many seconds later."""
        self.now += timedelta(seconds=after_s)
        with self.store.session() as session:
            checked = check(session, self.source, self.settings, self.now)
            session.commit()
        return checked

    def read(self, metric: str, application: str = "desk", window_s: float = 900.0) -> Reading:
        with self.store.session() as session:
            since = self.now - timedelta(seconds=window_s)
            readings = read_metric(metric, Sight(session, self.source, self.settings, since))
        return reading_of(metric, readings, "" if METRICS[metric].of_service else application)

    def incidents(self) -> list[Incident]:
        with self.store.session() as session:
            return list_incidents(session, resolved=True)

    def kinds(self, incident: Incident) -> list[str]:
        with self.store.session() as session:
            return [note.kind for note in timeline(session, incident.id)]

    def deliveries(self) -> list[AlertDelivery]:
        with self.store.session() as session:
            query = select(AlertDelivery).order_by(AlertDelivery.id)
            return list(session.exec(query))

    def tell(self, *, after_s: float = 0.0) -> Told:
        """Deliver what is due, so many seconds after this instant."""
        rules = self.settings.alerts
        now = utc_now() + timedelta(seconds=after_s)
        return deliver(self.store, open_channels(rules), rules, now)

    def add(self, *rows: Any) -> None:
        with self.store.session() as session:
            session.add_all(rows)
            session.commit()


def watch_of(store: Store, folder: Path, **alerts: Any) -> Watch:
    file = folder / "alerts.toml"
    file.write_text(RULES)
    rules = AlertSettings.model_validate({"rules": file, "defaults": False, **alerts})
    settings = Settings(data_dir=folder, applications=APPLICATIONS, alerts=rules)
    return Watch(store, settings, World(store, settings))
