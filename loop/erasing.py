"""Erases a person everywhere, and says what was made of them.

Spools, Kafka, dataset versions, the store; adapters that were trained on them are marked.
Requests come from the gateway by the log, as rows that ingest wrote, or from the command line. Each
step may be repeated, so what breaks off is done again. The row that stays proves what was done and
holds no data. Run as a job: see `loop.jobs`.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from datetime import datetime

import msgspec
import structlog
from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from core.errors import RatchetError
from curation.erasure import Unwanted, erase_examples
from curation.judgements import erase_judged
from curation.review.erasure import erase_reviews
from curation.work import forget_work
from feedback.erasure import (
    Lineage,
    Person,
    delete_rows,
    interaction_ids,
    lineage,
    taint,
)
from feedback.events import FEEDBACK_TOPIC, INTERACTIONS_TOPIC
from feedback.log.protocol import NewRecord
from feedback.log.spool_erasure import Picks, erase_records
from feedback.tables import Erasure
from loop.tainted import heed_policy
from loop.wiring import Parts
from monitoring.windows.forgetting import forget_interactions

TEXT_TOPICS = (INTERACTIONS_TOPIC, FEEDBACK_TOPIC)
BATCH = 1_000  # tombstones in one commit of the spool

_log = structlog.get_logger(__name__)


class _Ids(msgspec.Struct):
    """What tells whose a record is, in every event."""

    application: str = ""
    subject: str | None = None
    interaction_id: str = ""
    started_at: datetime | None = None
    given_at: datetime | None = None
    requested_at: datetime | None = None

    def happened_by(self, until: datetime) -> bool:
        """Return whether it was not later than that."""
        at = self.started_at or self.given_at or self.requested_at
        return at is not None and as_utc(at) <= until


def carry_out_requests(parts: Parts) -> int:
    """Carry out the erasures that were asked for; return how many were done."""
    with parts.store.session() as session:
        query = select(Erasure.id).where(Erasure.state == "requested")
        waiting = list(session.exec(query.order_by(col(Erasure.requested_at))))
    for erasure_id in waiting:
        carry_out(parts, erasure_id)
    return len(waiting)


def carry_out(parts: Parts, erasure_id: str) -> Erasure:
    """Erase the person of an erasure that was asked for, and return its row.

    Raises: what a step raises; the row then says so, and the erasure is tried again.
    """
    try:
        return _carry_out(parts, erasure_id)
    except Exception as error:
        told = error.message if isinstance(error, RatchetError) else type(error).__name__
        with parts.store.session() as session:
            erasure = session.get_one(Erasure, erasure_id)
            erasure.error = told
            session.add(erasure)
            session.commit()
        raise


def _carry_out(parts: Parts, erasure_id: str) -> Erasure:
    with parts.store.session() as session:
        erasure = session.get_one(Erasure, erasure_id)
        if erasure.state == "done" or erasure.subject is None:
            return erasure
        person = Person(erasure.application, erasure.subject)
        until = as_utc(erasure.requested_at)
        ids = interaction_ids(session, person, until)
        made = _note_lineage(session, erasure, lineage(session, person, ids))
    picks = _picks(person, set(ids), until)
    counts = {"spool_records": erase_records(parts.settings.spool_dir, picks)}
    counts["tombstones"] = _bury_in_kafka(parts, ids)
    unwanted = Unwanted(erasure_id, person.subject, frozenset(ids))
    counts["dataset_examples"] = sum(
        erase_examples(parts.store, dataset, unwanted) for dataset in made.datasets
    )
    counts["feature_rows"] = _forget_features(parts, person.application, ids)
    forget_work(parts.settings.folder("datasets"), person.application)
    policy = heed_policy(parts, person.application, made.adapters, erasure_id)
    return _finish(parts, erasure_id, ids, counts, policy)


def _note_lineage(session: Session, erasure: Erasure, found: Lineage) -> Lineage:
    """Keep what was made of the person before their rows go, and mark the adapters."""
    made = Lineage(
        tuple(sorted({*erasure.datasets, *found.datasets})),
        tuple(sorted({*erasure.adapters, *found.adapters})),
    )
    erasure.datasets, erasure.adapters = list(made.datasets), list(made.adapters)
    session.add(erasure)
    taint(session, made.adapters, erasure.id)
    session.commit()
    return made


def _picks(person: Person, ids: Set[str], until: datetime) -> Picks:
    """Return what tells the person's records: their own, and all about their interactions."""

    def picks(_topic: str, value: bytes) -> bool:
        try:
            event = msgspec.json.decode(value, type=_Ids)
        except (ValueError, RecursionError):  # nobody's: it is no event
            return False
        if event.application != person.application:
            return False
        if event.interaction_id in ids:
            return True
        return event.subject == person.subject and event.happened_by(until)

    return picks


def _forget_features(parts: Parts, application: str, ids: Sequence[str]) -> int:
    """Take the interactions out of windows and references; return how many rows went."""
    with parts.store.session() as session:
        gone = forget_interactions(session, application, ids)
        session.commit()
    return gone


def _bury_in_kafka(parts: Parts, ids: Sequence[str]) -> int:
    """Append a tombstone for each interaction to both topics that hold people's texts."""
    if not parts.settings.log.kafka.servers:
        return 0
    tombstones = [NewRecord(topic, id_, b"") for id_ in ids for topic in TEXT_TOPICS]
    for start in range(0, len(tombstones), BATCH):
        parts.log.append(tombstones[start : start + BATCH])
    return len(tombstones)


def _finish(
    parts: Parts, erasure_id: str, ids: Sequence[str], counts: dict[str, int], policy: str
) -> Erasure:
    """Delete the rows, and with them whatever the row of the erasure still says of the person."""
    with parts.store.session() as session:
        erasure = session.get_one(Erasure, erasure_id)
        assert erasure.subject is not None
        person = Person(erasure.application, erasure.subject)
        counts["reviews"] = erase_reviews(session, person.application, person.subject, ids)
        counts["judged_pairs"] = erase_judged(session, person.application, ids)
        counts |= delete_rows(session, person, ids, as_utc(erasure.requested_at))
        before = erasure.counts  # of a try that broke off
        erasure.counts = {name: count + before.get(name, 0) for name, count in counts.items()}
        erasure.state, erasure.subject, erasure.error = "done", None, None
        erasure.policy, erasure.finished_at = policy, utc_now()
        session.add(erasure)
        session.commit()
    parts.store.compact()
    _log.info("subject_erased", erasure=erasure_id, **erasure.counts)
    return erasure
