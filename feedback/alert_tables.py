"""The alerts' tables: where each rule stands, what happened, and what is to be told to whom.

`monitoring.alerts` writes them; people write notes and silences; the console reads all. They hold
numbers and names, never text of prompts or answers. Knows no logic.

    AlertState   one row for each rule and application: ok, pending, firing, no data
    Incident ← IncidentNote    one for each time that a rule fired; the notes are its timeline
    Incident ← AlertDelivery   the outbox: one row for each channel and piece of news
    Silence      what is not told for a time
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, DateTime, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from core.clock import utc_now


def _utc_column(*, nullable: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable)


def _json_column() -> Any:
    return Column(JSON, nullable=False)


class AlertState(SQLModel, table=True):
    """What a rule last saw of an application; an empty application is the whole service."""

    fingerprint: str = Field(primary_key=True)  # rule/application
    rule: str
    application: str = ""
    state: str  # ok | pending | firing | no_data
    since: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    checked_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    value: float | None = None  # None: no data
    reason: str = ""
    incident_id: str | None = None  # the open one, while it fires


class Incident(SQLModel, table=True):
    """A rule that fired, from then until it was resolved."""

    __table_args__: ClassVar[Any] = (
        Index("ix_incident_time", "opened_at"),
        Index("ix_incident_state", "state", "opened_at"),
    )

    id: str = Field(primary_key=True)
    fingerprint: str = Field(index=True)
    rule: str
    application: str = ""
    severity: str  # info | warning | critical
    state: str = "firing"  # firing | resolved
    summary: str
    metric: str
    comparison: str
    threshold: float
    value: float | None = None  # as last seen
    worst: float | None = None
    labels: dict[str, str] = Field(default_factory=dict, sa_column=_json_column())
    links: dict[str, str] = Field(default_factory=dict, sa_column=_json_column())  # what: URL
    opened_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    announced_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    resolved_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    resolved_by: str | None = None


class IncidentNote(SQLModel, table=True):
    """One entry of an incident's timeline."""

    __table_args__: ClassVar[Any] = (Index("ix_incidentnote_incident", "incident_id", "at"),)

    id: str = Field(primary_key=True)
    incident_id: str
    at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    kind: str  # fired | note | silenced | no_data | told | not_told | resolved
    author: str
    text: str
    link: str | None = None


class Silence(SQLModel, table=True):
    """What is not told until then; a column that is None stands for all."""

    id: str = Field(primary_key=True)
    rule: str | None = None
    application: str | None = None
    reason: str
    created_by: str
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    ends_at: datetime = Field(sa_column=_utc_column())


class AlertDelivery(SQLModel, table=True):
    """One piece of news for one channel, kept until it is told or given up."""

    __table_args__: ClassVar[Any] = (
        UniqueConstraint("incident_id", "channel", "event"),  # nobody is told the same thing twice
        Index("ix_alertdelivery_due", "state", "next_at"),
    )

    id: str = Field(primary_key=True)
    incident_id: str
    channel: str
    event: str  # firing | resolved
    news: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    state: str = "waiting"  # waiting | told | given_up
    attempts: int = 0
    next_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    error: str | None = None
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    told_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
