"""The counts of a rollout: exposures and what was odd about them, subjects, one rating of each.

DETECT's input. In comes a rollout row; out go `RolloutCounts`, added up by the database from
the interactions and feedback that ingest has written so far. Knows nothing of what the counts
mean for the rollout. Works alike on SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Subquery,
    and_,
    case,
    extract,
    func,
    literal,
    true,
)
from sqlmodel import Session, col, select

from core.canary_settings import OTHER_STRATUM, CanarySettings
from core.clock import as_utc, utc_now
from core.sticky import position
from feedback.tables import Feedback, Interaction, Rollout
from monitoring.arms import ArmCounts, RolloutCounts, StepCounts

TRUNCATED = ("length", "max_tokens")  # finish reasons of OpenAI's and Anthropic's dialect

Cell = tuple[int, str, str]  # step, stratum and arm


def count_rollout(
    session: Session, rollout: Rollout, rules: CanarySettings, now: datetime | None = None
) -> RolloutCounts:
    """Return the rollout's counts as ingested up to `now`, step by step.

    An exposure is an interaction with the rollout's id and a step, a broken-off one included.
    Feedback for interactions that are not ingested yet does not count until they are.
    """
    exposures = _count_exposures(session, rollout, rules, now or utc_now())
    ratings = _count_ratings(session, rollout, rules)
    nothing: Mapping[str, int] = {}
    cells = {cell: ArmCounts(**exposures[cell], **ratings.get(cell, nothing)) for cell in exposures}
    steps = tuple(
        StepCounts(
            step,
            baseline=cells.get((step, stratum, "baseline"), ArmCounts()),
            canary=cells.get((step, stratum, "canary"), ArmCounts()),
            stratum=stratum,
        )
        for step, stratum in sorted({(step, stratum) for step, stratum, _ in cells})
    )
    return RolloutCounts(steps, _count_trailing_errors(session, rollout.id))


def _count_exposures(
    session: Session, rollout: Rollout, rules: CanarySettings, now: datetime
) -> dict[Cell, dict[str, int]]:
    """Count exposures and their events, at most so many of a subject in a step, and subjects."""
    seen = _seen(rollout.id, rules)
    counted = _counted(seen, rules)
    settled = counted & (seen.c.started_at <= now - timedelta(seconds=rules.response_window_s))
    answered = counted & (seen.c.status == "ok")
    events: dict[str, ColumnElement[bool]] = {
        "exposures": counted,
        "errors": counted & (seen.c.status == "error"),
        "slow": answered & (seen.c.latency_s > rules.latency_over_s),
        "slow_start": answered & (seen.c.ttft_s > rules.ttft_over_s),
        "long": answered & (seen.c.completion_tokens > rules.long_over_tokens),
        "short": answered & (seen.c.completion_tokens < rules.short_under_tokens),
        "truncated": answered & seen.c.finish_reason.in_(TRUNCATED),
        "refusals": answered & seen.c.refused.is_(True),
        "settled": settled,
        "thumbs_down": settled & (seen.c.good == 0),
        "unrated": settled & seen.c.good.is_(None),
        "subjects": _first_seen(seen, rollout),
    }
    cell = (seen.c.step, seen.c.stratum, seen.c.arm)
    query: Any = select(
        *cell, *(_times(event).label(name) for name, event in events.items())
    ).group_by(*cell)  # pyright: ignore[reportCallIssue, reportArgumentType] (SQLModel types at most four columns)
    return {
        (step, stratum, arm): dict(zip(events, map(int, sums), strict=True))
        for step, stratum, arm, *sums in session.exec(query)
    }


def _seen(rollout_id: str, rules: CanarySettings) -> Subquery:
    """Return the exposures, their places among those of the subject, and how they were rated."""
    order = (col(Interaction.started_at), col(Interaction.id))
    own_place = func.row_number().over(partition_by=_unit(), order_by=order)
    step_place = func.row_number().over(
        partition_by=(_unit(), col(Interaction.step)), order_by=order
    )
    return (
        select(  # pyright: ignore[reportCallIssue]
            Interaction.id,
            Interaction.step,
            Interaction.arm,
            _stratum(rules).label("stratum"),
            Interaction.status,
            Interaction.latency_s,
            Interaction.ttft_s,
            Interaction.completion_tokens,
            Interaction.finish_reason,
            Interaction.refused,
            Interaction.started_at,
            _said(rules).label("good"),
            own_place.label("own_place"),
            step_place.label("step_place"),
        )
        .where(_exposed(rollout_id))
        .subquery()
    )


def _said(rules: CanarySettings) -> ScalarSelect[int]:
    """Return what was said of an exposure within the response window: 1 good, 0 not, or NULL.

    Looked up by an index for each exposure: SQLite joins with no index what is grouped first.
    """
    return (
        select(func.min(case((_is_good(rules), 1), else_=0)))
        .where(
            col(Feedback.interaction_id) == col(Interaction.id),
            _is_rating(),
            _given_within(rules.response_window_s),
        )
        .correlate(Interaction)
        .scalar_subquery()
    )


def _counted(seen: Subquery, rules: CanarySettings) -> ColumnElement[bool]:
    if not rules.exposures_per_subject:
        return true()
    return seen.c.step_place <= rules.exposures_per_subject


def _first_seen(seen: Subquery, rollout: Rollout) -> ColumnElement[bool]:
    """Return what is true of a subject's first exposure; a resumed canary looks at new ones."""
    first = seen.c.own_place == 1
    if rollout.state != "canary":
        return first
    return first & (seen.c.started_at >= as_utc(rollout.state_since))


def _count_ratings(
    session: Session, rollout: Rollout, rules: CanarySettings
) -> dict[Cell, dict[str, int]]:
    """Count each subject's first effective rating, in the step and arm that earned it.

    A subject counts once before the promotion and once in the watch. One whose place is below the
    largest share comes to the canary in time, and counts from then on: its arm was settled by its
    hash, before anything was seen of it. An interaction without a subject stands for itself.
    """
    in_watch = col(Interaction.step) >= len(rules.shares)
    oldest_first = (col(Feedback.given_at), col(Feedback.event_id))
    votes = (
        select(  # pyright: ignore[reportCallIssue]
            Interaction.subject,
            in_watch.label("in_watch"),
            Interaction.step,
            _stratum(rules).label("stratum"),
            Interaction.arm,
            case((_is_good(rules), 1), else_=0).label("good"),
            func.row_number()
            .over(partition_by=(_unit(), in_watch, col(Interaction.arm)), order_by=oldest_first)
            .label("place"),
        )
        .join(Feedback, col(Feedback.interaction_id) == Interaction.id)
        .where(_exposed(rollout.id), _is_rating(), _given_within(rules.feedback_window_s))
        .subquery()
    )
    ratings: Counter[Cell] = Counter()
    good: Counter[Cell] = Counter()
    for subject, watched, *cell, is_good in session.exec(
        select(*(c for c in votes.c if c.key != "place")).where(votes.c.place == 1)  # pyright: ignore[reportCallIssue, reportArgumentType]
    ):
        step, stratum, arm = cell
        final_share = 1.0 - rules.holdback if watched else rules.shares[-1]
        if arm == "baseline" and _will_move(rollout, subject, final_share):
            continue
        ratings[step, stratum, arm] += 1
        good[step, stratum, arm] += is_good
    return {cell: {"ratings": ratings[cell], "good": good[cell]} for cell in ratings}


def _will_move(rollout: Rollout, subject: str | None, share: float) -> bool:
    """Return whether a subject of the baseline is one of the canary's when `share` is reached."""
    if subject is None:
        return False
    return position(rollout.application, rollout.salt, subject) < share


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


def _unit() -> ColumnElement[str]:
    return func.coalesce(Interaction.subject, Interaction.id)


def _stratum(rules: CanarySettings) -> ColumnElement[str]:
    if rules.stratify_by is None:
        return literal("")
    named = col(Interaction.stratum).in_(rules.strata)
    return case((named, col(Interaction.stratum)), else_=OTHER_STRATUM)


def _is_rating() -> ColumnElement[bool]:
    thumbs = (col(Feedback.kind) == "thumbs") & col(Feedback.thumbs).is_not(None)
    stars = (col(Feedback.kind) == "rating") & col(Feedback.rating).is_not(None)
    return col(Feedback.effective).is_(True) & (thumbs | stars)


def _is_good(rules: CanarySettings) -> ColumnElement[bool]:
    liked = and_(col(Feedback.kind) == "thumbs", col(Feedback.thumbs).is_(True))
    starred = and_(col(Feedback.kind) == "rating", col(Feedback.rating) >= rules.good_stars)
    return liked | starred


def _given_within(seconds: float) -> ColumnElement[bool]:
    """Return whether a fact came so soon after its request, to the second."""
    given, started = col(Feedback.given_at), col(Interaction.started_at)
    return extract("epoch", given) - extract("epoch", started) <= seconds


def _times(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))
