"""Trainings: each run with its state, its losses over the steps, and why it was begun.

Run rows and `progress.jsonl` of their folders come in. A run that trains elsewhere shows what it
has told so far. Knows nothing of how training works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from litestar import Request, get
from litestar.response import Template
from sqlmodel import col, select

from core.errors import NotFoundError
from feedback.tables import Adapter, Run
from loop.console import charts
from loop.console.sessions import Sessions
from loop.console.shown import page
from loop.wiring import Parts
from retrain.runs.progress import TrainProgress, read_all, read_progress

SHOWN = 100  # runs in the list, the newest
MAX_POINTS = 300  # of a curve

AnyRequest = Request[Any, Any, Any]


def run_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the pages of runs."""

    @get("/runs", sync_to_thread=True)
    def show_runs(request: AnyRequest) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            rows = session.exec(
                select(Run)
                .where(Run.application == visitor.application)
                .order_by(col(Run.started_at).desc())
                .limit(SHOWN)
            ).all()
        told = {
            run.id: read_progress(Path(run.folder))
            for run in rows
            if run.status in {"queued", "running"}
        }
        return page(request, visitor, "runs.html", "runs", runs=rows, told=told)

    @get("/runs/{run_id:str}", sync_to_thread=True)
    def show_run(request: AnyRequest, run_id: str) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            run = session.get(Run, run_id)
            if run is None or run.application != visitor.application:
                raise NotFoundError(f"no run {run_id!r} of {visitor.application}")
            adapters = session.exec(select(Adapter.name).where(Adapter.run_id == run_id)).all()
        told = read_all(Path(run.folder))
        context = {
            "run": run,
            "adapters": adapters,
            "last": told[-1] if told else None,
            "findings": [each.finding for each in told if each.finding is not None],
            "charts": draw(told),
            "metrics": flat(run.metrics),
            "settings": flat(run.hyperparameters),
        }
        return page(request, visitor, "run.html", "runs", **context)

    return [show_runs, show_run]


def draw(told: Sequence[TrainProgress]) -> list[charts.Chart]:
    """Return the curves of what a run told; those without a point are left out."""
    losses = _curve("Loss", told, [("training", "t1", _loss), ("validation", "t2", _validation)])
    return [
        chart
        for chart in (
            losses,
            _curve("Learning rate", told, [("rate", "t1", lambda each: each.learning_rate)]),
            _curve("Gradient norm, before clipping", told, [("norm", "t3", _norm)]),
            _curve("Tokens a second", told, [("tokens/s", "t4", lambda each: each.tokens_per_s)]),
        )
        if not chart.is_empty
    ]


def flat(values: Any, name: str = "") -> list[tuple[str, str]]:
    """Return nested values under dotted names, as texts."""
    if isinstance(values, dict):
        return [pair for key, inner in values.items() for pair in flat(inner, _joined(name, key))]
    text = f"{values:.6g}" if isinstance(values, float) else str(values)
    return [(name, text)]


def _joined(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _curve(
    title: str,
    told: Sequence[TrainProgress],
    asked: Sequence[tuple[str, str, Callable[[TrainProgress], float | None]]],
) -> charts.Chart:
    """Return lines over the steps; a resumed run's later word on a step counts."""
    by_step: dict[int, list[float | None]] = {}
    for each in told:
        values = [value(each) for _, _, value in asked]
        if any(value is not None for value in values):
            known = by_step.setdefault(each.step, [None] * len(asked))
            by_step[each.step] = [
                new if new is not None else old for new, old in zip(values, known, strict=True)
            ]
    steps = sorted(by_step)
    stride = 1 + len(steps) // MAX_POINTS
    kept = [s for n, s in enumerate(steps) if n % stride == 0 or by_step[s][-1] is not None]
    if not kept:
        return charts.Chart(title, "", is_empty=True)
    axis = charts.Axis([float(step) for step in kept], is_time=False)
    drawn = [
        charts.Line(label, charts.joined_up([by_step[step][place] for step in kept], kept), tone)
        for place, (label, tone, _) in enumerate(asked)
    ]
    return charts.lines(title, axis, [line for line in drawn if any(line.values)])


def _loss(told: TrainProgress) -> float | None:
    return told.loss


def _validation(told: TrainProgress) -> float | None:
    return told.validation_loss


def _norm(told: TrainProgress) -> float | None:
    return told.grad_norm
