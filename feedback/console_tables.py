"""The tables behind the operators' pages: who may sign in, what people did, metrics in sums.

`loop.console` reads all. Users are written by the command line, the console's page of users and the
sign-in by OpenID Connect, audit entries by `feedback.audit`, hours and days by the job
`loop.rollup_job`. They hold no prompt and no answer. Knows no logic.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, DateTime, Index
from sqlmodel import Field, SQLModel

from core.clock import utc_now

_UTC: Any = DateTime(timezone=True)


def _utc_column(*, nullable: bool = False, primary_key: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable, primary_key=primary_key)


def _json_column() -> Any:
    return Column(JSON, nullable=False)


class ConsoleUser(SQLModel, table=True):
    """A person who may sign in to the console, of all applications."""

    name: str = Field(primary_key=True)
    role: str  # viewer | reviewer | operator | admin
    password: str | None = None  # scrypt's salt and hash; None: signs in by OpenID Connect
    oidc_subject: str | None = Field(default=None, unique=True)  # issuer and its id of the person
    created_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    changed_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    disabled_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))


class AuditEntry(SQLModel, table=True):
    """One thing that a person did; nothing changes or deletes it."""

    __table_args__: ClassVar[Any] = (
        Index("ix_auditentry_time", "at"),
        Index("ix_auditentry_application", "application", "at"),
        Index("ix_auditentry_subject", "kind", "subject"),
    )

    id: str = Field(primary_key=True)
    at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    actor: str  # a user's name, `key <id>`, or who the command line was told it is
    action: str  # in the past tense: rollout_promoted, key_revoked
    kind: str  # of what it was done to: rollout, adapter, key, user, subject
    subject: str  # its id
    application: str | None = None
    reason: str = ""
    details: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())


class MetricSums(SQLModel):
    """What one adapter did for one application in a span of time, in sums that can be added up.

    Counts of interactions are by when they began, those of feedback by when it was given. A
    histogram is a mapping of bucket to count, see `monitoring.histogram`.
    """

    rolled_at: datetime = Field(default_factory=utc_now, sa_type=_UTC)
    interactions: int = 0  # all, also answers in shadow, which nobody saw
    requests: int = 0  # those that somebody saw: all else here is of them, but for the cost
    errors: int = 0
    disconnected: int = 0
    cost: float = 0.0
    costed: int = 0  # interactions whose cost is known
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency: dict[str, int] = Field(default_factory=dict, sa_type=JSON)  # seconds
    ttft: dict[str, int] = Field(default_factory=dict, sa_type=JSON)  # seconds
    prompt_lengths: dict[str, int] = Field(default_factory=dict, sa_type=JSON)  # tokens
    answer_lengths: dict[str, int] = Field(default_factory=dict, sa_type=JSON)  # tokens
    facts: int = 0  # rows of feedback, also those that no longer count
    effective: int = 0  # those that count
    thumbs_up: int = 0
    thumbs_down: int = 0
    ratings: int = 0
    rating_sum: int = 0  # of 1 to 5 each
    completed: int = 0
    abandoned: int = 0
    escalated: int = 0
    regenerated: int = 0
    corrected: int = 0


class MetricHour(MetricSums, table=True):
    """The sums of an hour."""

    __table_args__: ClassVar[Any] = (Index("ix_metrichour_time", "hour"),)

    application: str = Field(primary_key=True)
    hour: datetime = Field(sa_column=_utc_column(primary_key=True))
    adapter: str = Field(primary_key=True)  # empty: the base model


class MetricDay(MetricSums, table=True):
    """The sums of a day's hours (UTC): a month's page reads 30 rows of an adapter, not 720."""

    application: str = Field(primary_key=True)
    day: datetime = Field(sa_column=_utc_column(primary_key=True))  # its midnight
    adapter: str = Field(primary_key=True)  # empty: the base model
