"""The tables of drift: what traffic looked like, what it is held against, and what was found.

    FeatureWindow, Reference        monitoring writes and reads
    DriftReport                     monitoring writes, retrain reads and answers by a run

Beside `feedback.tables`, with whose metadata they are made. Times are UTC. Knows no logic.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import JSON, Column, DateTime, Index
from sqlmodel import Field, SQLModel

from core.clock import utc_now


def _utc_column() -> Any:
    return Column(DateTime(timezone=True), nullable=False)


def _json_column() -> Any:
    return Column(JSON, nullable=False)


class FeatureWindow(SQLModel, table=True):
    """The features of one application's and adapter's interactions in a span of time."""

    __table_args__: ClassVar[Any] = (
        Index("ix_featurewindow_time", "application", "adapter", "start"),
    )

    id: str = Field(primary_key=True)
    application: str
    adapter: str | None = None  # None: the base model
    start: datetime = Field(sa_column=_utc_column())
    end: datetime = Field(sa_column=_utc_column())
    rows: int
    sampled_rows: int
    path: str  # Parquet of the sampled rows' features
    summary: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())


class Reference(SQLModel, table=True):
    """What windows are held against."""

    __table_args__: ClassVar[Any] = (
        Index("ix_reference_time", "application", "adapter", "made_at"),
    )

    id: str = Field(primary_key=True)
    application: str
    adapter: str | None = None
    kind: str  # training | healthy_week
    made_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    rows: int
    path: str
    summary: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())


class DriftReport(SQLModel, table=True):
    """How a window differs from its reference, and what follows of that."""

    __table_args__: ClassVar[Any] = (Index("ix_driftreport_time", "application", "made_at"),)

    id: str = Field(primary_key=True)
    application: str
    adapter: str | None = None
    made_at: datetime = Field(default_factory=utc_now, sa_column=_utc_column())
    window_start: datetime = Field(sa_column=_utc_column())
    window_end: datetime = Field(sa_column=_utc_column())
    reference_id: str
    severity: str  # none | watch | act
    reason: str
    numbers: dict[str, Any] = Field(default_factory=dict, sa_column=_json_column())
    folder: str  # report.html, report.json, evidently_*.html
    run_id: str | None = None  # the retraining that it caused
