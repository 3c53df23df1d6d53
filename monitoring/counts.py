"""The counts of a rollout: exposures, errors and slow answers, and one rating per subject.

DETECT's input. In comes a rollout row; out go `RolloutCounts`, added up by the database from
the interactions and feedback that ingest has written so far. Knows nothing of what the counts
mean for the rollout. Works alike on SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, case, func
from sqlmodel import Session, col, select

from core.settings import CanarySettings
from feedback.tables import Feedback, Interaction, Rollout
from monitoring.verdict import ArmCounts, RolloutCounts, StepCounts

GOOD_RATING = 4  # of 5: satisfied, as in a top-two-box score

Cell = tuple[int, str]  # step and arm


def count_rollout(session: Session, rollout: Rollout, rules: CanarySettings) -> RolloutCounts:
    """Return the rollout's counts as ingested up to now, step by step.

    An exposure is an interaction with the rollout's id and a step, a broken-off one included.
    Feedback for interactions that are not ingested yet does not count until they are.
    """
    exposures = _count_exposures(session, rollout.id, rules.latency_over_s)
    ratings = _count_ratings(session, rollout.id)
    cells = {
        cell: ArmCounts(**exposures[cell], **ratings.get(cell, {})) for cell in sorted(exposures)
    }
    steps = tuple(
        StepCounts(
            step,
            baseline=cells.get((step, "baseline"), ArmCounts()),
            canary=cells.get((step, "canary"), ArmCounts()),
        )
        for step in sorted({step for step, _ in cells})
    )
    return RolloutCounts(steps, _count_trailing_errors(session, rollout.id))


def _count_exposures(
    session: Session, rollout_id: str, latency_over_s: float
) -> dict[Cell, dict[str, int]]:
    is_slow = (col(Interaction.status) == "ok") & (col(Interaction.latency_s) > latency_over_s)
    query = (
        select(  # pyright: ignore[reportCallIssue] (SQLModel types at most four columns)
            Interaction.step,
            Interaction.arm,
            func.count(),
            _times(col(Interaction.status) == "error"),
            _times(is_slow),
        )
        .where(_exposed(rollout_id))
        .group_by(Interaction.step, Interaction.arm)
    )
    return {
        (step, arm): {"exposures": exposures, "errors": errors, "slow": slow}
        for step, arm, exposures, errors, slow in session.exec(query)
    }


def _count_ratings(session: Session, rollout_id: str) -> dict[Cell, dict[str, int]]:
    """Count each subject's first effective rating, in the step and arm that earned it.

    An interaction without a subject stands for itself.
    """
    unit = func.coalesce(Interaction.subject, Interaction.id)
    oldest_first = (col(Feedback.given_at), col(Feedback.event_id))
    is_good = case(
        (col(Feedback.kind) == "thumbs", col(Feedback.thumbs).is_(True)),
        else_=col(Feedback.rating) >= GOOD_RATING,
    )
    votes = (
        select(
            Interaction.step,
            Interaction.arm,
            case((is_good, 1), else_=0).label("good"),
            func.row_number().over(partition_by=unit, order_by=oldest_first).label("place"),
        )
        .join(Feedback, col(Feedback.interaction_id) == Interaction.id)
        .where(_exposed(rollout_id), _is_rating())
        .subquery()
    )
    query = (
        select(votes.c.step, votes.c.arm, func.count(), func.sum(votes.c.good))
        .where(votes.c.place == 1)
        .group_by(votes.c.step, votes.c.arm)
    )
    return {
        (step, arm): {"ratings": ratings, "good": int(good)}
        for step, arm, ratings, good in session.exec(query)
    }


def _count_trailing_errors(session: Session, rollout_id: str) -> int:
    """Count the canary's errors since its last good answer, by the time the requests started.

    A request that its client broke off says nothing of the adapter: it is passed over.
    """
    canary = _exposed(rollout_id) & (col(Interaction.arm) == "canary")
    started_at = col(Interaction.started_at)
    last_ok = (
        select(func.max(started_at))
        .where(canary, col(Interaction.status) == "ok")
        .scalar_subquery()
    )
    query = select(func.count()).where(
        canary,
        col(Interaction.status) == "error",
        (started_at > last_ok) | last_ok.is_(None),
    )
    return session.exec(query).one()


def _exposed(rollout_id: str) -> ColumnElement[bool]:
    return (col(Interaction.rollout_id) == rollout_id) & col(Interaction.step).is_not(None)


def _is_rating() -> ColumnElement[bool]:
    thumbs = (col(Feedback.kind) == "thumbs") & col(Feedback.thumbs).is_not(None)
    stars = (col(Feedback.kind) == "rating") & col(Feedback.rating).is_not(None)
    return col(Feedback.effective).is_(True) & (thumbs | stars)


def _times(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
