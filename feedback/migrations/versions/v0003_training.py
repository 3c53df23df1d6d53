"""Where and how trainings run, which adapters the engine can serve, and their signed manifests."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ADDED: tuple[tuple[str, str, Any, Any], ...] = (  # rows of before get the value
    ("run", "launcher", sa.String(), "local"),
    ("run", "details", sa.JSON(), "{}"),
    ("adapter", "method", sa.String(), "lora"),
    ("adapter", "servable", sa.Boolean(), sa.true()),
    ("adapter", "manifest", sa.JSON(), "{}"),
)


def upgrade() -> None:
    for table, name, kind, value in ADDED:
        op.add_column(table, sa.Column(name, kind, nullable=False, server_default=value))


def downgrade() -> None:
    for table, name, _, _ in reversed(ADDED):
        op.drop_column(table, name)
