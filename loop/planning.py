"""Asks the retraining policy about an application: on a dataset version, or on what there is now.

The store goes in, a `Plan` comes out, with nothing curated, trained or written: asking again gives
the same answer. Knows no more than `retrain` tells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.clock import utc_now
from feedback.versions import newest_version
from loop.wiring import Parts
from retrain.arrivals import count_arrivals
from retrain.policy import Plan, decide
from retrain.signals import read_signals
from retrain.situation import State
from retrain.state import live_adapter, read_state


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks for beside what is stored."""

    by: str | None = None
    recipe: str | None = None  # None: the settings'


@dataclass(frozen=True, slots=True)
class Outlook:
    """The policy's word on the newest dataset version, and how much waits to be curated."""

    application: str
    dataset: str | None
    waiting: int  # answers that people approved or corrected since; at most so many are new
    plan: Plan


def plan_on(
    parts: Parts, application: str, dataset_id: str | None, wish: Wish, *, waiting: int = 0
) -> Plan:
    """Return the plan on a dataset version, as if `waiting` new examples more were in it."""
    now, rules = utc_now(), parts.settings.retrain
    with parts.store.session() as session:
        live = live_adapter(session, application)
        signals = read_signals(session, rules, application, live, now, requested_by=wish.by)
        state = read_state(
            session, parts.settings, application, dataset_id, signals, recipe=wish.recipe
        )
    return decide(_with(state, waiting), rules, now)


def look(parts: Parts, application: str, wish: Wish) -> Outlook:
    """Return what the policy says now of the newest dataset version."""
    with parts.store.session() as session:
        newest = newest_version(session, application)
        since = newest.created_at if newest else None
        waiting = count_arrivals(session, application, since)
    dataset_id = newest.id if newest else None
    return Outlook(application, dataset_id, waiting, plan_on(parts, application, dataset_id, wish))


def _with(state: State, waiting: int) -> State:
    """Return the state as it would be with so many more examples, all of them new."""
    if not waiting:
        return state
    return replace(
        state,
        total_examples=state.total_examples + waiting,
        new_examples=state.new_examples + waiting,
        already_trained=False,
    )
