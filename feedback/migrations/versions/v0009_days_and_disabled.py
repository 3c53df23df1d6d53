"""Metrics by the day, users who may not sign in, and the audit log by what an act was done to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

COUNTS = (
    *("interactions", "requests", "errors", "disconnected", "costed"),
    *("prompt_tokens", "completion_tokens", "facts", "effective", "thumbs_up", "thumbs_down"),
    *("ratings", "rating_sum", "completed", "abandoned", "escalated", "regenerated", "corrected"),
)
HISTOGRAMS = ("latency", "ttft", "prompt_lengths", "answer_lengths")


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    op.create_table(
        "metricday",
        sa.Column("application", sa.String(), nullable=False),
        sa.Column("day", time, nullable=False),
        sa.Column("adapter", sa.String(), nullable=False),
        sa.Column("rolled_at", time, nullable=False),
        sa.Column("cost", sa.Float(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in COUNTS),
        *(sa.Column(name, sa.JSON(), nullable=False) for name in HISTOGRAMS),
        sa.PrimaryKeyConstraint("application", "day", "adapter"),
    )
    op.create_index("ix_auditentry_subject", "auditentry", ["kind", "subject"])
    op.add_column("consoleuser", sa.Column("disabled_at", time, nullable=True))


def downgrade() -> None:
    op.drop_column("consoleuser", "disabled_at")
    op.drop_index("ix_auditentry_subject", "auditentry")
    op.drop_table("metricday")
