"""Alembic's entry: runs migrations on the connection that `feedback.schema` hands over."""

from __future__ import annotations

from alembic import context

from feedback import alert_tables, console_tables, drift_tables, job_tables, tables

assert all((alert_tables, console_tables, drift_tables, job_tables))  # they register their tables
connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.Application.metadata,
    render_as_batch=connection.dialect.name == "sqlite",  # SQLite cannot alter most things
)
with context.begin_transaction():
    context.run_migrations()
