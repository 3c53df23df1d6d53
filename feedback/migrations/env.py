"""Alembic's entry: runs migrations on the connection that `feedback.schema` hands over."""

from __future__ import annotations

from alembic import context

from feedback.all_tables import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite cannot alter most things
)
with context.begin_transaction():
    context.run_migrations()
