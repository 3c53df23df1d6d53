"""Alembic's entry: runs migrations on the connection that `feedback.schema` hands over."""

from __future__ import annotations

from alembic import context

import feedback.alert_tables  # pyright: ignore[reportUnusedImport] (metadata)
import feedback.drift_tables  # pyright: ignore[reportUnusedImport] (metadata)
import feedback.job_tables  # noqa: F401 # pyright: ignore[reportUnusedImport] (metadata)
from feedback import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.Application.metadata,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite cannot alter most things
)
with context.begin_transaction():
    context.run_migrations()
