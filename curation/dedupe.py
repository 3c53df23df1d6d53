"""CURATE: one answer per prompt, each example once, and no person too loud.

Whole-table stages over the columns of `keys`, which need no text. Rows come in order of preference:
what an earlier version held first, so that versions grow rather than churn. Conflicts, exact and
near duplicates and a subject's surplus go out as drops. Knows nothing of splits.
Source: fine-tuning guide, Data Preparation Best Practices.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from core.curation_settings import Preferences
from core.errors import DataError
from curation.columns import (
    Booleans,
    Codes,
    codes,
    instants,
    is_kind,
    is_source,
    is_wanted,
    keys,
    people,
    place_in_group,
    together,
)
from curation.contests import JUDGE
from curation.near import Near, Texts, distinct_grams
from curation.similarity import GramHashes, alike
from curation.table import Outcome, Table, Why, sieve, sieve_where

CAPPED = ("demonstration", "pair", "label")


def settle_conflicts(table: Table) -> Outcome:
    """Return the demonstrations whose answer won among all the answers to the same prompt.

    An answer that more people blamed than gave or approved is out. Corrections beat approvals, then
    the answer of more people wins, then the newest: so a careless person alone does not decide what
    is learnt where others answered or judged too. Other kinds pass.
    """
    given = is_kind(table, "demonstration")
    blamed = is_kind(table, "label") & ~is_wanted(table)
    answer = together(keys(table, "prompt"), keys(table, "answer"))
    bad = _people_behind(table, answer, blamed) > _people_behind(table, answer, given)
    won = _winners(table, answer, given & ~bad[answer])
    lost = given & ~won[answer]
    why = np.where(lost, np.where(bad[answer], 1, 2), 0)
    reasons = (None, Why("blamed by more people"), Why("conflict"))
    return sieve(table, [reasons[number] for number in why.tolist()])


def settle_labels(table: Table) -> Outcome:
    """Return the labels on which most people who judged an answer agree; of a tie, none.

    Other kinds pass.
    """
    label, wanted = is_kind(table, "label"), is_wanted(table)
    answer = together(keys(table, "prompt"), keys(table, "answer"))
    up = _people_behind(table, answer, label & wanted)
    down = _people_behind(table, answer, label & ~wanted)
    outvoted = np.where(wanted, (up <= down)[answer], (down <= up)[answer])
    return sieve_where(table, label & outvoted, "votes disagree")


def settle_preferences(table: Table, taken: Preferences) -> Outcome:
    """Return the pairs of those whose word is taken; of both, people's beats an AI judge's.

    A pair is the same whichever of its two answers won. Other kinds pass.
    """
    by_judge = is_source(table, JUDGE)
    people = is_kind(table, "pair") & ~by_judge
    if taken == "people":
        return sieve_where(table, by_judge, "decided by a judge")
    if taken == "judge":
        return sieve_where(table, people, "decided by people")
    answer, lost = keys(table, "answer"), keys(table, "lost")
    same = together(keys(table, "prompt"), np.minimum(answer, lost), np.maximum(answer, lost))
    settled = by_judge & np.isin(same, same[people])
    return sieve_where(table, settled, "people have decided it")


def drop_exact_duplicates(table: Table) -> Outcome:
    """Return the first row of each kind, prompt, answers and label."""
    same = together(
        *(codes(table[name]) for name in ("kind", "label")),
        *(keys(table, name) for name in ("prompt", "answer", "lost")),
    )
    _, first = np.unique(same, return_index=True)
    gone = np.ones(table.num_rows, np.bool_)
    gone[first] = False
    return sieve_where(table, gone, "duplicate")


def drop_near_duplicates(
    table: Table, near: Near, prompts: Codes, answers: Texts, threshold: float
) -> Outcome:
    """Return the rows but those that repeat an earlier kept one in prompt and in answer.

    Both must be at least `threshold` similar, and all numbers the same: "within 14 days" and
    "within 30 days" are two facts however long the text around them. `prompts`: numbers of the
    rows' prompts in `near`; `answers` gives the answers of rows.
    """
    gone = np.zeros(table.num_rows, np.bool_)
    suspects = _suspects(table, near, prompts)
    of_row = distinct_grams(answers(suspects))
    facts = together(*(codes(table[name]) for name in ("kind", "label")), keys(table, "numbers"))
    kept: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for row in suspects:
        prompt, fact = int(prompts[row]), int(facts[row])
        others = (prompt, *near.neighbours.get(prompt, ()))
        rivals = (rival for other in others for rival in kept.get((other, fact), ()))
        if any(_alike(of_row[row], of_row[rival], threshold) for rival in rivals):
            gone[row] = True
        else:
            kept[prompt, fact].append(row)
    return sieve_where(table, gone, "near duplicate")


def require_votes(table: Table, near: Near, prompts: Codes, min_votes: int) -> Outcome:
    """Return the rows on whose cluster of like prompts so many different people judged."""
    cluster = together(np.array([near.cluster(prompt) for prompt in prompts.tolist()], np.int64))
    voters = _people_behind(table, cluster, np.ones(table.num_rows, np.bool_))
    return sieve_where(table, voters[cluster] < min_votes, "too few votes on its prompt")


def cap_subjects(table: Table, max_share: float) -> Outcome:
    """Return the rows without those by which one subject exceeds `max_share` of a kind.

    What a version held stays first (the order of the rows), then corrections, then the newest.

    Raises: DataError when there are too few subjects for such a share of the demonstrations.
    """
    loud = np.zeros(table.num_rows, np.bool_)
    person = people(table)
    for kind in CAPPED:
        rows = np.flatnonzero(is_kind(table, kind))
        counts = np.unique(person[rows], return_counts=True)[1]
        limit = largest_equal_cap(counts.tolist(), max_share)
        if kind == "demonstration" and len(rows) and limit == 0:
            raise DataError(_too_few_subjects(len(counts), max_share))
        order = rows[_by_worth(table, rows, person)]
        loud[order[place_in_group(person[order]) >= limit]] = True
    return sieve_where(table, loud, "subject over its share")


def largest_equal_cap(counts: Iterable[int], max_share: float) -> int:
    """Return the largest number that each may have and yet be at most `max_share` of the rest.

    0 when there is none, because there are fewer than 1 / `max_share` counts.
    """
    sizes = np.array(list(counts), np.int64)
    low, high = 0, int(sizes.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        if middle <= max_share * int(np.minimum(sizes, middle).sum()) + 1e-9:
            low = middle
        else:
            high = middle - 1
    return low


def _too_few_subjects(subjects: int, max_share: float) -> str:
    needed = math.ceil(1 / max_share) if max_share else "infinitely many"
    return (
        f"{subjects} subjects cannot each stay within {max_share:.0%} of the dataset: "
        f"at least {needed} are needed; gather ratings from more people, or raise "
        "curation.max_share_per_subject"
    )


def _people_behind(table: Table, group: Codes, rows: Booleans) -> Codes:
    """Return of each group how many different people its rows come from, of those in `rows`."""
    person = people(table)
    width = int(person.max(initial=0)) + 1
    each = np.unique(group[rows] * width + person[rows])
    return np.bincount(each // width, minlength=int(group.max(initial=-1)) + 1)


def _winners(table: Table, answer: Codes, rivals: Booleans) -> Booleans:
    """Return of each answer whether it is the best of its prompt."""
    answers = int(answer.max(initial=-1)) + 1
    corrected, newest = np.zeros(answers, np.bool_), np.zeros(answers, np.int64)
    corrected[answer[rivals & is_source(table, "correction")]] = True
    np.maximum.at(newest, answer[rivals], instants(table)[rivals])
    praise = _people_behind(table, answer, rivals)
    rows = np.flatnonzero(rivals)
    of, prompt = answer[rows], keys(table, "prompt")[rows]
    text = keys(table, "answer")[rows]
    order = np.lexsort((text, newest[of], praise[of], corrected[of], prompt))
    is_best = np.ones(len(order), np.bool_)
    is_best[:-1] = prompt[order][1:] != prompt[order][:-1]
    won = np.zeros(answers, np.bool_)
    won[of[order[is_best]]] = True
    return won


def _by_worth(table: Table, rows: Codes, person: Codes) -> Codes:
    """Return the order of `rows` by person, of each the most wanted first."""
    age, written = -instants(table)[rows], is_source(table, "correction")[rows]
    return np.lexsort((age, ~written, table["preference"].to_numpy()[rows], person[rows]))


def _suspects(table: Table, near: Near, prompts: Codes) -> list[int]:
    """Return the rows that can repeat another: of like prompts, or several of a kind of one."""
    same = together(prompts, codes(table["kind"]))
    several = np.bincount(same)[same] > 1
    has_like = np.isin(prompts, np.unique(near.pairs))
    return np.flatnonzero(several | has_like).tolist()


def _alike(one: GramHashes, other: GramHashes, threshold: float) -> bool:
    return alike(one, other) >= threshold
