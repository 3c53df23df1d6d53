"""Which feedback counts: one effective vote for each subject, interaction and kind.

The last one wins, by when it was given. Of scores and flags there is one for each name, of
preferences one for each other answer. A retraction counts for nothing and cancels what came before
it: of its name, or of all names of its kind. What another application says than the one whose
interaction it is never counts. Pure: rows in, event ids out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

NAMED_KINDS = frozenset({"score", "flag"})


class Vote(NamedTuple):
    """What decides of one feedback."""

    event_id: str
    interaction_id: str
    application: str
    subject: str | None
    kind: str
    name: str | None
    other: str | None
    retracted: bool
    given_at: datetime | str  # of one type in one call
    effective: bool  # as it stands


class Claim(NamedTuple):
    """What tells whether a feedback can bear on others."""

    interaction_id: str
    client_id: str
    application: str
    retracted: bool


def disputed(known: Iterable[Claim], new: Iterable[Claim], owners: Mapping[str, str]) -> set[str]:
    """Return the interactions whose effective votes may change by `new` ones, or by their owner.

    Of the others each new vote is the only one, and counts. `owners` as in `effective_votes`.
    """
    rated: set[str] = set()
    found: set[str] = set()
    for claim in known:
        rated.add(claim.interaction_id)
        if owners.get(claim.interaction_id, claim.application) != claim.application:
            found.add(claim.interaction_id)
    for claim in new:
        theirs = owners.get(claim.interaction_id, claim.application) == claim.application
        if claim.interaction_id in rated or claim.retracted or not theirs:
            found.add(claim.interaction_id)
        rated.add(claim.interaction_id)
    return found


def effective_votes(votes: Iterable[Vote], owners: Mapping[str, str]) -> set[str]:
    """Return the event ids of those that count; `owners` maps known interactions to applications.

    Feedback without a subject counts as that of one person whom nobody knows.
    """
    last: dict[Hashable, Vote] = {}
    for vote in sorted(votes, key=lambda vote: (vote.given_at, vote.event_id)):
        if owners.get(vote.interaction_id, vote.application) != vote.application:
            continue
        group = (vote.interaction_id, vote.subject, vote.kind)
        if vote.retracted and vote.name is None and vote.other is None:
            for key in [key for key in last if key[:3] == group]:  # type: ignore[index]
                del last[key]
        elif vote.retracted:
            last.pop(_key(vote), None)
        else:
            last[_key(vote)] = vote
    return {vote.event_id for vote in last.values()}


def _key(vote: Vote) -> tuple[str | None, ...]:
    name = vote.name if vote.kind in NAMED_KINDS else None
    other = vote.other if vote.kind == "preference" else None
    return (vote.interaction_id, vote.subject, vote.kind, name, other)
