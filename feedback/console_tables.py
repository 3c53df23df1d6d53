"""The tables behind the operators' pages: who may sign in, what people did, metrics by the hour.

`loop.console` reads all three. Users are written by the command line and the sign-in by OpenID
Connect, audit entries by `feedback.audit`, hours by the job `loop.rollup_job`. They hold no
prompt and no answer. Knows no logic.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, DateTime, Index
from sqlmodel import Field, SQLModel

from core.clock import utc_now


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


class AuditEntry(SQLModel, table=True):
    """One thing that a person did; nothing changes or deletes it."""

    __table_args__: ClassVar[Any] = (
        Index("ix_auditentry_time", "at"),
        Index("ix_auditentry_application", "application", "at"),
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


class MetricHour(SQLModel, table=True):
    """What one adapter did for one application in one hour, in sums that can be added up.

    Counts of interactions are by when they began, those of feedback by when it was given. A
    histogram is a mapping of bucket to count, see `monitoring.histogram`.
    """

    __table_args__: ClassVar[Any] = (Index("ix_metrichour_time", "hour"),)

    application: str = Field(primary_key=True)
    hour: datetime = Field(sa_column=_utc_column(primary_key=True))
    adapter: str = Field(primary_key=True)  # empty: the base model
    rolled_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    interactions: int = 0  # all, also answers in shadow, which nobody saw
    requests: int = 0  # those that somebody saw: all else here is of them, but for the cost
    errors: int = 0
    disconnected: int = 0
    cost: float = 0.0
    costed: int = 0  # interactions whose cost is known
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency: dict[str, int] = Field(default_factory=dict, sa_column=_json_column())  # seconds
    ttft: dict[str, int] = Field(default_factory=dict, sa_column=_json_column())  # seconds
    prompt_lengths: dict[str, int] = Field(default_factory=dict, sa_column=_json_column())  # tokens
    answer_lengths: dict[str, int] = Field(default_factory=dict, sa_column=_json_column())  # tokens
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
