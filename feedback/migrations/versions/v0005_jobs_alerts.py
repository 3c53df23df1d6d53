"""Who leads the scheduler, how its jobs went; alerts, incidents, silences and their outbox."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

TIME = sa.DateTime(timezone=True)


def _column(name: str, kind: Any = sa.String, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def upgrade() -> None:
    _jobs()
    _incidents()
    _telling()


def _jobs() -> None:
    op.create_table(
        "leadership",
        _column("name"),
        _column("epoch", sa.Integer),
        _column("holder"),
        _column("since", TIME),
        sa.PrimaryKeyConstraint("name"),
    )
    times = ("last_started_at", "last_finished_at", "next_at", "wanted_at")
    op.create_table(
        "jobstate",
        _column("name"),
        *(_column(name, TIME, nullable=True) for name in times),
        _column("ok", sa.Boolean, nullable=True),
        _column("message"),
        _column("leader"),
        _column("epoch", sa.Integer),
        sa.PrimaryKeyConstraint("name"),
    )


def _incidents() -> None:
    op.create_table(
        "alertstate",
        *map(_column, ("fingerprint", "rule", "application", "state", "reason")),
        *(_column(name, TIME) for name in ("since", "checked_at")),
        _column("value", sa.Float, nullable=True),
        _column("incident_id", nullable=True),
        sa.PrimaryKeyConstraint("fingerprint"),
    )
    names = ("id", "fingerprint", "rule", "application", "severity", "state", "summary")
    op.create_table(
        "incident",
        *map(_column, (*names, "metric", "comparison")),
        _column("threshold", sa.Float),
        *(_column(name, sa.Float, nullable=True) for name in ("value", "worst")),
        *(_column(name, sa.JSON) for name in ("labels", "links")),
        _column("opened_at", TIME),
        *(_column(name, TIME, nullable=True) for name in ("announced_at", "resolved_at")),
        _column("resolved_by", nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_incident_fingerprint", "incident", ["fingerprint"])
    op.create_index("ix_incident_time", "incident", ["opened_at"])
    op.create_index("ix_incident_state", "incident", ["state", "opened_at"])


def _telling() -> None:
    op.create_table(
        "incidentnote",
        *map(_column, ("id", "incident_id", "kind", "author", "text")),
        _column("at", TIME),
        _column("link", nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_incidentnote_incident", "incidentnote", ["incident_id", "at"])
    op.create_table(
        "silence",
        *map(_column, ("id", "reason", "created_by")),
        *(_column(name, nullable=True) for name in ("rule", "application")),
        *(_column(name, TIME) for name in ("created_at", "ends_at")),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "alertdelivery",
        *map(_column, ("id", "incident_id", "channel", "event", "state")),
        _column("news", sa.JSON),
        _column("attempts", sa.Integer),
        *(_column(name, TIME) for name in ("next_at", "created_at")),
        _column("error", nullable=True),
        _column("told_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("incident_id", "channel", "event"),
    )
    op.create_index("ix_alertdelivery_due", "alertdelivery", ["state", "next_at"])


def downgrade() -> None:
    tables = ("alertdelivery", "silence", "incidentnote", "incident", "alertstate", "jobstate")
    for table in (*tables, "leadership"):
        op.drop_table(table)
