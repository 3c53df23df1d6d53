"""What an AI judge says of two answers, with its model, its rubric and both orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

IDENTITY = ("application", "interaction_id", "other", "judge", "rubric")


def upgrade() -> None:
    op.create_table(
        "judgedpair",
        sa.Column("id", sa.String(), nullable=False),
        *(sa.Column(name, sa.String(), nullable=False) for name in IDENTITY),
        *(sa.Column(name, sa.String(), nullable=True) for name in ("a_first", "b_first", "people")),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(*IDENTITY),
    )
    op.create_index("ix_judgedpair_interaction", "judgedpair", ["interaction_id"])
    op.create_index("ix_judgedpair_other", "judgedpair", ["other"])


def downgrade() -> None:
    op.drop_table("judgedpair")
