"""CURATE: one answer per prompt, each example once, and no person too loud.

Valid candidates come in; conflicts, exact and near duplicates and a subject's surplus go out as
drops. What an earlier dataset version held is preferred, so that versions grow rather than churn.
Knows nothing of splits. Source: fine-tuning guide, Data Preparation Best Practices.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from core.errors import DataError
from curation.candidates import Candidate, Drop, Sieved
from curation.similarity import Near, find_near, similarity

Preference = Callable[[Candidate], int]  # lower is kept rather
Answer = tuple[str, str]  # key of the prompt, normalised text

_NUMBER = re.compile(r"\d+")


def settle_conflicts(candidates: Sequence[Candidate], blamed: Sequence[Candidate] = ()) -> Sieved:
    """Return the candidates whose answer won among all the answers to the same prompt.

    An answer that more people blamed than gave or approved is out. Corrections beat approvals, then
    the answer of more people wins, then the newest: so a careless person alone does not decide what
    is learnt where others answered or judged too.
    """
    people, against = _people(candidates), _people(blamed)
    bad = {answer for answer in people if len(against[answer]) > len(people[answer])}
    prompts = _grouped(
        (c for c in candidates if _answer(c) not in bad), lambda candidate: candidate.prompt_key
    )
    winners = {key: _winning_answer(rivals) for key, rivals in prompts.items()}

    def reason(candidate: Candidate) -> str | None:
        if _answer(candidate) in bad:
            return "blamed by more people"
        return None if winners[candidate.prompt_key] == candidate.answer_text else "conflict"

    return _sieve(candidates, reason)


def drop_exact_duplicates(candidates: Sequence[Candidate], preference: Preference) -> Sieved:
    """Return one candidate per normalised prompt and answer: the preferred, else the oldest."""
    first: dict[Answer, str] = {}
    for candidate in sorted(candidates, key=lambda c: (preference(c), *_age(c))):
        first.setdefault(_answer(candidate), candidate.interaction_id)
    kept = set(first.values())
    return _sieve(candidates, lambda c: None if c.interaction_id in kept else "duplicate")


def cap_subjects(
    candidates: Sequence[Candidate], max_share: float, preference: Preference
) -> Sieved:
    """Return the candidates without those by which one subject exceeds `max_share` of the result.

    Preferred ones stay first, then corrections, then the newest.

    Raises: DataError when there are too few subjects for such a share.
    """
    people = Counter(candidate.person for candidate in candidates)
    limit = largest_equal_cap(people.values(), max_share)
    if candidates and limit == 0:
        raise DataError(
            f"{len(people)} subjects cannot each stay within {max_share:.0%} of the dataset: "
            f"at least {math.ceil(1 / max_share) if max_share else 'infinitely many'} are needed; "
            "gather ratings from more people, or raise curation.max_share_per_subject"
        )
    order = sorted(candidates, key=lambda c: c.started_at, reverse=True)
    order.sort(key=lambda c: (preference(c), c.source != "correction"))
    loud = {
        candidate.interaction_id
        for own in _grouped(order, lambda candidate: candidate.person).values()
        for candidate in own[limit:]
    }
    return _sieve(
        candidates, lambda c: "subject over its share" if c.interaction_id in loud else None
    )


def largest_equal_cap(counts: Iterable[int], max_share: float) -> int:
    """Return the largest number that each may have and yet be at most `max_share` of the rest.

    0 when there is none, because there are fewer than 1 / `max_share` counts.
    """
    sizes = list(counts)
    low, high = 0, max(sizes, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if middle <= max_share * sum(min(size, middle) for size in sizes) + 1e-9:
            low = middle
        else:
            high = middle - 1
    return low


def drop_near_duplicates(
    candidates: Sequence[Candidate], prompts: Near, threshold: float, preference: Preference
) -> Sieved:
    """Return the candidates without those that repeat a kept one in prompt and in answer.

    Both must be at least `threshold` similar, and all numbers the same: "within 14 days" and
    "within 30 days" are two facts however long the text around them.
    """
    suspects = [c for c in candidates if c.prompt_key in prompts.clusters]
    answers = find_near({c.answer_text: c.answer_text for c in suspects}, threshold)
    kept: defaultdict[tuple[str, ...], list[Candidate]] = defaultdict(list)
    repeated: set[str] = set()
    for candidate in sorted(suspects, key=lambda c: (preference(c), *_age(c))):
        alike = kept[
            prompts.cluster(candidate.prompt_key),
            answers.cluster(candidate.answer_text),
            *_NUMBER.findall(f"{candidate.prompt_text}\n{candidate.answer_text}"),
        ]
        if any(_repeats(candidate, other, threshold) for other in alike):
            repeated.add(candidate.interaction_id)
        else:
            alike.append(candidate)
    return _sieve(candidates, lambda c: "near duplicate" if c.interaction_id in repeated else None)


def _winning_answer(rivals: Sequence[Candidate]) -> str:
    answers = _grouped(rivals, lambda candidate: candidate.answer_text)

    def weight(answer: str) -> tuple[bool, int, datetime, str]:
        own = answers[answer]
        corrected = any(candidate.source == "correction" for candidate in own)
        people = len({candidate.person for candidate in own})
        return corrected, people, max(candidate.started_at for candidate in own), answer

    return max(answers, key=weight)


def _answer(candidate: Candidate) -> Answer:
    return candidate.prompt_key, candidate.answer_text


def _people(candidates: Iterable[Candidate]) -> defaultdict[Answer, set[str]]:
    """Return who stands behind each answer."""
    people: defaultdict[Answer, set[str]] = defaultdict(set)
    for candidate in candidates:
        people[_answer(candidate)].add(candidate.person)
    return people


def _repeats(candidate: Candidate, other: Candidate, threshold: float) -> bool:
    return (
        similarity(candidate.answer_text, other.answer_text) >= threshold
        and similarity(candidate.prompt_text, other.prompt_text) >= threshold
    )


def _age(candidate: Candidate) -> tuple[datetime, str]:
    return candidate.started_at, candidate.interaction_id


def _grouped(
    candidates: Iterable[Candidate], key: Callable[[Candidate], str]
) -> dict[str, list[Candidate]]:
    groups: defaultdict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[key(candidate)].append(candidate)
    return groups


def _sieve(candidates: Sequence[Candidate], reason: Callable[[Candidate], str | None]) -> Sieved:
    kept: list[Candidate] = []
    dropped: list[Drop] = []
    for candidate in candidates:
        if why := reason(candidate):
            dropped.append(Drop(candidate.interaction_id, why))
        else:
            kept.append(candidate)
    return Sieved(kept, dropped)
