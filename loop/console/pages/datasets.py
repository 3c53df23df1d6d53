"""Dataset versions: how many examples, how many of them new, and which adapters learnt from one.

DatasetVersion rows come in; the examples' texts are never shown here. Knows nothing of curation.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.response import Template
from sqlmodel import col, select

from core.errors import NotFoundError
from feedback.tables import Adapter, DatasetVersion, Run
from loop.console import charts
from loop.console.pages.runs import flat
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.wiring import Parts

SHOWN = 100  # versions in the list, the newest
MAX_FACTS = 60  # of a manifest: what is more is in its file

AnyRequest = Request[Any, Any, Any]


def dataset_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the pages of datasets."""

    @get("/datasets", sync_to_thread=True)
    def show_datasets(request: AnyRequest) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            rows = session.exec(
                select(DatasetVersion)
                .where(DatasetVersion.application == visitor.application)
                .order_by(col(DatasetVersion.created_at).desc())
                .limit(SHOWN)
            ).all()
        counts = [(row.id.rpartition("--")[2], float(row.train_rows)) for row in reversed(rows)]
        chart = charts.bars("Training examples, by version", counts)
        return page(request, visitor, "datasets.html", "datasets", datasets=rows, chart=chart)

    @get("/datasets/{dataset_id:str}", sync_to_thread=True)
    def show_dataset(request: AnyRequest, dataset_id: str) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            row = session.get(DatasetVersion, dataset_id)
            if row is None or row.application != visitor.application:
                raise NotFoundError(f"no dataset {dataset_id!r} of {visitor.application}")
            runs = session.exec(select(Run).where(Run.dataset_id == dataset_id)).all()
            adapters = session.exec(
                select(Adapter.name).where(Adapter.dataset_id == dataset_id)
            ).all()
        context = {
            "dataset": row,
            "runs": runs,
            "adapters": adapters,
            "lineage": origin(row),
            "stages": stages(row),
            "facts": [pair for pair in flat(_settings(row)) if len(pair[1]) <= 200][:MAX_FACTS],
        }
        return page(request, visitor, "dataset.html", "datasets", **context)

    return [show_datasets, show_dataset]


def origin(dataset: DatasetVersion) -> dict[str, Any]:
    """Return which interactions a version was made of, as its manifest tells; older ones do not."""
    found = dataset.manifest.get("lineage")
    return found if isinstance(found, dict) else {}


def stages(dataset: DatasetVersion) -> list[dict[str, Any]]:
    """Return what each stage of curation kept and left out, and why."""
    found = dataset.manifest.get("stages")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _settings(dataset: DatasetVersion) -> dict[str, Any]:
    """Return the rest of the manifest."""
    shown = {"lineage", "stages", "coverage"}
    return {name: value for name, value in dataset.manifest.items() if name not in shown}
