"""CURATE, beside real data: what a model writes of the newest version, put before people.

    train demonstrations → augment → row stages → review items, each with its seeds

A store and the settings come in; review items go in. Seeds are of the train split alone: of test
and validation nothing may be learnt, in whatever words. "Failures" are written after the train
demonstrations that are like what the newest adapter failed. Approved ones get into the next version
by `review.products`. Run it by `ratchet augment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import structlog
from sqlmodel import select

from core.errors import ConflictError, SettingsError
from core.settings import Settings
from curation.augmentation.cap import room_for
from curation.augmentation.products import Progress
from curation.augmentation.writing import Account, augment
from curation.chain import Chain, Step
from curation.features import BUCKETS
from curation.review.desk import ReviewDesk
from curation.review.failures import failed_prompts
from curation.review.likeness import pointed
from curation.review.products import LET_IN, source_of
from curation.review.queue import Filled, propose
from curation.review.sampling import Pick
from curation.stages.topics import Topics
from curation.steps import ROW_STAGES, Learnt, row_steps
from curation.table import CANDIDATES, Table, pc
from curation.version_examples import demonstrations
from feedback.store import Store
from feedback.tables import ReviewItem
from feedback.versions import require_newest_version

MOST_SEEDS = 20_000  # in memory; a tenth of them is four times what review.max_open holds
NOTHING_LEARNT = Learnt(  # steps that need it are left out here
    np.empty(0, np.uint32),
    Topics(np.zeros(BUCKETS, np.float32), np.zeros((BUCKETS, 0), np.float32), ()),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be asked of the model."""

    version: str
    methods: tuple[str, ...]
    seeds: Table  # CANDIDATES: real demonstrations that nothing was written from
    written: Table  # CANDIDATES: what was written before, and waits or was let in
    failed: (
        Table | None
    )  # CANDIDATES: seeds like what the newest adapter failed; None: it told none
    room: int  # products that the share still allows
    queue_room: int  # items that the queue still takes

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without texts."""
        return {
            "version": self.version,
            "methods": list(self.methods),
            "seeds": self.seeds.num_rows,
            "written_before": self.written.num_rows,
            "like_failed": None if self.failed is None else self.failed.num_rows,
            "room": self.room,
            "queue_room": self.queue_room,
        }


@dataclass(frozen=True, slots=True)
class Proposed:
    """What came of it: the methods' account, what the row stages did, and the queue."""

    account: Account
    stages: tuple[dict[str, Any], ...]
    filled: Filled
    warning: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without texts."""
        filled = self.filled
        return self.account.as_dict() | {
            "stages": list(self.stages),
            "passed": filled.added + filled.known + filled.no_room,
            "added": filled.added,
            "known": filled.known,
            "no_room": filled.no_room,
            "warning": self.warning,
        }


def plan(store: Store, settings: Settings, application: str) -> Plan:
    """Return what `propose_written` would work with.

    Raises: SettingsError where augmentation is off; NotFoundError without a version.
    """
    require_enabled(settings)
    with store.session() as session:
        version = require_newest_version(session, application)
        query = select(ReviewItem).where(
            ReviewItem.application == application, ReviewItem.kind == "demonstration"
        )
        items = [item for item in session.exec(query) if source_of(item.candidate_id)]
        failed = failed_prompts(session, application)
    real = pa.concat_tables(
        [CANDIDATES.empty_table(), *demonstrations(version, "train", MOST_SEEDS, "seeds")]
    )
    used = pa.array(sorted({seed for item in items for seed in item.seeds}), pa.string())
    seeds = real.filter(pc.invert(pc.is_in(real["interaction_id"], value_set=used)))
    waiting = [item for item in items if item.state == "open" or item.verdict in LET_IN]
    share = settings.augmentation.max_share
    return Plan(
        version=version.id,
        methods=settings.augmentation.methods,
        seeds=seeds,
        written=pa.Table.from_pylist([_row(item) for item in waiting], CANDIDATES),
        failed=_like(seeds, failed) if failed else None,
        room=max(0, room_for(seeds.num_rows, share) - len(waiting)),
        queue_room=ReviewDesk(store, settings).room(application),
    )


def propose_written(
    store: Store, settings: Settings, application: str, progress: Progress | None = None
) -> Proposed:
    """Let the model write, pass what it wrote through the row stages, and put it before people.

    Raises: as `plan` and `augment`; ConflictError when the queue has no room.
    """
    planned = plan(store, settings, application)
    if planned.queue_room == 0:
        raise ConflictError(
            f"review.max_open ({settings.review.max_open}) items of {application} wait already: "
            "review some first, or raise it"
        )
    table = pa.concat_tables([planned.seeds, planned.written])
    rows, account = augment(table, settings.augmentation, progress, failed=planned.failed)
    passed, accounts = Chain(cleaning_steps(settings, application))(rows)
    ids: Sequence[str] = passed["candidate_id"].to_pylist()
    picks = [Pick(id_, ("augmented",), 1 / (1 + turn)) for turn, id_ in enumerate(ids)]
    filled = ReviewDesk(store, settings).fill(application, propose(passed, picks))
    stages = tuple(each.entry() for each in accounts)
    done = Proposed(account, stages, filled, _warning(planned))
    log.info("products_proposed", application=application, **done.as_dict())
    return done


def require_enabled(settings: Settings) -> None:
    """Raise SettingsError where no text may go to the model that writes and judges."""
    if not settings.augmentation.enabled:
        raise SettingsError(
            "augmentation.enabled is false, so no text may go to another model: set it to true, "
            "and augmentation.base_url and .model to a server that may see people's texts"
        )


def _warning(planned: Plan) -> str:
    if planned.room == 0:
        return "nothing was asked for: augmentation.max_share leaves no room"
    if "failures" in planned.methods and planned.failed is None:
        return "no failures were written from: the newest adapter's gate names no failed question"
    return ""


def cleaning_steps(settings: Settings, application: str) -> list[Step]:
    """Return the row stages that drop or mend, but the heeding of reviews that nobody gave yet."""
    steps = row_steps(settings, application, NOTHING_LEARNT, {})
    return [step for step in steps if step.name in ROW_STAGES and step.name != "review"]


def _like(seeds: Table, failed: Sequence[str]) -> Table:
    like = pa.array(sorted(pointed([seeds]).like(failed)), pa.string())
    return seeds.filter(pc.is_in(seeds["candidate_id"], value_set=like))


def _row(item: ReviewItem) -> dict[str, Any]:
    return {
        "candidate_id": item.candidate_id,
        "interaction_id": item.interaction_id,
        "kind": item.kind,
        "source": source_of(item.candidate_id),
        "subject": item.subject,
        "messages": item.messages,
    }
