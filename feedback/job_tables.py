"""The scheduler's tables: who may run the jobs now, and how each job went last.

`loop.leadership` writes the first, `loop.job_ledger` the second; people and the console read them.
Knows no logic.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime
from sqlmodel import Field, SQLModel

from core.clock import utc_now


def _utc_column(*, nullable: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable)


class Leadership(SQLModel, table=True):
    """The term of office of whoever leads: each new leader counts `epoch` up by one."""

    name: str = Field(primary_key=True)
    epoch: int
    holder: str  # host and process id
    since: datetime = Field(default_factory=utc_now, sa_column=_utc_column())


class JobState(SQLModel, table=True):
    """A job's last run; while it runs, the end is older than the start, or missing."""

    name: str = Field(primary_key=True)
    last_started_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    last_finished_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    ok: bool | None = None  # how the last finished run went
    message: str = ""  # what it did, or what was wrong
    next_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    wanted_at: datetime | None = Field(default=None, sa_column=_utc_column(nullable=True))
    leader: str = ""  # who ran it
    epoch: int = 0  # in which term
