"""DETECT: what windows are held against, each made once: the training data, the healthy week.

`training` is a sample of the examples that an adapter was trained on; `healthy_week` the first
interactions after its promotion in which neither errors nor drift were acted on. Both are Parquet
files of features with a row each. A reference belongs to one encoder: with another one set, others
are made beside it. Knows nothing of drift but its reports' severity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq
import structlog
from sqlalchemy import func
from sqlmodel import Session, col, select

from core.clock import as_utc
from core.settings import Settings
from feedback.drift_tables import DriftReport, Reference
from feedback.tables import Adapter, DatasetVersion, Rollout, VerdictRecord
from monitoring.embedding import Encoder
from monitoring.windows.assembly import Known, assemble, embed, locate, summary_of
from monitoring.windows.feature_file import (
    Table,
    embeddings,
    read_features,
    read_topics,
    table_of,
    write_features,
    write_topics,
)
from monitoring.windows.features import Asked, features_of
from monitoring.windows.language import language_of
from monitoring.windows.nearness import distances_among, far
from monitoring.windows.reading import Scope, Seen, Span, read_asked, read_votes, sample, seen
from monitoring.windows.topics import fit_topics

Kind = Literal["training", "healthy_week"]
TRAIN_FILE = "train.parquet"
MAX_SPANS = 52  # unhealthy weeks that are passed over at one look: a year

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bench:
    """What references and windows are made with."""

    settings: Settings
    encoder: Encoder
    now: datetime

    def folder(self, scope: Scope) -> Path:
        """Return where the files of an application's adapter are."""
        return self.settings.folder("monitoring") / scope.application / scope.name

    @property
    def settled(self) -> datetime:
        """Up to when everything that was answered is taken to be ingested."""
        return self.now - timedelta(seconds=self.settings.monitoring.settle_s)


def find_reference(
    session: Session, scope: Scope, kind: Kind, encoder: Encoder
) -> Reference | None:
    """Return the reference that was made with this encoder."""
    return session.get(Reference, _id(scope, kind, encoder))


def known_of(references: Sequence[Reference | None]) -> Known:
    """Return what the references tell; of the first, training, also the distances."""
    known = Known()
    for reference in references:
        if reference is None:
            continue
        topics = known.topics or read_topics(Path(reference.path))
        known = replace(known, topics=topics)
        if reference.kind == "training":
            _, examples_M_D = embeddings(read_features(Path(reference.path)))
            known = replace(
                known, examples_M_D=examples_M_D, novel_beyond=reference.summary["novel_beyond"]
            )
    return known


def make_training(session: Session, scope: Scope, bench: Bench) -> Reference | None:
    """Return the new reference of what the adapter was trained on; None if that is not there."""
    examples = _examples(session, scope)
    if not examples:
        return None
    chosen = set(sample(list(examples), bench.settings.monitoring.reference_rows))
    asked = [one for name, one in examples.items() if name in chosen]
    located = embed(asked, bench.encoder)
    if not len(located.places):
        return None
    topics = fit_topics(located.vectors_M_D, bench.settings.monitoring.topics)
    own = distances_among(located.vectors_M_D)
    known = Known(topics, None, far(own))
    located = replace(locate(located, known), novelty=own)  # not 0, as to themselves
    table = table_of([features_of(one, (), language_of) for one in asked], located)
    summary = summary_of(table, {}, known, bench.encoder)
    summary |= {"novel_beyond": known.novel_beyond, "examples": len(examples)}
    reference = _store(session, scope, "training", table, summary, bench)
    write_topics(Path(reference.path), topics)
    return reference


def make_healthy_week(
    session: Session, scope: Scope, known: Known, bench: Bench
) -> Reference | None:
    """Return the new reference of the first healthy interactions; None while there are too few."""
    rows = _first_healthy(session, scope, bench)
    if rows is None:
        return None
    rules = bench.settings.monitoring
    ids = sample([row.id for row in rows], rules.reference_rows)
    asked, votes = read_asked(session, ids), read_votes(session, ids)
    topics = known.topics
    if topics is None:  # nothing was trained: its own topics are what others are compared with
        topics = fit_topics(embed(asked, bench.encoder).vectors_M_D, rules.topics)
        known = replace(known, topics=topics)
    table = assemble(asked, votes, known, bench.encoder)
    summary = summary_of(table, votes, known, bench.encoder)
    summary |= {
        "start": rows[0].started_at.isoformat(),
        "end": rows[-1].started_at.isoformat(),
        "interactions": len(rows),
    }
    reference = _store(session, scope, "healthy_week", table, summary, bench)
    write_topics(Path(reference.path), topics)
    return reference


def _store(
    session: Session, scope: Scope, kind: Kind, table: Table, summary: dict[str, Any], bench: Bench
) -> Reference:
    id_ = _id(scope, kind, bench.encoder)
    path = bench.folder(scope) / "references" / id_ / "features.parquet"
    write_features(path, table)
    reference = Reference(
        id=id_,
        application=scope.application,
        adapter=scope.adapter,
        kind=kind,
        made_at=bench.now,
        rows=table.num_rows,
        path=str(path),
        summary=summary,
    )
    session.add(reference)
    return reference


def _id(scope: Scope, kind: Kind, encoder: Encoder) -> str:
    """Return the one id that this reference can have: it cannot be made twice."""
    return f"{scope.application}.{scope.name}.{kind}.{encoder.name}"


def _examples(session: Session, scope: Scope) -> dict[str, Asked]:
    """Return the demonstrations that the adapter was trained on, by an id of each."""
    adapter = session.get(Adapter, scope.adapter) if scope.adapter else None
    version = session.get(DatasetVersion, adapter.dataset_id) if adapter else None
    if version is None:
        return {}
    path = Path(version.path) / TRAIN_FILE
    if not path.is_file():
        _log.warning("reference_without_dataset", adapter=scope.name, dataset=version.id)
        return {}
    names = pq.read_schema(path).names
    if "messages" not in names:
        return {}
    wanted = [name for name in ("example_id", "interaction_id", "messages") if name in names]
    rows: list[dict[str, Any]] = pq.read_table(path, columns=wanted).to_pylist()
    return {
        str(row.get("example_id") or place): Asked(
            interaction_id=row.get("interaction_id") or str(place),
            messages=row["messages"][:-1],
            answer=row["messages"][-1]["content"],
        )
        for place, row in enumerate(rows)
    }


def _first_healthy(session: Session, scope: Scope, bench: Bench) -> list[Seen] | None:
    """Return the first span after the promotion that is over and healthy."""
    rules = bench.settings.monitoring
    promoted, after = _promoted(session, scope)
    if not promoted:
        return None
    for _ in range(MAX_SPANS):
        span = Span(after, bench.settled)
        found = seen(session, scope, span, rules.healthy_interactions)
        if not found:
            return None
        end = found[0].started_at + timedelta(days=rules.healthy_days)
        rows = [row for row in found if row.started_at <= end]
        is_over = len(rows) == rules.healthy_interactions or end <= bench.settled
        if not is_over:
            return None
        if len(rows) >= rules.min_rows and _is_healthy(session, scope, rows, bench):
            return rows
        after = rows[-1].started_at
    return None


def _is_healthy(session: Session, scope: Scope, rows: Sequence[Seen], bench: Bench) -> bool:
    errors = sum(row.status == "error" for row in rows)
    if errors > bench.settings.monitoring.healthy_max_error_share * len(rows):
        return False
    adapter = col(DriftReport.adapter)
    acted = select(func.count()).where(
        col(DriftReport.application) == scope.application,
        adapter.is_(None) if scope.adapter is None else adapter == scope.adapter,
        col(DriftReport.severity) == "act",
        col(DriftReport.window_start) <= rows[-1].started_at,
        col(DriftReport.window_end) >= rows[0].started_at,
    )
    return session.exec(acted).one() == 0


def _promoted(session: Session, scope: Scope) -> tuple[bool, datetime | None]:
    """Return whether the scope answers as live, and since when; the base model does from the first.

    An adapter that no rollout brought there (it is set, or was put there by hand) does so since it
    was made.
    """
    if scope.adapter is None:
        return True, None
    rollout = session.exec(
        select(Rollout)
        .where(Rollout.canary_adapter == scope.adapter)
        .order_by(col(Rollout.created_at).desc())
        .limit(1)
    ).first()
    if rollout is None:
        adapter = session.get(Adapter, scope.adapter)
        return True, None if adapter is None else as_utc(adapter.created_at)
    if rollout.state not in {"watch", "live"}:
        return False, None
    verdict = session.exec(
        select(func.max(VerdictRecord.created_at)).where(
            VerdictRecord.rollout_id == rollout.id,
            VerdictRecord.state == "canary",
            VerdictRecord.decision == "promote",
        )
    ).one()
    return True, as_utc(verdict or rollout.state_since)
