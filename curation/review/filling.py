"""CURATE: the review queue, filled from all that people's signals propose now.

    prepare → compare → measure a draw → sample → texts of the picks → desk

A store and the settings come in; review items go in, and those go out of the queue whose candidates
are no longer there. Candidates are sampled by their keys, and only the texts of those are read that
are measured or picked. Run it by `ratchet review fill`. Knows no reviewer.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import pyarrow as pa

from core.settings import Settings
from curation.keyed import Keyed
from curation.ledger import Ledger, Progress
from curation.pipeline import check_name, compare, prepare
from curation.review.desk import ReviewDesk
from curation.review.measures import Ruler
from curation.review.products import source_of
from curation.review.queue import Filled, Proposal, propose
from curation.review.sampling import Pick, sample
from curation.review.signals import light_rows
from curation.steps import STAGES
from curation.table import TAUGHT, Table, pc, with_column
from curation.work import forget_work, only_build
from feedback.store import Store

ENOUGH = 1  # demonstration, to look at
WOULD_LEAK = 2  # a preference of `Keyed.table`: no split would take it


@dataclass(frozen=True, slots=True)
class Refill:
    """What filling the queue came to."""

    candidates: int  # whose answer would be learnt
    filled: Filled
    withdrawn: int  # items whose candidate is no longer there
    compared: int  # candidates whose novelty was measured
    like_failed: int  # of those: like a question that the newest adapter failed at the gate
    scored: int  # candidates of whose tokens the served model told the log-probabilities
    warning: str = ""  # why it did not of others


def fill_queue(
    store: Store, settings: Settings, application: str, progress: Progress | None = None
) -> Refill:
    """Fill the application's queue with those of its candidates that the settings choose.

    What shall be reviewed need not have been, whatever `review.required` says; a queue may be
    smaller than a dataset. Filling twice adds nothing.

    Raises: DataError when no demonstration is left, and as `build_dataset`.
    """
    check_name(application)
    with only_build(settings.folder("datasets"), application):
        refill = _filled(store, settings, application, progress)
        forget_work(settings.folder("datasets"), application)
    return refill


def _filled(
    store: Store, settings: Settings, application: str, progress: Progress | None
) -> Refill:
    unasked = settings.review.model_copy(update={"required": False})
    build = prepare(store, settings.model_copy(update={"review": unasked}), application, progress)
    build = replace(build, ledger=Ledger(application, STAGES, ENOUGH, progress))
    found = compare(store, build)
    desk = ReviewDesk(store, settings)
    known = desk.known(application)
    withdrawn = desk.withdraw_absent(application, _present(found.table, known))
    judged = _judged(found.table)
    fresh = judged.filter(pc.invert(_is_among(judged, known)))
    ruler = Ruler(store, settings, application, progress)
    measured = ruler.measure(found.keyed, fresh, build.history.parent)
    with store.session() as session:
        lights = light_rows(session, measured.columns(judged))
    picks = sample(lights, settings.review, known, desk.room(application))
    filled = desk.fill(application, _proposals(found.keyed, judged, picks))
    return Refill(
        candidates=judged.num_rows,
        filled=filled,
        withdrawn=withdrawn,
        compared=len(measured.novelties),
        like_failed=len(measured.like_failed),
        scored=len(measured.scores.by_candidate),
        warning=measured.scores.warning,
    )


def _present(table: Table, known: Set[str]) -> set[str]:
    """Return the candidates whose items may wait; a written one is none until it is approved."""
    written = {id_ for id_ in known if source_of(id_) is not None}
    return written.union(table["candidate_id"].to_pylist())


def _judged(table: Table) -> Table:
    """Return the rows that people can say yes or no to, and that a version would take."""
    taught = pc.is_in(table["kind"], value_set=pa.array(TAUGHT))
    return table.filter(pc.and_(taught, pc.less(table["preference"], WOULD_LEAK)))


def _proposals(keyed: Keyed, table: Table, picks: Sequence[Pick]) -> list[Proposal]:
    """Return the picks with their texts, which the row stages have redacted."""
    picked = table.filter(_is_among(table, {pick.candidate_id for pick in picks}))
    proposals: list[Proposal] = []
    for part in keyed.wholes(picked):
        none = [None] * part.num_rows  # those that stand in the texts are seen there
        whole = with_column(part, "placeholders", none, pa.list_(pa.string()))
        proposals += propose(whole, picks)
    return proposals


def _is_among(table: Table, ids: Set[str]) -> Table:
    return pc.is_in(table["candidate_id"], value_set=pa.array(sorted(ids), pa.string()))
