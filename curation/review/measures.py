"""CURATE: what sampling asks beyond votes, measured of a draw of the candidates.

Candidates by their keys come in; numbers for those that stand out go out: far from the parent
version, like a failed question, doubted by the served model. Only drawn texts are read. Knows no
queue.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from core.settings import Settings
from curation.draw import drawn
from curation.keyed import Keyed
from curation.ledger import Progress
from curation.review.doubt import Scores, score
from curation.review.failures import failed_prompts
from curation.review.likeness import MOST, pointed, train_vectors
from curation.steps import STAGES
from curation.table import Table, with_column
from feedback.store import Store
from feedback.tables import Application, DatasetVersion

MEASURES = ("novelty", "doubt")  # stages that come after curation's
BASE_MODEL = "base"  # what the engine calls the model without an adapter
# Of those measured, what may count as odd: where few of many candidates are measured, a share of
# all would be every one of them. Our choice
MOST_ODD = 0.25


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of some candidates, by their ids."""

    novelties: Mapping[str, float] = field(default_factory=dict[str, float])
    like_failed: frozenset[str] = frozenset()
    scores: Scores = field(default_factory=lambda: Scores({}))

    def columns(self, table: Table) -> Table:
        """Return the table with what sampling asks, of the candidates that stand out."""
        novel = odd({id_: -away for id_, away in self.novelties.items()})
        doubted = odd(self.scores.by_candidate)
        ids = table["candidate_id"].to_pylist()
        away = [-novel[id_] if id_ in novel else None for id_ in ids]
        table = with_column(table, "novelty", away, pa.float64())
        table = with_column(table, "logprob", map(doubted.get, ids), pa.float64())
        failed = [id_ in self.like_failed for id_ in ids]
        return with_column(table, "failed_gate", failed, pa.bool_())


@dataclass(frozen=True, slots=True)
class Ruler:
    """What measures candidates of one application; `progress` is told of each measure."""

    store: Store
    settings: Settings
    application: str
    progress: Progress | None = None

    def measure(self, keyed: Keyed, table: Table, parent: DatasetVersion | None) -> Measured:
        """Return what is measured of rows of `keyed`; novelty needs a parent to be new to."""
        with self.store.session() as session:
            failed = failed_prompts(session, self.application)
            model = served_model(self.settings, session.get(Application, self.application))
        self._tell("novelty")
        novelties: dict[str, float] = {}
        like_failed: set[str] = set()
        if parent is not None:
            points = pointed(keyed.wholes(drawn(table, MOST, "novelty")))
            novelties = points.novelties(train_vectors(parent))
            like_failed = points.like(failed)
        return Measured(novelties, frozenset(like_failed), self._scores(keyed, table, model))

    def _scores(self, keyed: Keyed, table: Table, model: str) -> Scores:
        asked = drawn(table, self.settings.review.scored, "doubt")
        self._tell("doubt")
        if asked.num_rows == 0:
            return Scores({})

        def tell(done: int) -> None:
            self._tell("doubt", f", {done:,} of {asked.num_rows:,}")

        return score(keyed.wholes(asked), self.settings.engine, model, tell)

    def _tell(self, name: str, how_far: str = "") -> None:
        if self.progress is not None:
            done = len(STAGES) + MEASURES.index(name)
            self.progress(name + how_far, done, len(STAGES) + len(MEASURES))


def odd(values: Mapping[str, float]) -> dict[str, float]:
    """Return the lowest `MOST_ODD` of the values."""
    ordered = sorted(values.items(), key=lambda item: (item[1], item[0]))
    return dict(ordered[: math.ceil(MOST_ODD * len(ordered))])


def served_model(settings: Settings, application: Application | None) -> str:
    """Return what the engine calls the model that answers for the application."""
    if application is None:
        return BASE_MODEL
    known = settings.applications.get(application.name)
    pinned = known.adapter if known else None
    return pinned or application.live_adapter or BASE_MODEL
