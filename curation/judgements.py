"""CURATE, beside people's votes: pairs for a judge out of the store, and its word in and out of it.

    people's pairs, undecided pairs → judge → JudgedPair rows → candidates of a build

Undecided are answers to one prompt that one person was given: asked for again, or by a shadow. What
is kept of a judge's word has no text: candidates are made of the interactions anew, so that what is
erased or flagged since makes none. The caller commits. Knows no judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import pyarrow as pa
from sqlalchemy import delete, or_
from sqlmodel import Session, col, select

from core.ids import new_id
from curation.contests import Pair, Side, judged_row, pair_of, undecided_row
from curation.judge import Agreement, Judgement, agreement
from curation.review.leases import changed, insert_new
from curation.review.products import PRODUCTS
from curation.review.queue import parts
from curation.selection import Selection, judged_interactions, select_candidates
from curation.signals import Judged, Row
from curation.table import CANDIDATES, DROPS, Outcome, Table, Why, pc
from feedback.tables import Feedback, Interaction, JudgedPair

# Who said it, beside a candidate: the model and the hash of what it was asked by
JUDGED = pa.schema([*PRODUCTS, pa.field("judge", pa.string()), pa.field("rubric", pa.string())])
BATCH = 500  # pairs whose interactions are read together


def people_pairs(session: Session, application: str) -> Iterator[Table]:
    """Yield the candidate pairs that people decided, oldest first."""
    for outcome in select_candidates(session, application, Selection()):
        yield outcome.kept.filter(pc.equal(outcome.kept["kind"], "pair"))


def decided_by(table: Table) -> list[tuple[Pair, Side]]:
    """Return of each candidate pair its name, and which answer was chosen."""
    return [pair_of(row) for row in table.select(["candidate_id", "source"]).to_pylist()]


def undecided_pairs(session: Session, application: str, known: Set[Pair], limit: int) -> Table:
    """Return the newest pairs that nobody decided and that are not `known`, as candidates."""
    rows: list[Row] = []
    for some in _in_batches(_twice_answered(session, application, known)):
        found = judged_interactions(session, application, sorted({id_ for p in some for id_ in p}))
        made = (
            undecided_row(found[pair.a], found[pair.b])
            for pair in some
            if pair.a in found and pair.b in found
        )
        rows += [row for row in made if row is not None]
        if len(rows) >= limit:
            break
    return pa.Table.from_pylist(rows[:limit], CANDIDATES)


def judgements_of(session: Session, application: str, judge: str, rubric: str) -> list[JudgedPair]:
    """Return all that a judge has said by a rubric."""
    query = select(JudgedPair).where(
        JudgedPair.application == application,
        JudgedPair.judge == judge,
        JudgedPair.rubric == rubric,
    )
    return list(session.exec(query.order_by(col(JudgedPair.id))))


def record(
    session: Session, application: str, judge: str, rubric: str, said: Sequence[Judgement]
) -> int:
    """Keep what a judge said of pairs; return how many were not there yet."""
    return sum(
        insert_new(
            session,
            JudgedPair(
                id=new_id(),
                application=application,
                interaction_id=judgement.pair.a,
                other=judgement.pair.b,
                judge=judge,
                rubric=rubric,
                a_first=judgement.a_first,
                b_first=judgement.b_first,
            ),
        )
        for judgement in said
    )


def note_people(session: Session, rows: Iterable[JudgedPair], people: Mapping[Pair, Side]) -> None:
    """Write beside a judge's words what people say of the pairs by now."""
    for row in rows:
        row.people = people.get(name_of(row))
        session.add(row)


def measured_agreement(rows: Sequence[JudgedPair]) -> Agreement:
    """Return how far a judge agrees with what people say of the pairs that it judged."""
    said = [judgement_of(row) for row in rows]
    people: Any = {
        one.pair: row.people for one, row in zip(said, rows, strict=True) if row.people is not None
    }
    return agreement(said, people)


def name_of(row: JudgedPair) -> Pair:
    """Return the pair that a row is about."""
    return Pair(row.interaction_id, row.other)


def judgement_of(row: JudgedPair) -> Judgement:
    """Return what a row says."""
    choices: Any = (row.a_first, row.b_first)  # written by `record` alone
    return Judgement(name_of(row), *choices)


def judged_candidates(
    session: Session, application: str, selection: Selection
) -> Iterator[Outcome]:
    """Yield the pairs that a judge decided the same way in both orders, as candidates (`JUDGED`).

    Of several judges' words on a pair the newest counts; without a winner it is none.
    """
    newest: dict[Pair, JudgedPair] = {}
    query = select(JudgedPair).where(JudgedPair.application == application)
    for row in session.exec(query.order_by(col(JudgedPair.judged_at), col(JudgedPair.id))):
        newest[name_of(row)] = row
    for some in _in_batches(sorted(newest)):
        found = judged_interactions(session, application, sorted({id_ for p in some for id_ in p}))
        within = {id_: one for id_, one in found.items() if selection.holds(one.started_at)}
        rows: list[Row] = []
        drops: list[Row] = []
        for pair in some:
            made = _candidate(newest[pair], pair, within)
            if isinstance(made, Why):
                drops.append(_drop(pair, made))
            else:
                rows.append(made)
        yield Outcome(pa.Table.from_pylist(rows, JUDGED), pa.Table.from_pylist(drops, DROPS))


def erase_judged(session: Session, application: str, interaction_ids: Sequence[str]) -> int:
    """Delete what judges said of answers of these interactions; return how many pairs."""
    mine = col(JudgedPair.application) == application
    return sum(
        changed(
            session,
            delete(JudgedPair).where(
                mine, or_(col(JudgedPair.interaction_id).in_(some), col(JudgedPair.other).in_(some))
            ),
        )
        for some in parts(interaction_ids)
    )


def expire_judged(session: Session, application: str) -> int:
    """Delete what judges said of interactions that the store holds no longer; as `erase_judged`."""
    there = select(Interaction.id).where(col(Interaction.id) == col(JudgedPair.interaction_id))
    gone = delete(JudgedPair).where(col(JudgedPair.application) == application, ~there.exists())
    return changed(session, gone)


def _twice_answered(session: Session, application: str, known: Set[Pair]) -> Iterator[Pair]:
    """Yield the names of pairs of interactions that may be compared: shadows, then asked again."""
    shadows: Any = (
        select(Interaction.shadow_of, Interaction.id)
        .where(Interaction.application == application, col(Interaction.shadow_of).is_not(None))
        .order_by(col(Interaction.started_at).desc(), col(Interaction.id))
    )
    again: Any = (
        select(Feedback.interaction_id, Feedback.other)
        .where(Feedback.application == application, Feedback.kind == "regenerated")
        .where(col(Feedback.effective), col(Feedback.other).is_not(None))
        .order_by(col(Feedback.given_at).desc(), col(Feedback.event_id))
    )
    seen = set(known)
    for query in (shadows, again):
        for one, other in session.exec(query):
            pair = Pair(*sorted((one, other)))
            if pair not in seen:
                seen.add(pair)
                yield pair


def _candidate(row: JudgedPair, pair: Pair, found: Mapping[str, Judged]) -> Row | Why:
    winner = judgement_of(row).winner
    if winner is None:
        return Why("the judge is of two minds")
    made = judged_row(pair, winner, found)
    return made if isinstance(made, Why) else made | {"judge": row.judge, "rubric": row.rubric}


def _in_batches(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    batch: list[Pair] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _drop(pair: Pair, why: Why) -> Row:
    return {
        "candidate_id": ":pair:".join(pair),
        "interaction_id": pair.a,
        "reason": why.reason,
        "detail": why.detail,
    }
