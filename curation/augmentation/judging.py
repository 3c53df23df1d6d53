"""CURATE, beside people's votes: an AI judge is asked about pairs, and its word is kept.

    pairs that people decided  ┐                      agreement with people
    pairs that nobody decided  ┘→ row stages → judge → JudgedPair rows → `judgements` → a version

A store and the settings come in; what was asked, and how far the judge agrees with people on all
that it was ever asked, go out. Texts are cleaned and redacted as for a dataset before they leave.
Run it by `ratchet judge`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import structlog
from sqlmodel import Session

from core.errors import DataError
from core.settings import Settings
from curation.augmentation.proposing import cleaning_steps, require_enabled
from curation.augmentation.writer import Usage, Writer
from curation.chain import Chain
from curation.contests import Pair, Side
from curation.draw import DRAW, drawn
from curation.judge import RUBRIC, Agreement, Judged, judge_pairs, judge_settings
from curation.judgements import (
    decided_by,
    judgements_of,
    measured_agreement,
    name_of,
    note_people,
    people_pairs,
    record,
    undecided_pairs,
)
from curation.table import CANDIDATES, Table
from feedback.store import Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Heard:
    """What the judge said now, and how it stands to people by all that it ever said."""

    judge: str
    rubric: str  # hash of what it is asked by
    people_pairs: int  # asked about now: pairs that people decided
    new_pairs: int  # and pairs that nobody did
    labelled: int  # of those, how many have a winner: candidates of the next version
    known: int  # pairs that it was asked about before
    agreement: Agreement
    dropped: Mapping[str, int]  # asked about now, without a winner, by reason
    usage: Usage

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, without texts."""
        return {
            "judge": self.judge,
            "rubric": self.rubric,
            "people_pairs": self.people_pairs,
            "new_pairs": self.new_pairs,
            "labelled": self.labelled,
            "known": self.known,
            **self.agreement.as_dict(),
            "dropped": dict(self.dropped),
            "usage": self.usage.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a judge is to be asked about, cleaned, and what people say of pairs."""

    decided: Table
    undecided: Table
    people: Mapping[Pair, Side]
    known: frozenset[Pair]


def judge_application(store: Store, settings: Settings, application: str, limit: int) -> Heard:
    """Ask a judge about at most `limit` pairs that people decided, and as many that nobody did.

    What it was asked about before, by the same rubric, it is not asked again.

    Raises: SettingsError where augmentation is off; DataError without pairs; as `Writer`.
    """
    require_enabled(settings)
    with Writer(judge_settings(settings.augmentation)) as judge:
        with store.session() as session:
            asked = _asked(session, settings, application, judge.model, limit)
        if not (asked.known or asked.decided.num_rows or asked.undecided.num_rows):
            raise DataError(_nothing(application))
        judged = judge_pairs(pa.concat_tables([asked.decided, asked.undecided]), judge)
        usage, name = judge.usage, judge.model
    with store.session() as session:
        record(session, application, name, RUBRIC, judged.judgements)
        rows = judgements_of(session, application, name, RUBRIC)
        note_people(session, rows, asked.people)
        measured = measured_agreement(rows)
        session.commit()
    done = _heard(name, asked, judged, measured, usage)
    log.info("pairs_judged", application=application, **done.as_dict())
    return done


def _asked(
    session: Session, settings: Settings, application: str, judge: str, limit: int
) -> _Asked:
    known = frozenset(name_of(row) for row in judgements_of(session, application, judge, RUBRIC))
    people: dict[Pair, Side] = {}
    sample = CANDIDATES.empty_table()
    for table in people_pairs(session, application):
        said = decided_by(table)
        people |= dict(said)
        fresh = table.filter(pa.array([pair not in known for pair, _ in said], pa.bool_()))
        sample = _drawn(sample, fresh, limit)
    undecided = undecided_pairs(session, application, known | people.keys(), limit)
    clean = Chain(cleaning_steps(settings, application))
    decided, undecided = (clean(table)[0].select(CANDIDATES.names) for table in (sample, undecided))
    return _Asked(decided, undecided, people, known)


def _drawn(sample: Table, fresh: Table, limit: int) -> Table:
    """Return `limit` of both, by the hash of their ids: no time is preferred."""
    both = pa.concat_tables([sample, fresh.select(CANDIDATES.names)])
    return drawn(both, limit, "judge").drop_columns([DRAW])


def _heard(judge: str, asked: _Asked, judged: Judged, measured: Agreement, usage: Usage) -> Heard:
    labelled = [one for one in judged.judgements if one.winner and one.pair not in asked.people]
    dropped = Counter(judged.drops["reason"].to_pylist())
    return Heard(
        judge=judge,
        rubric=RUBRIC,
        people_pairs=asked.decided.num_rows,
        new_pairs=asked.undecided.num_rows,
        labelled=len(labelled),
        known=len(asked.known),
        agreement=measured,
        dropped=dict(dropped.most_common()),
        usage=usage,
    )


def _nothing(application: str) -> str:
    return (
        f"{application} has no pairs of answers, so there is nothing to judge: pairs come of "
        "corrections, preferences, answers that were asked for again, and of shadows"
    )
