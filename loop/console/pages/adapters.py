"""Adapters: every version, what the gate said of it, and its lineage as a drawing.

Adapter rows and what they name come in. What an adapter was made of is `loop.adapter_facts`'
business; here it is only shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, get
from litestar.response import Template
from sqlmodel import Session, col, select

from core.errors import NotFoundError
from feedback.tables import Adapter, Application, DatasetVersion, Rollout, Run
from loop.console.lineage import Node, Version, draw_lineage
from loop.console.pages.datasets import origin
from loop.console.sessions import Sessions
from loop.console.shown import page, short
from loop.wiring import Parts

SHOWN = 100  # adapters in the list, the newest
DRAWN = 8  # rows of the list's drawing
MAX_ANCESTORS = 12
KINDS = {"live": "good", "rolled_back": "bad", "canary": "busy", "pass": "good", "fail": "bad"}

AnyRequest = Request[Any, Any, Any]


def adapter_routes(parts: Parts, sessions: Sessions) -> list[Any]:
    """Return the pages of adapters."""

    @get("/adapters", sync_to_thread=True)
    def show_adapters(request: AnyRequest) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            rows = session.exec(
                select(Adapter)
                .where(Adapter.application == visitor.application)
                .order_by(col(Adapter.created_at).desc())
                .limit(SHOWN)
            ).all()
            owner = session.get(Application, visitor.application)
            drawing = lineage(session, rows[:DRAWN])
        live = owner.live_adapter if owner else None
        context = {"adapters": rows, "live_adapter": live, "drawing": drawing}
        return page(request, visitor, "adapters.html", "adapters", **context)

    @get("/adapters/{name:str}", sync_to_thread=True)
    def show_adapter(request: AnyRequest, name: str) -> Template:
        visitor = sessions.caller(request)
        with parts.store.session() as session:
            adapter = session.get(Adapter, name)
            if adapter is None or adapter.application != visitor.application:
                raise NotFoundError(f"no adapter {name!r} of {visitor.application}")
            line = ancestors(session, adapter)
            children = session.exec(
                select(Adapter.name).where(Adapter.parent_adapter == name).order_by(Adapter.name)
            ).all()
            drawing = lineage(session, line)
        context = {"adapter": adapter, "children": children, "suites": suites(adapter.gate)}
        return page(request, visitor, "adapter.html", "adapters", drawing=drawing, **context)

    return [show_adapters, show_adapter]


def ancestors(session: Session, adapter: Adapter) -> list[Adapter]:
    """Return the adapter and those that it continues, the newest first."""
    line = [adapter]
    while len(line) < MAX_ANCESTORS and line[-1].parent_adapter:
        parent = session.get(Adapter, line[-1].parent_adapter)
        if parent is None:
            break
        line.append(parent)
    return line


def lineage(session: Session, adapters: Sequence[Adapter]) -> str:
    """Return the drawing of these adapters, or nothing of none."""
    if not adapters:
        return ""
    names = [adapter.name for adapter in adapters]
    learnt = {
        row.id: row
        for row in session.exec(
            select(DatasetVersion).where(
                col(DatasetVersion.id).in_([adapter.dataset_id for adapter in adapters])
            )
        )
    }
    runs = {
        run.id: run
        for run in session.exec(select(Run).where(col(Run.id).in_([a.run_id for a in adapters])))
    }
    rollouts = session.exec(
        select(Rollout)
        .where(col(Rollout.canary_adapter).in_(names))
        .order_by(col(Rollout.created_at))
    ).all()
    last = {rollout.canary_adapter: rollout for rollout in rollouts}
    versions = [
        Version(
            adapter.name,
            adapter.parent_adapter,
            _nodes(
                adapter,
                learnt.get(adapter.dataset_id),
                runs.get(adapter.run_id),
                last.get(adapter.name),
            ),
        )
        for adapter in adapters
    ]
    return draw_lineage(versions, "Lineage")


def suites(gate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the gate's suites as rows; older adapters have none."""
    found = gate.get("suites")
    if not isinstance(found, dict):
        return []
    return [{"name": name, **values} for name, values in found.items() if isinstance(values, dict)]


def _interactions(dataset: DatasetVersion) -> Node | None:
    """Return of how many interactions a dataset was made, and of when they are."""
    told = origin(dataset)
    if "interactions" not in told:
        return None
    days = [str(told.get(name) or "")[5:10] for name in ("oldest", "newest")]
    note = f"of {' to '.join(days)}" if all(days) else "with approval"
    return Node(f"{told['interactions']:,}", note, f"/datasets/{dataset.id}#from")


def _nodes(
    adapter: Adapter, learnt: DatasetVersion | None, run: Run | None, rollout: Rollout | None
) -> tuple[Node | None, ...]:
    decision = str(adapter.gate.get("decision") or "no gate yet")
    return (
        None if learnt is None else _interactions(learnt),
        Node(
            adapter.dataset_id,
            f"{learnt.train_rows:,} examples" if learnt else "not known",
            f"/datasets/{adapter.dataset_id}",
        ),
        None
        if run is None
        else Node(short(run.id), f"{run.mode}, {run.status}", f"/runs/{run.id}"),
        Node(
            adapter.name,
            f"{adapter.status.replace('_', ' ')}, gate: {decision}",
            f"/adapters/{adapter.name}",
            KINDS.get(adapter.status, ""),
        ),
        None
        if rollout is None
        else Node(
            rollout.state.replace("_", " "),
            f"{rollout.share:.0%} of subjects",
            f"/rollouts/{rollout.id}",
            KINDS.get(rollout.state, ""),
        ),
    )
