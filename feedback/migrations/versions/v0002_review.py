"""Human review: items, the leases on them, and what reviewers said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "reviewitem",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("application", sa.String(), nullable=False),
        sa.Column("candidate_id", sa.String(), nullable=False),
        sa.Column("interaction_id", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=True),
        sa.Column("messages", sa.JSON(), nullable=False),
        sa.Column("rejected", sa.String(), nullable=True),
        sa.Column("seeds", sa.JSON(), nullable=False),
        sa.Column("adapter_a", sa.String(), nullable=True),
        sa.Column("adapter_b", sa.String(), nullable=True),
        sa.Column("answer_a", sa.String(), nullable=True),
        sa.Column("answer_b", sa.String(), nullable=True),
        sa.Column("expected", sa.String(), nullable=True),
        sa.Column("sampled_because", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Float(), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("corrected", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("application", "candidate_id"),
    )
    op.create_index("ix_reviewitem_queue", "reviewitem", ["application", "state", "priority"])
    op.create_index("ix_reviewitem_interaction", "reviewitem", ["interaction_id"])
    op.create_index("ix_reviewitem_subject", "reviewitem", ["application", "subject"])
    op.create_table(
        "reviewlease",
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("leased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("item_id", "slot"),
        sa.UniqueConstraint("item_id", "reviewer"),
        sa.UniqueConstraint("token"),
    )
    op.create_index("ix_reviewlease_reviewer", "reviewlease", ["reviewer"])
    op.create_table(
        "review",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("application", sa.String(), nullable=False),
        sa.Column("item_id", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("preferred", sa.String(), nullable=True),
        sa.Column("position", sa.String(), nullable=True),
        sa.Column("rubric", sa.JSON(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=True),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("item_id", "reviewer"),
        sa.UniqueConstraint("token"),
    )
    op.create_index("ix_review_application", "review", ["application"])


def downgrade() -> None:
    for table in ("review", "reviewlease", "reviewitem"):
        op.drop_table(table)
