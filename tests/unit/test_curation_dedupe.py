"""Conflicts, duplicates, near duplicates and the cap: what one example may not say twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataError
from curation.dedupe import (
    cap_subjects,
    drop_exact_duplicates,
    drop_near_duplicates,
    largest_equal_cap,
    require_votes,
    settle_conflicts,
    settle_labels,
    settle_preferences,
)
from curation.keys import answer_text
from curation.minhash import FIRST_OF_BUCKET
from curation.similarity import (
    alike,
    hashed_shingles,
    normalised,
    prompt_key,
    shingles,
    similarity,
)
from curation.table import Outcome, Table, conversations, roles
from curation.table import answers as answers_of
from feedback.events import Message
from tests.unit.candidate_tables import keyed, near_in, pair, row

THRESHOLD = 0.95
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def blame(prompt: str, answer: str, **columns: Any) -> dict[str, Any]:
    """Return the label of an answer that somebody rated down."""
    return row(prompt, answer, kind="label", source="thumbs_down", label=False, **columns)


def answers(outcome: Outcome, kind: str = "demonstration") -> list[str]:
    """Return the answers that were kept."""
    kinds = outcome.kept["kind"].to_pylist()
    return [a for a, own in zip(answers_of(outcome.kept), kinds, strict=True) if own == kind]


def ids(outcome: Outcome) -> list[str]:
    """Return the interactions that were kept."""
    return outcome.kept["interaction_id"].to_pylist()


def reasons(outcome: Outcome) -> list[str]:
    """Return why rows were dropped."""
    return outcome.drops["reason"].to_pylist()


def without_near(*rows: dict[str, Any]) -> Outcome:
    """Drop near duplicates at the default threshold."""
    table = keyed(*rows)

    def texts(wanted: Sequence[int]) -> list[dict[int, str]]:
        every = list(map(answer_text, roles(table), conversations(table)))
        return [{place: every[place]} for place in wanted]

    numbers = table["number"].to_numpy()
    return drop_near_duplicates(table, near_in(table, THRESHOLD), numbers, texts, THRESHOLD)


def words(rng: random.Random, count: int) -> list[str]:
    """Return that many random words."""
    return ["".join(rng.choices(LETTERS, k=rng.randint(3, 9))) for _ in range(count)]


def prompts(table: Table) -> list[str]:
    """Return the prompts of one-turn rows."""
    return [texts[0] for texts in conversations(table)]


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


def test_hashed_shingles_measure_like_plain_ones() -> None:
    """Jaccard similarity by hashes is that by texts, of short and of strange ones too."""
    texts = ["", "a", "abcd", "abcde", "abcdef", "Grüße 👍 an alle", "abcdefabcdef", "\0\0"]
    grams = hashed_shingles(texts)
    for one, other in combinations(range(len(texts)), 2):
        if min(len(texts[one]), len(texts[other])) >= 5:
            assert alike(grams.of(one), grams.of(other)) == similarity(texts[one], texts[other])


# ---- conflicts ---------------------------------------------------------------------------------


def test_correction_beats_any_number_of_approvals() -> None:
    """Whoever wrote the answer took more care than who pressed a button."""
    liked = [row("Where?", "Here.", subject=f"s{number}") for number in range(3)]
    written = row("where", "There.", subject="ann", source="correction")
    outcome = settle_conflicts(keyed(*liked, written))
    assert answers(outcome) == ["There."]
    assert reasons(outcome) == ["conflict"] * 3


def test_answer_of_more_people_wins() -> None:
    """One person's five votes are one person's."""
    loud = [row("Where?", "Here.", subject="bob", minute=9) for _ in range(5)]
    quiet = [row("Where?", "There.", subject=f"s{number}") for number in range(2)]
    assert answers(settle_conflicts(keyed(*loud, *quiet))) == ["There."] * 2


def test_newest_answer_wins_among_equals() -> None:
    """The world changes: with as many people, the later answer is right."""
    old, new = row("Where?", "Here.", minute=1), row("Where?", "There.", minute=2)
    assert answers(settle_conflicts(keyed(new, old))) == ["There."]


@pytest.mark.parametrize(("approving", "kept"), [(1, 0), (2, 2), (3, 3)])
def test_answer_that_more_people_blamed_is_out(approving: int, kept: int) -> None:
    """Two people blame an answer: one approval does not bring it in, two do."""
    blamed = [blame("Where?", "Here.", subject=name) for name in "xyx"]
    liked = [row("where", "here", subject=f"s{number}") for number in range(approving)]
    outcome = settle_conflicts(keyed(*liked, *blamed))
    assert len(answers(outcome)) == kept
    assert len(answers(outcome, "label")) == 3
    assert set(reasons(outcome)) == ({"blamed by more people"} if not kept else set())


def test_blame_falls_on_one_answer_only() -> None:
    """Another answer to the same prompt, less liked, wins once the first is out."""
    blamed = [blame("Where?", "Here.", subject=name) for name in "xyz"]
    liked = [row("Where?", "Here.", subject=name) for name in "ab"]
    other = row("Where?", "There.", subject="c")
    assert answers(settle_conflicts(keyed(*liked, other, *blamed))) == ["There."]


def test_labels_follow_most_people() -> None:
    """Of two against one, the two stay; of one against one, nobody; other answers are apart."""
    up: dict[str, Any] = {"kind": "label", "label": True}
    three = [blame("Where?", "Here.", subject=name) for name in "ab"]
    three.append(row("Where?", "here", subject="c", **up))
    tie = [blame("Who?", "Me.", subject="a"), row("Who?", "Me.", subject="b", **up)]
    alone = row("Who?", "You.", subject="b", **up)
    outcome = settle_labels(keyed(*three, *tie, alone, row("Who?", "Me.")))
    assert sorted(answers(outcome, "label")) == ["Here.", "Here.", "You."]
    assert answers(outcome) == ["Me."]
    assert reasons(outcome) == ["votes disagree"] * 3


# ---- exact duplicates --------------------------------------------------------------------------


def test_oldest_of_equal_examples_stays() -> None:
    """Whatever the order in which they come, equal once normalised is equal."""
    old = row("Where?", "Here.", minute=1, id_="old")
    new = row("WHERE", "here", minute=2, id_="new")
    for order in ([old, new], [new, old]):
        assert ids(drop_exact_duplicates(keyed(*order))) == ["old"]


def test_what_a_version_held_stays_rather_than_the_oldest() -> None:
    """Else every late-coming older row would make a version churn."""
    old = row("Where?", "Here.", minute=1, id_="old", preference=1)
    held = row("Where?", "Here.", minute=2, id_="held", preference=0)
    outcome = drop_exact_duplicates(keyed(old, held))
    assert ids(outcome) == ["held"]
    assert outcome.drops["interaction_id"].to_pylist() == ["old"]


def test_other_answers_prompts_and_kinds_are_no_duplicates() -> None:
    """All must be equal: kind, prompt, answer, the answer that lost, the label."""
    different = [
        row("Where?", "Here."),
        row("Where?", "There."),
        row("Who?", "Here."),
        pair("Where?", "Here.", "There."),
        pair("Where?", "Here.", "Nowhere."),
        blame("Where?", "Here."),
        row("Where?", "Here.", kind="label", label=True),
    ]
    assert drop_exact_duplicates(keyed(*different)).kept.num_rows == len(different)


# ---- near duplicates ---------------------------------------------------------------------------


def test_near_duplicates_are_found_with_measured_recall_and_precision() -> None:
    """All of 100 copies with a changed letter go, and none of 100 with changed words.

    By construction only a changed letter leaves a text over 95 % similar; brute force confirms it.
    """
    rng = random.Random(7)
    rows: list[dict[str, Any]] = []
    copies: set[str] = set()
    for number in range(200):
        text = words(rng, 60)
        original, answer = " ".join(text), f"the answer {LETTERS[number % 26]}"
        place = rng.randrange(10, 50)
        if number % 2:
            text[place] = text[place][:-1] + ("x" if text[place][-1] != "x" else "y")
        else:
            text[place : place + 3] = words(rng, 3)
        rows.append(row(original, answer, minute=number))
        rows.append(row(" ".join(text), answer, minute=1_000 + number, id_=f"copy {number}"))
        if similarity(f"user: {original}", f"user: {' '.join(text)}") >= THRESHOLD:
            copies.add(f"copy {number}")
    dropped = set(without_near(*rows).drops["interaction_id"].to_pylist())
    assert len(copies) == 100
    recall, precision = len(dropped & copies) / len(copies), len(dropped & copies) / len(dropped)
    assert (recall, precision) == (1.0, 1.0)


def test_pairs_agree_with_brute_force_around_the_threshold() -> None:
    """Among texts of every similarity from 0.8 to 1, MinHash and LSH miss no pair and add none."""
    rng = random.Random(11)
    texts: list[str] = []
    for _ in range(30):
        base = words(rng, 80)
        for _ in range(10):
            text = list(base)
            for _ in range(rng.randrange(4)):
                text[rng.randrange(80)] = words(rng, 1)[0]
            texts.append(" ".join(text))
    table = keyed(*(row(text, "Yes.") for text in texts))
    near = near_in(table, THRESHOLD)
    grams: dict[int, frozenset[str]] = {}
    for number, prompt in zip(table["number"].to_pylist(), prompts(table), strict=True):
        grams[number] = shingles(f"user: {prompt}")
    true = {
        (one, other)
        for one, other in combinations(sorted(grams), 2)
        if len(grams[one] & grams[other]) >= THRESHOLD * len(grams[one] | grams[other])
    }
    assert 50 < len(true) < 400
    assert {tuple(found) for found in near.pairs.tolist()} == true


def test_near_is_independent_of_order() -> None:
    """The same texts in another order give the same clusters."""
    rng = random.Random(3)
    texts = [" ".join(words(rng, 40)) for _ in range(20)]
    rows = [row(f"{text}{end}", "Yes.", id_=f"{n}{end}") for n, text in enumerate(texts)
            for end in ("", " x")]  # fmt: skip
    first, second = (keyed(*order) for order in (rows, rows[::-1]))
    assert first.equals(second)
    near = near_in(first, THRESHOLD)
    assert near.pairs.tolist() == near_in(second, THRESHOLD).pairs.tolist()
    assert len(near.clusters) == 40
    assert len(set(near.clusters.values())) == 20


def test_a_crowd_of_near_duplicates_is_one_example() -> None:
    """In a large bucket each is compared with the first ones: none of them stays but one."""
    rng = random.Random(21)
    text = words(rng, 80)
    crowd = [
        row(" ".join([*text[:40], LETTERS[n % 26] * (1 + n // 26), *text[40:]]), "Yes.",
            minute=n, id_=f"{n:03}")
        for n in range(2 * FIRST_OF_BUCKET)
    ]  # fmt: skip
    others = [row(" ".join(words(rng, 40)), "Yes.", minute=999, id_=f"x{n}") for n in range(200)]
    kept = ids(without_near(*crowd, *others))
    assert [id_ for id_ in kept if not id_.startswith("x")] == ["000"]
    assert len(kept) == 201


def test_numbers_make_a_difference() -> None:
    """Thirty days are not fourteen, however long and equal the text around them."""
    rng = random.Random(13)
    rule = f"{' '.join(words(rng, 30))} within {{}} days {' '.join(words(rng, 30))}"
    assert similarity(rule.format(14), rule.format(30)) > THRESHOLD
    question = " ".join(words(rng, 60))
    rows = [
        row(question, rule.format(14), id_="14"),
        row(f"{question} x", f"{rule.format(14)} x", minute=1, id_="14 again"),
        row(f"{question} y", f"{rule.format(30)} y", minute=2, id_="30"),
    ]
    assert ids(without_near(*rows)) == ["14", "30"]


def test_a_long_fixed_text_does_not_make_all_questions_equal() -> None:
    """An instruction before every question is common, and what is common does not count."""
    rng = random.Random(5)
    instruction = " ".join(words(rng, 400))
    questions = [f"{instruction} {' '.join(words(rng, 8))}" for _ in range(30)]
    assert similarity(questions[0], questions[1]) >= THRESHOLD
    assert without_near(*(row(question, "Yes.") for question in questions)).drops.num_rows == 0


def test_chain_of_near_duplicates_keeps_its_ends() -> None:
    """Each link repeats the one before, but the last no longer repeats the first: both stay."""
    rng = random.Random(9)
    text = words(rng, 60)
    chain: list[dict[str, Any]] = []
    for link in range(6):
        text[link * 10] += "xyz"
        chain.append(row(" ".join(text), "Yes.", minute=link, id_=str(link)))
    kept = ids(without_near(*chain))
    assert kept[0] == "0"
    assert 1 < len(kept) < len(chain)


def test_few_votes_on_a_cluster_are_too_few() -> None:
    """People who asked nearly the same count together; the same person twice counts once."""
    rng = random.Random(15)
    long = " ".join(words(rng, 60))
    rows = [
        row(long, "Yes.", subject="ann"),
        row(f"{long} x", "No.", subject="bob"),
        row("Alone?", "Yes.", subject="ann"),
        row("Alone?", "No.", subject="ann"),
    ]
    table = keyed(*rows)
    numbers = table["number"].to_numpy()
    outcome = require_votes(table, near_in(table, THRESHOLD), numbers, 2)
    assert sorted(prompts(outcome.kept)) == sorted([long, f"{long} x"])
    assert reasons(outcome) == ["too few votes on its prompt"] * 2


# ---- cap ---------------------------------------------------------------------------------------


def test_no_subject_exceeds_its_share() -> None:
    """A loud person keeps corrections first, then the newest."""
    loud = [row(f"q{number}", "Yes.", subject="bob", minute=number) for number in range(10)]
    written = row("old", "Yes.", subject="bob", source="correction", minute=0)
    others = [row(f"o{number}", "Yes.", subject=f"s{number}") for number in range(4)]
    outcome = cap_subjects(keyed(written, *loud, *others), 0.34)
    assert sorted(text for text in prompts(outcome.kept) if text[0] != "o" or text == "old") == [
        "old",
        "q9",
    ]
    assert outcome.kept.num_rows == 6


def test_what_a_version_held_stays_under_the_cap() -> None:
    """A newer answer of a loud person does not push out one that a version held."""
    loud = [
        row(f"q{n}", "Yes.", subject="bob", minute=n, preference=0 if n == 1 else 1)
        for n in range(5)
    ]
    others = [row(f"o{number}", "Yes.", subject=f"s{number}") for number in range(4)]
    kept = prompts(cap_subjects(keyed(*loud, *others), 0.2).kept)
    assert [text for text in kept if text[0] == "q"] == ["q1"]


def test_too_few_subjects_for_the_share_is_an_error() -> None:
    """The message says how many there are, how many are needed, and what to change."""
    few = [row(f"q{number}", "Yes.", subject=f"s{number}") for number in range(3)]
    with pytest.raises(DataError, match=r"3 subjects.*20%.*at least 5.*max_share_per_subject"):
        cap_subjects(keyed(*few), 0.2)


def test_too_few_subjects_of_pairs_leave_none() -> None:
    """Demonstrations are enough for a dataset; pairs of one person are no preference of many."""
    many = [row(f"q{number}", "Yes.", subject=f"s{number}") for number in range(5)]
    outcome = cap_subjects(keyed(*many, pair("q0", "Yes.", "No.", subject="s0")), 0.2)
    assert set(outcome.kept["kind"].to_pylist()) == {"demonstration"}
    assert reasons(outcome) == ["subject over its share"]


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

some_rows = st.lists(
    st.builds(
        row,
        st.sampled_from(["Where?", "where", "Who?", "Why is it so?"]),
        st.sampled_from(["Here.", "here", "There."]),
        subject=st.sampled_from(["ann", "bob", None]),
        source=st.sampled_from(["thumbs_up", "correction"]),
        kind=st.sampled_from(["demonstration", "label"]),
        label=st.booleans(),
        minute=st.integers(0, 5),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(some_rows, st.randoms(use_true_random=False))
def test_sieves_lose_nothing_and_do_not_mind_order(
    rows: list[dict[str, Any]], rng: random.Random
) -> None:
    """Each row is kept or dropped, once, and the same ones whatever the order."""
    shuffled = rng.sample(rows, len(rows))
    for stage in (settle_conflicts, settle_labels, drop_exact_duplicates):
        first, second = stage(keyed(*rows)), stage(keyed(*shuffled))
        kept = set(ids(first))
        assert kept == set(ids(second))
        assert kept.isdisjoint(first.drops["interaction_id"].to_pylist())
        assert first.kept.num_rows + first.drops.num_rows == len(rows)


def test_people_s_word_on_two_answers_beats_a_judge_s_whoever_won() -> None:
    """By prompt and both answers, in whatever order and of whatever interaction."""
    table = keyed(
        pair("Why?", "Rain.", "Snow.", id_="p", source="preference"),
        pair("Why?", "Snow.", "Rain.", id_="j1", source="judge"),
        pair("Why?", "Rain.", "Snow.", id_="j2", source="judge"),
        pair("Why?", "Rain.", "Hail.", id_="j3", source="judge"),
        pair("When?", "Snow.", "Rain.", id_="j4", source="judge"),
        row("Why?", "Rain.", id_="d"),
    )
    kept: dict[str, set[str]] = {}
    for taken in ("both", "people", "judge"):
        outcome = settle_preferences(table, taken)
        kept[taken] = set(outcome.kept["interaction_id"].to_pylist())
        assert outcome.kept.num_rows + outcome.drops.num_rows == 6
    assert kept == {
        "both": {"p", "j3", "j4", "d"},
        "people": {"p", "d"},
        "judge": {"j1", "j2", "j3", "j4", "d"},
    }
