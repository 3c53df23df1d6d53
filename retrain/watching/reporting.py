"""Whoever ends a run writes its report: at its end, after a failure, or when it is asked for.

A run's id goes in; the files lie in its folder, and its row names them with what the machine was
used for. A report that cannot be written costs no adapter: at a run's end that is only logged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
from sqlmodel import select

from core.settings import Settings
from feedback.store import Store
from feedback.tables import Adapter, Run
from retrain.money.prices import hourly_price
from retrain.watching.facts import RunFacts, gather
from retrain.watching.report import write_report

log = structlog.get_logger()


def report_run(store: Store, settings: Settings, run_id: str) -> Path:
    """Write the report of a run, and note it on the run's row; return the HTML file.

    Raises: OSError when the folder cannot be written; SettingsError for an unknown instance.
    """
    with store.session() as session:
        run = session.get_one(Run, run_id)
        adapter = session.exec(select(Adapter).where(Adapter.run_id == run_id)).first()
        facts = gather(run, adapter, hourly_price(settings.costs))
        _, html = write_report(facts, Path(run.folder))
        run.details = run.details | _noted(facts, html)
        session.add(run)
        session.commit()
    return html


def report_ended_run(store: Store, settings: Settings, run_id: str) -> None:
    """Write the report of a run that has just ended; what stops that is logged."""
    try:
        report_run(store, settings, run_id)
    except Exception:  # the run has its own end, good or bad, which this must not change
        log.exception("run_report_failed", run=run_id)


def _noted(facts: RunFacts, html: Path) -> dict[str, Any]:
    noted: dict[str, Any] = {
        "report": str(html),
        "trackers": list(facts.trackers),
        "findings": [f"{one.severity}: {one.what}" for one in facts.findings],
    }
    if facts.use is not None:
        noted["system"] = {
            "seconds": round(facts.use.seconds, 1),
            "peak_rss_gb": round(facts.use.peak_rss_bytes / 1e9, 3),
            "cpu": round(facts.use.cpu_share, 2),
        }
    if facts.expected and facts.outcome is not None and facts.outcome.peak_bytes:
        measured = {"memory_gb": round(facts.outcome.peak_bytes / 1e9, 3)}
        if (seconds := facts.phases_s.get("train")) is not None:
            measured["seconds"] = round(seconds, 1)
        noted["measured"] = measured
    if facts.cost is not None:
        noted["cost"] = round(facts.cost, 4)
    return noted
