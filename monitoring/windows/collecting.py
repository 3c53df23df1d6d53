"""DETECT: new interactions of each application and adapter → a window, a file and a row.

A window closes when enough interactions came since the last one, or when these are old enough; it
holds the newest of them, and a sample of those is read. Missing references are made first, for
they tell topics and distances. Without anything new nothing is written.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from core.clock import as_utc
from core.ids import new_id
from core.settings import Settings
from feedback.drift_tables import FeatureWindow, Reference
from feedback.store import Store
from monitoring.embedding import encoder_of
from monitoring.windows.assembly import Known, assemble, summary_of
from monitoring.windows.feature_file import write_features
from monitoring.windows.forgetting import forget_old
from monitoring.windows.reading import (
    Scope,
    Seen,
    Span,
    read_asked,
    read_votes,
    sample,
    scopes,
    seen,
)
from monitoring.windows.references import (
    Bench,
    find_reference,
    known_of,
    make_healthy_week,
    make_training,
)


@dataclass(frozen=True, slots=True)
class Collected:
    """What one look at an application's adapter made."""

    scope: Scope
    window: FeatureWindow | None
    references: tuple[Reference, ...]


def collect(
    store: Store, settings: Settings, now: datetime, *, close_now: bool = False
) -> list[Collected]:
    """Return what was made of all applications' new interactions; `close_now` waits for no more.

    Raises: DataError when a stored reference cannot be read, SettingsError without the encoder.
    """
    bench = Bench(settings, encoder_of(settings.monitoring), now)
    with _alone(settings), store.session() as session:
        forget_old(session, settings, now)
        session.commit()
        return [_collect(session, scope, bench, close_now) for scope in scopes(session, settings)]


def _collect(session: Session, scope: Scope, bench: Bench, close_now: bool) -> Collected:
    made: list[Reference] = []
    training = find_reference(session, scope, "training", bench.encoder)
    if training is None and (training := make_training(session, scope, bench)):
        made.append(training)
        session.commit()  # before the next is read and encoded: SQLite has one writer at a time
    healthy = find_reference(session, scope, "healthy_week", bench.encoder)
    if healthy is None:
        healthy = make_healthy_week(session, scope, known_of([training]), bench)
        made += [healthy] if healthy else []
    session.commit()
    rows = _new_rows(session, scope, bench, close_now)
    window = None
    if rows:
        window = _window(session, scope, rows, known_of([training, healthy]), bench)
        session.commit()
    return Collected(scope, window, tuple(made))


def _new_rows(session: Session, scope: Scope, bench: Bench, close_now: bool) -> list[Seen]:
    """Return the interactions of a window that is due; none while it is not."""
    rules = bench.settings.monitoring
    oldest = bench.now - timedelta(days=rules.keep_days)  # older windows would go at once
    span = Span(max(oldest, _last_end(session, scope) or oldest), bench.settled)
    rows = seen(session, scope, span, rules.window_interactions, newest=True)
    if len(rows) < rules.min_rows:
        return []
    is_full = len(rows) == rules.window_interactions
    is_old = bench.now - rows[0].started_at >= timedelta(hours=rules.window_hours)
    return rows if is_full or is_old or close_now else []


def _last_end(session: Session, scope: Scope) -> datetime | None:
    adapter = col(FeatureWindow.adapter)
    last = session.exec(
        select(FeatureWindow.end)
        .where(
            FeatureWindow.application == scope.application,
            adapter.is_(None) if scope.adapter is None else adapter == scope.adapter,
        )
        .order_by(col(FeatureWindow.start).desc())
        .limit(1)
    ).first()
    return None if last is None else as_utc(last)


def _window(
    session: Session, scope: Scope, rows: list[Seen], known: Known, bench: Bench
) -> FeatureWindow:
    ids = sample([row.id for row in rows], bench.settings.monitoring.sample_rows)
    asked, votes = read_asked(session, ids), read_votes(session, ids)
    table = assemble(asked, votes, known, bench.encoder)
    id_ = new_id()
    path = bench.folder(scope) / "windows" / f"{id_}.parquet"
    write_features(path, table)
    window = FeatureWindow(
        id=id_,
        application=scope.application,
        adapter=scope.adapter,
        start=rows[0].started_at,
        end=rows[-1].started_at,
        rows=len(rows),
        sampled_rows=table.num_rows,
        path=str(path),
        summary=summary_of(table, votes, known, bench.encoder),
    )
    session.add(window)
    return window


@contextmanager
def _alone(settings: Settings) -> Generator[None]:
    """Keep others waiting: two at once would make the same window twice."""
    with (settings.folder("monitoring") / "collecting.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
        yield
