"""What a project has and measured, by which money is reckoned: the store goes in, numbers come out.

Every number is None where there is nothing to tell it by, and all are outside of a project: then
nothing is opened or created. Knows no command and no price.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from sqlmodel import Session

    from core.settings import Settings

WINDOW_DAYS = 30  # of traffic and runs; a month is as long


@dataclass(frozen=True, slots=True)
class ProjectFacts:
    """Numbers of one application, or of all."""

    examples: int | None = None  # to learn from, of the newest dataset version
    tokens: float | None = None  # of a request and its answer, on average
    requests_per_day: float | None = None
    run_tokens_per_s: float | None = None  # of the newest finished run that measured it
    run_recipe: str | None = None  # and its recipe
    run_hours: float | None = None  # of the newest finished run that was timed
    run_usd: float | None = None  # of the newest finished run whose price was known
    runs_per_month: int | None = None  # that finished
    parameters: int | None = None  # of the base model that is served

    @property
    def tokens_per_month(self) -> float | None:
        """How many tokens are read and written in a month."""
        if self.tokens is None or self.requests_per_day is None:
            return None
        return self.tokens * self.requests_per_day * WINDOW_DAYS


def read_facts(settings: Settings, application: str | None = None) -> ProjectFacts:
    """Return what the store tells, of one application or of all.

    Raises: NotFoundError for an application that the store does not have.
    """
    if settings.store_url is None and not (settings.data_dir / "store.db").is_file():
        return ProjectFacts()
    from core.clock import utc_now
    from core.errors import NotFoundError
    from feedback.tables import Application
    from loop.wiring import open_parts

    with open_parts(settings) as parts, parts.store.session() as session:
        if application is not None and session.get(Application, application) is None:
            raise NotFoundError(f"no application {application!r} in the store")
        since = utc_now() - timedelta(days=WINDOW_DAYS)
        return ProjectFacts(
            examples=_examples(session, application),
            **_traffic(session, application, since),
            **_runs(session, application, since),
            parameters=_parameters(settings),
        )


def _examples(session: Session, application: str | None) -> int | None:
    from sqlmodel import col, select

    from feedback.tables import DatasetVersion

    query = select(DatasetVersion.train_rows).order_by(col(DatasetVersion.created_at).desc())
    if application is not None:
        query = query.where(DatasetVersion.application == application)
    return session.exec(query.limit(1)).first()


def _traffic(session: Session, application: str | None, since: datetime) -> dict[str, Any]:
    from sqlalchemy import func
    from sqlmodel import col, select

    from core.clock import as_utc, utc_now
    from feedback.tables import Interaction

    query = select(
        func.count(),
        func.avg(Interaction.prompt_tokens),  # type: ignore[arg-type]
        func.avg(Interaction.completion_tokens),  # type: ignore[arg-type]
        func.min(Interaction.started_at),
    ).where(col(Interaction.started_at) >= since, col(Interaction.shadow_of).is_(None))
    if application is not None:
        query = query.where(Interaction.application == application)
    count, read, written, first = session.exec(query).one()
    if not count:
        return {}
    days = max(1.0, (utc_now() - as_utc(first)).total_seconds() / 86_400.0)
    found: dict[str, Any] = {"requests_per_day": count / days}
    if read is not None and written is not None:
        found["tokens"] = float(read) + float(written)
    return found


def _runs(session: Session, application: str | None, since: datetime) -> dict[str, Any]:
    """Return what finished runs measured, each number of the newest one that has it."""
    from sqlmodel import col, select

    from core.clock import as_utc
    from feedback.tables import Run

    query = select(Run).where(Run.status == "finished").order_by(col(Run.started_at).desc())
    if application is not None:
        query = query.where(Run.application == application)
    found: dict[str, Any] = {}
    runs = session.exec(query).all()
    for run in reversed(runs):  # the newest says last
        if (speed := run.metrics.get("tokens_per_s")) is not None:
            found |= {"run_tokens_per_s": speed, "run_recipe": run.recipe}
        if (seconds := run.details.get("system", {}).get("seconds")) is not None:
            found["run_hours"] = seconds / 3600.0
        if (usd := run.details.get("cost")) is not None:
            found["run_usd"] = usd
    lately = sum(as_utc(run.started_at) >= since for run in runs)
    return found | ({"runs_per_month": lately} if lately else {})


def _parameters(settings: Settings) -> int | None:
    from core.errors import DataError
    from retrain.model_shape import read_shape

    try:
        return read_shape(settings.engine.model).parameters
    except DataError:  # no model here yet, or one of another kind: then its size is asked for
        return None
