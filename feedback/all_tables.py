"""Every module with tables, in one place: what the metadata must know before it is compared.

Imported by migrations and by the check of the schema; knows no table itself.
"""

from __future__ import annotations

from feedback import alert_tables, console_tables, drift_tables, job_tables, tables

MODULES = (tables, drift_tables, job_tables, alert_tables, console_tables)
METADATA = tables.Application.metadata
