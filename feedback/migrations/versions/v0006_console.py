"""Users of the console, the audit log, and metrics by the hour."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

HISTOGRAMS = ("latency", "ttft", "prompt_lengths", "answer_lengths")
COUNTS = (
    *(
        "interactions",
        "requests",
        "errors",
        "disconnected",
        "costed",
        "prompt_tokens",
        "completion_tokens",
    ),
    *("facts", "effective", "thumbs_up", "thumbs_down", "ratings", "rating_sum"),
    *("completed", "abandoned", "escalated", "regenerated", "corrected"),
)


def _column(name: str, kind: Any, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "consoleuser",
        _column("name", sa.String()),
        _column("role", sa.String()),
        _column("password", sa.String(), nullable=True),
        _column("oidc_subject", sa.String(), nullable=True),
        _column("created_at", time),
        _column("changed_at", time),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("oidc_subject"),
    )
    op.create_table(
        "auditentry",
        _column("id", sa.String()),
        _column("at", time),
        *(_column(name, sa.String()) for name in ("actor", "action", "kind", "subject")),
        _column("application", sa.String(), nullable=True),
        _column("reason", sa.String()),
        _column("details", sa.JSON()),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_auditentry_time", "auditentry", ["at"])
    op.create_index("ix_auditentry_application", "auditentry", ["application", "at"])
    op.create_table(
        "metrichour",
        _column("application", sa.String()),
        _column("hour", time),
        _column("adapter", sa.String()),
        _column("rolled_at", time),
        _column("cost", sa.Float()),
        *(_column(name, sa.Integer()) for name in COUNTS),
        *(_column(name, sa.JSON()) for name in HISTOGRAMS),
        sa.PrimaryKeyConstraint("application", "hour", "adapter"),
    )
    op.create_index("ix_metrichour_time", "metrichour", ["hour"])


def downgrade() -> None:
    for table in ("metrichour", "auditentry", "consoleuser"):
        op.drop_table(table)
