"""Conflicts, duplicates, near duplicates and the cap: what one example may not say twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from curation.candidates import Candidate, Sieved
from curation.dedupe import (
    cap_subjects,
    drop_exact_duplicates,
    drop_near_duplicates,
    largest_equal_cap,
    settle_conflicts,
)
from curation.similarity import find_near, normalised, prompt_key, shingles, similarity
from feedback.events import Message
from tests.unit.curation_world import candidate

THRESHOLD = 0.95
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def nobody_first(_: Candidate) -> int:
    """Prefer no candidate."""
    return 0


def answers(sieved: Sieved) -> list[str]:
    """Return the answers that were kept."""
    return [kept.messages[-1].content for kept in sieved.kept]


def without_near(candidates: Sequence[Candidate]) -> Sieved:
    """Drop near duplicates at the default threshold."""
    near = find_near({c.prompt_key: c.prompt_text for c in candidates}, THRESHOLD)
    return drop_near_duplicates(candidates, near, THRESHOLD, nobody_first)


def words(rng: random.Random, count: int) -> list[str]:
    """Return that many random words."""
    return ["".join(rng.choices(LETTERS, k=rng.randint(3, 9))) for _ in range(count)]


# ---- normal forms ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other", ["WHERE is  it", "Where is it?!", "\uff37here\u00a0is it", " where is\nit "]
)
def test_case_space_width_and_closing_signs_do_not_count(other: str) -> None:
    """Such prompts are one prompt."""
    assert normalised(other) == normalised("Where is it?")


def test_a_message_cannot_pretend_to_be_two() -> None:
    """Text that looks like a role within one message is another prompt than two messages."""
    one = [Message("user", "hi\nassistant: yes")]
    two = [Message("user", "hi"), Message("assistant", "yes")]
    assert prompt_key(one) != prompt_key(two)


# ---- conflicts ---------------------------------------------------------------------------------


def test_correction_beats_any_number_of_approvals() -> None:
    """Whoever wrote the answer took more care than who pressed a button."""
    liked = [candidate("Where?", "Here.", subject=f"s{number}") for number in range(3)]
    written = candidate("where", "There.", subject="ann", source="correction")
    sieved = settle_conflicts([*liked, written])
    assert answers(sieved) == ["There."]
    assert [drop.reason for drop in sieved.dropped] == ["conflict"] * 3


def test_answer_of_more_people_wins() -> None:
    """One person's five votes are one person's."""
    loud = [candidate("Where?", "Here.", subject="bob", minute=9) for _ in range(5)]
    quiet = [candidate("Where?", "There.", subject=f"s{number}") for number in range(2)]
    assert answers(settle_conflicts([*loud, *quiet])) == ["There."] * 2


def test_newest_answer_wins_among_equals() -> None:
    """The world changes: with as many people, the later answer is right."""
    old, new = candidate("Where?", "Here.", minute=1), candidate("Where?", "There.", minute=2)
    assert answers(settle_conflicts([new, old])) == ["There."]


@pytest.mark.parametrize(("approving", "kept"), [(1, 0), (2, 2), (3, 3)])
def test_answer_that_more_people_blamed_is_out(approving: int, kept: int) -> None:
    """Two people blame an answer: one approval does not bring it in, two do."""
    blamed = [candidate("Where?", "Here.", subject=name, source="thumbs_down") for name in "xyx"]
    liked = [candidate("where", "here", subject=f"s{number}") for number in range(approving)]
    sieved = settle_conflicts(liked, blamed)
    assert len(sieved.kept) == kept
    assert {drop.reason for drop in sieved.dropped} == (
        {"blamed by more people"} if not kept else set()
    )


def test_blame_falls_on_one_answer_only() -> None:
    """Another answer to the same prompt, less liked, wins once the first is out."""
    blamed = [candidate("Where?", "Here.", subject=name, source="thumbs_down") for name in "xyz"]
    liked = [candidate("Where?", "Here.", subject=name) for name in "ab"]
    other = candidate("Where?", "There.", subject="c")
    assert answers(settle_conflicts([*liked, other], blamed)) == ["There."]


# ---- exact duplicates --------------------------------------------------------------------------


def test_oldest_of_equal_examples_stays() -> None:
    """Whatever the order in which they come, equal once normalised is equal."""
    old = candidate("Where?", "Here.", minute=1)
    new = candidate("WHERE", "here", minute=2)
    for order in ([old, new], [new, old]):
        assert drop_exact_duplicates(order, nobody_first).kept == [old]


def test_what_a_version_held_stays_rather_than_the_oldest() -> None:
    """Else every late-coming older row would make a version churn."""
    old, held = candidate("Where?", minute=1), candidate("Where?", minute=2)
    sieved = drop_exact_duplicates([old, held], lambda c: 0 if c is held else 1)
    assert sieved.kept == [held]
    assert [drop.interaction_id for drop in sieved.dropped] == [old.interaction_id]


def test_other_answers_and_other_prompts_are_no_duplicates() -> None:
    """Both must be equal."""
    three = [
        candidate("Where?", "Here."),
        candidate("Where?", "There."),
        candidate("Who?", "Here."),
    ]
    assert drop_exact_duplicates(three, nobody_first).kept == three


# ---- near duplicates ---------------------------------------------------------------------------


def test_near_duplicates_are_found_with_measured_recall_and_precision() -> None:
    """All of 100 copies with a changed letter go, and none of 100 with changed words.

    By construction only a changed letter leaves a text over 95 % similar; brute force confirms it.
    """
    rng = random.Random(7)
    candidates: list[Candidate] = []
    copies: set[str] = set()
    for number in range(200):
        text = words(rng, 60)
        candidates.append(
            candidate(" ".join(text), f"the answer {LETTERS[number % 26]}", minute=number)
        )
        place = rng.randrange(10, 50)
        if number % 2:
            text[place] = text[place][:-1] + ("x" if text[place][-1] != "x" else "y")
        else:
            text[place : place + 3] = words(rng, 3)
        copy = candidate(" ".join(text), candidates[-1].messages[-1].content, minute=1_000 + number)
        candidates.append(copy)
        if similarity(candidates[-2].prompt_text, copy.prompt_text) >= THRESHOLD:
            copies.add(copy.interaction_id)
    dropped = {drop.interaction_id for drop in without_near(candidates).dropped}
    assert len(copies) == 100
    recall, precision = len(dropped & copies) / len(copies), len(dropped & copies) / len(dropped)
    assert (recall, precision) == (1.0, 1.0)


def test_pairs_agree_with_brute_force_around_the_threshold() -> None:
    """Among texts of every similarity from 0.8 to 1, MinHash and LSH miss no pair and add none."""
    rng = random.Random(11)
    texts: dict[str, str] = {}
    for family in range(30):
        base = words(rng, 80)
        for member in range(6):
            text = list(base)
            for _ in range(rng.randrange(4)):
                text[rng.randrange(80)] = words(rng, 1)[0]
            texts[f"{family} {member}"] = " ".join(text)
    near = find_near(texts, THRESHOLD).neighbours
    grams = {key: shingles(text) for key, text in texts.items()}
    true = {
        (one, other)
        for one, other in combinations(sorted(texts), 2)
        if len(grams[one] & grams[other]) >= THRESHOLD * len(grams[one] | grams[other])
    }
    found = {(one, other) for one, others in near.items() for other in others if one < other}
    assert 50 < len(true) < 400
    assert found == true


def test_near_is_symmetric_and_independent_of_order() -> None:
    """The same texts in another order give the same neighbours and clusters."""
    rng = random.Random(3)
    texts = {f"k{number}": " ".join(words(rng, 40)) for number in range(20)}
    texts |= {f"copy of {key}": f"{text} x" for key, text in texts.items()}
    near = find_near(texts, THRESHOLD)
    assert near == find_near(dict(reversed(texts.items())), THRESHOLD)
    assert all(
        one in near.neighbours[other] for one, others in near.neighbours.items() for other in others
    )
    assert len(near.clusters) == 40


def test_numbers_make_a_difference() -> None:
    """Thirty days are not fourteen, however long and equal the text around them."""
    rng = random.Random(13)
    rule = f"{' '.join(words(rng, 30))} within {{}} days {' '.join(words(rng, 30))}"
    two = [candidate("Until when can I give it back?", rule.format(days)) for days in (14, 30)]
    assert similarity(two[0].answer_text, two[1].answer_text) > THRESHOLD
    assert without_near(two).kept == two
    question = " ".join(words(rng, 60))
    alike = [
        candidate(question, rule.format(14)),
        candidate(f"{question} x", f"{rule.format(14)} x", minute=1),
        candidate(f"{question} y", f"{rule.format(30)} y", minute=2),
    ]
    assert without_near(alike).kept == [alike[0], alike[2]]


def test_a_long_fixed_text_does_not_make_all_questions_equal() -> None:
    """An instruction before every question is common, and what is common does not count."""
    rng = random.Random(5)
    instruction = " ".join(words(rng, 400))
    many = [candidate(f"{instruction} {' '.join(words(rng, 8))}", "Yes.") for _ in range(30)]
    assert similarity(many[0].prompt_text, many[1].prompt_text) >= THRESHOLD
    assert without_near(many).kept == many


def test_chain_of_near_duplicates_keeps_its_ends() -> None:
    """Each link repeats the one before, but the last no longer repeats the first: both stay."""
    rng = random.Random(9)
    text = words(rng, 60)
    chain: list[Candidate] = []
    for link in range(6):
        text[link * 10] += "xyz"
        chain.append(candidate(" ".join(text), "Yes.", minute=link))
    assert similarity(chain[0].prompt_text, chain[-1].prompt_text) < THRESHOLD
    kept = without_near(chain).kept
    assert kept[0] is chain[0]
    assert 1 < len(kept) < len(chain)


# ---- cap ---------------------------------------------------------------------------------------


def test_no_subject_exceeds_its_share() -> None:
    """A loud person keeps corrections first, then the newest."""
    loud = [candidate(f"q{number}", subject="bob", minute=number) for number in range(10)]
    written = candidate("old", subject="bob", source="correction", minute=0)
    others = [candidate(f"o{number}", subject=f"s{number}") for number in range(4)]
    kept = cap_subjects([written, *loud, *others], 0.34, nobody_first).kept
    assert [c for c in kept if c.subject == "bob"] == [written, loud[9]]
    assert len(kept) == 6


def test_what_a_version_held_stays_under_the_cap() -> None:
    """A newer answer of a loud person does not push out one that a version held."""
    loud = [candidate(f"q{number}", subject="bob", minute=number) for number in range(5)]
    others = [candidate(f"o{number}", subject=f"s{number}") for number in range(4)]
    kept = cap_subjects([*loud, *others], 0.2, lambda c: 0 if c is loud[1] else 1).kept
    assert [c for c in kept if c.subject == "bob"] == [loud[1]]


def test_too_few_subjects_for_the_share_is_an_error() -> None:
    """The message says how many there are, how many are needed, and what to change."""
    few = [candidate(f"q{number}", subject=f"s{number}") for number in range(3)]
    with pytest.raises(DataError, match=r"3 subjects.*20%.*at least 5.*max_share_per_subject"):
        cap_subjects(few, 0.2, nobody_first)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.floats(0.05, 1.0))
def test_cap_is_the_largest_that_keeps_the_share(counts: list[int], share: float) -> None:
    """At the cap all stay within the share; one more would break it or change nothing."""
    cap = largest_equal_cap(counts, share)

    def fits(limit: int) -> bool:
        return limit <= share * sum(min(count, limit) for count in counts) + 1e-9

    assert fits(cap)
    assert cap == max(counts) or not fits(cap + 1)


# ---- all sieves --------------------------------------------------------------------------------

some_candidates = st.lists(
    st.builds(
        candidate,
        st.sampled_from(["Where?", "where", "Who?", "Why is it so?"]),
        st.sampled_from(["Here.", "here", "There."]),
        subject=st.sampled_from(["ann", "bob", None]),
        source=st.sampled_from(["thumbs_up", "correction"]),
        minute=st.integers(0, 5),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(some_candidates, st.randoms(use_true_random=False))
def test_sieves_lose_nothing_and_do_not_mind_order(
    candidates: list[Candidate], rng: random.Random
) -> None:
    """Each candidate is kept or dropped, once, and the same ones whatever the order."""
    shuffled = rng.sample(candidates, len(candidates))
    sieves = (settle_conflicts, partial(drop_exact_duplicates, preference=nobody_first))
    for sieve in sieves:
        first, second = sieve(candidates), sieve(shuffled)
        kept = {c.interaction_id for c in first.kept}
        assert kept == {c.interaction_id for c in second.kept}
        assert kept.isdisjoint(drop.interaction_id for drop in first.dropped)
        assert len(first.kept) + len(first.dropped) == len(candidates)
