"""What a rollout's verdict counts of an interaction: whether it refused, and its stratum."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("interaction", sa.Column("refused", sa.Boolean(), nullable=True))
    op.add_column("interaction", sa.Column("stratum", sa.String(), nullable=True))


def downgrade() -> None:
    op.drop_column("interaction", "stratum")
    op.drop_column("interaction", "refused")
