"""CURATE: the desk where people review: fill the queue, take an item, decide, give it back.

    fill → open items → take (a lease for one reviewer) → decide → done, with a verdict
                              └ release, or the lease ends: another reviewer may have it

A store and the settings come in; rows of ReviewItem, ReviewLease and Review go out. Every method
is one short transaction and may be called by many processes at once. What a reviewer sees does not
say why an item was sampled, whether its answer is known, nor which adapter answered. Texts are
redacted before they are written. Knows no page, route or command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

import msgspec
import structlog
from sqlmodel import Session

from core.clock import as_utc, utc_now
from core.errors import ConflictError
from core.settings import Settings
from curation.review import leases, tally
from curation.review.agreement import Agreement, agreement
from curation.review.comparison import Compared, Comparison, compare
from curation.review.decisions import Decided, decide
from curation.review.queue import (
    Filled,
    Known,
    Proposal,
    add_items,
    compared_item,
    known_item,
    proposed_item,
    withdraw_absent,
)
from curation.review.sampling import chance
from curation.review.tally import Progress, State
from curation.review.words import Decision, Position, ReviewVerdict, ShownKind, position
from feedback.events import Message
from feedback.redaction.redactor import Redactor
from feedback.store import Store
from feedback.tables import ReviewItem, ReviewLease

ALL_KINDS: tuple[ShownKind, ...] = ("demonstration", "pair", "comparison")


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a reviewer sees of the item that they hold, until `expires_at` (UTC).

    Of a demonstration `messages` ends in the answer to judge, and `rejected` is None. Of a pair it
    ends in the chosen answer, and `rejected` is the one that lost. Of a comparison it ends in the
    prompt, and `first` and `second` are the two answers in the order of this reviewer.
    """

    token: str  # of the lease; name it to decide or release
    item_id: str
    kind: ShownKind
    messages: tuple[Message, ...]
    rejected: str | None
    first: str | None
    second: str | None
    position: Position | None  # for the store alone: do not show it
    expires_at: datetime

    @property
    def answer(self) -> str | None:
        """The answer to judge and perhaps correct; None of a comparison."""
        return None if self.kind == "comparison" else self.messages[-1].content

    @property
    def prompt(self) -> tuple[Message, ...]:
        """What the model saw before it answered."""
        return self.messages if self.kind == "comparison" else self.messages[:-1]


_log = structlog.get_logger(__name__)

TRIES = 5  # looks at the queue, when others take what was just seen


class ReviewDesk:
    """The queues of all applications in one store."""

    def __init__(
        self, store: Store, settings: Settings, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    def fill(self, application: str, proposals: Iterable[Proposal]) -> Filled:
        """Add candidates to the queue, the highest priority first, up to `review.max_open`.

        A candidate that was ever in the queue is not added again; one that was withdrawn is opened.
        """
        redactor, needed = self._redactor(application), self._settings.review.reviewers
        ordered = sorted(proposals, key=lambda proposal: -proposal.priority)
        items = (proposed_item(application, one, redactor, needed) for one in ordered)
        return self._add(application, items)

    def known(self, application: str) -> set[str]:
        """Return the candidates that are in the queue or were reviewed; withdrawn ones not."""
        with self._store.session() as session:
            return tally.candidates(session, application)

    def room(self, application: str) -> int:
        """Return how many items may still be added."""
        with self._store.session() as session:
            return self._room(session, application)

    def withdraw_absent(self, application: str, present: Set[str]) -> int:
        """Withdraw open items whose candidate is not among `present`; return how many."""
        with self._store.session() as session:
            count = withdraw_absent(session, application, present, self._clock())
            session.commit()
        return count

    def calibrate(self, application: str, items: Iterable[Known]) -> int:
        """Add items with a known answer, each once; return how many are new."""
        rows = [known_item(application, item, self._redactor(application)) for item in items]
        with self._store.session() as session:
            filled = add_items(session, rows, None, self._clock())
            session.commit()
        return filled.added

    def compare(self, application: str, compared: Iterable[Compared]) -> Filled:
        """Add pairs of answers of two adapters to the same prompt, for blind comparison."""
        redactor, needed = self._redactor(application), self._settings.review.reviewers
        items = (compared_item(application, one, redactor, needed) for one in compared)
        return self._add(application, items)

    def take(
        self, application: str, reviewer: str, kinds: Sequence[ShownKind] = ALL_KINDS
    ) -> Assignment | None:
        """Return the item that the reviewer holds already, with a fresh lease, or the next one.

        None when nothing is left for them. At `review.calibration_share` it is one with a known
        answer, which looks like any other.
        """
        for _ in range(TRIES):
            with self._store.session() as session:
                got = self._held(session, application, reviewer, kinds)
                got = got or self._next(session, application, reviewer, kinds)
                session.commit()
            if got is None or got[1] is not None:
                break
        else:
            raise ConflictError("other reviewers took every item that was free: ask again")
        return None if got is None or got[1] is None else _assignment(got[0], got[1])

    def held(self, reviewer: str, token: str) -> Assignment:
        """Return what the reviewer holds by this token; its lease is not made longer.

        Raises: ConflictError when they hold nothing by it, or not any more.
        """
        with self._store.session() as session:
            found = leases.of_token(session, reviewer, token, self._clock())
        if found is None:
            raise leases.ended(token)
        return _assignment(*found)

    def decide(self, reviewer: str, token: str, decision: Decision) -> Decided:
        """Write what the reviewer says of the item that they hold by this token.

        The same decision by the same token again changes nothing.

        Raises: RequestError that names what is wrong with the decision; ConflictError when they
            hold nothing by this token any more, the item was withdrawn, or another decision was
            given by this token.
        """
        with self._store.session() as session:
            done = decide(session, self._redactor, reviewer, token, decision, self._clock())
            session.commit()
        if not done.repeated:
            _log.info("review_given", item=done.item_id, reviewer=reviewer, choice=done.choice)
        return done

    def enter(
        self, application: str, candidate_id: str, reviewer: str, decision: Decision
    ) -> Decided:
        """Write what a reviewer said of a candidate elsewhere, for instance in another tool.

        Raises: NotFoundError when it is in no queue; RequestError as `decide`; ConflictError when
            enough others have it, or the reviewer has reviewed it before.
        """
        now, lease_s = self._clock(), self._settings.review.lease_s
        with self._store.session() as session:
            item = tally.item_of(session, application, candidate_id)
            lease = leases.own(session, item, reviewer, now) or leases.grab(
                session, item, reviewer, now, lease_s
            )
            if lease is None:
                raise ConflictError(
                    f"candidate {candidate_id} has its {item.needed} reviewers, or was reviewed by "
                    f"{reviewer} before: leave this one out"
                )
            done = decide(session, self._redactor, reviewer, lease.token, decision, now)
            session.commit()
        return done

    def release(self, reviewer: str, token: str) -> bool:
        """Give an item back undecided; return whether the reviewer held it."""
        with self._store.session() as session:
            gone = leases.let_go(session, reviewer, token)
            session.commit()
        return gone

    def progress(self, application: str, reviewer: str | None = None) -> Progress:
        """Return the counts of the queue, and those of a reviewer."""
        with self._store.session() as session:
            return tally.progress(session, application, reviewer, self._clock())

    def items(
        self, application: str, state: State | None = None, limit: int = 100
    ) -> list[ReviewItem]:
        """Return items for operators, in the order in which they are given out.

        Not for reviewers: the rows say why an item was sampled and which adapter answered.
        """
        with self._store.session() as session:
            return tally.items(session, application, state, limit)

    def outcomes(self, application: str) -> dict[str, ReviewVerdict]:
        """Return what reviewers said of each candidate whose review is done, by candidate id."""
        with self._store.session() as session:
            return tally.outcomes(session, application)

    def agreement(self, application: str) -> Agreement:
        """Return how far reviewers agree with each other and with known answers."""
        with self._store.session() as session:
            return agreement(tally.given(session, application))

    def comparison(self, application: str, a: str | None, b: str | None) -> Comparison:
        """Return how two adapters did side by side so far (None: the base model). For operators."""
        with self._store.session() as session:
            return compare(a, b, tally.preferences(session, application, a, b))

    def _redactor(self, application: str) -> Redactor:
        """Return the rules of the application; ours alone for one that the settings do not know."""
        known = self._settings.applications.get(application)
        return Redactor(known.redaction_patterns if known else None)

    def _room(self, session: Session, application: str) -> int:
        return max(0, self._settings.review.max_open - tally.count_open(session, application))

    def _add(self, application: str, items: Iterable[ReviewItem]) -> Filled:
        with self._store.session() as session:
            room = self._room(session, application)
            filled = add_items(session, items, room, self._clock())
            session.commit()
        return filled

    def _held(
        self, session: Session, application: str, reviewer: str, kinds: Sequence[ShownKind]
    ) -> tuple[ReviewItem, ReviewLease | None] | None:
        """Return what the reviewer holds, for longer; without a lease where it has just ended."""
        now, lease_s = self._clock(), self._settings.review.lease_s
        found = leases.held(session, application, reviewer, kinds, now)
        if found is None:
            return None
        item, lease = found
        return item, lease if leases.renew(session, lease, now, lease_s) else None

    def _next(
        self, session: Session, application: str, reviewer: str, kinds: Sequence[ShownKind]
    ) -> tuple[ReviewItem, ReviewLease | None] | None:
        """Return a free item with a lease; without one where others were quicker; None: no item."""
        now, rules = self._clock(), self._settings.review
        free = leases.free_items(session, application, reviewer, kinds, now)
        if not free:
            return None
        turn = tally.count_by(session, application, reviewer)
        if chance(rules.seed, f"{application}\0{reviewer}\0{turn}") < rules.calibration_share:
            free = leases.free_calibration(session, application, reviewer, kinds, now) + free
        for item in free:
            lease = leases.grab(session, item, reviewer, now, rules.lease_s)
            session.commit()  # each by itself: nobody waits for a whole look
            if lease is not None:
                return item, lease
        return free[0], None


def _assignment(item: ReviewItem, lease: ReviewLease) -> Assignment:
    """Return what a reviewer sees of an item, the two answers of a comparison in their order."""
    kind: ShownKind = "pair" if item.rejected is not None else "demonstration"
    shown = first = second = None
    if item.kind == "comparison":
        kind, shown = "comparison", position(item.id, lease.reviewer)
        first, second = item.answer_a, item.answer_b
        if shown == "ba":
            first, second = second, first
    return Assignment(
        token=lease.token,
        item_id=item.id,
        kind=kind,
        messages=tuple(msgspec.convert(part, Message) for part in item.messages),
        rejected=item.rejected,
        first=first,
        second=second,
        position=shown,
        expires_at=as_utc(lease.expires_at),
    )
