"""Nothing that an evaluation asks is learnt, and nothing else is lost."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.curation_settings import DecontaminationSettings
from curation.similarity import normalised, similarity
from curation.stages.decontaminate import Decontaminate
from curation.stages.near_items import MIN_CHARS, SIMILARITY, NearItems
from curation.suites import Item, Suite
from tests.unit.candidate_tables import pair, row, table_of

LONG = (
    "A lighthouse keeper counts seven ships at dawn and nine more before noon, yet the harbour "
    "master writes only twelve into his ledger. Which four ships did he leave out, and for what "
    "reason that the keeper could not have seen from the tower?"
)
SHORT = "What is the capital of Burkina Faso?"
TINY = "Why is that?"
SUITE = Suite("quiz", (Item(1, LONG), Item(2, SHORT), Item(3, TINY)))


def _stage(*suites: Suite, **settings: Any) -> Decontaminate:
    return Decontaminate(suites or (SUITE,), DecontaminationSettings(**settings))


def _dropped(stage: Decontaminate, *rows: dict[str, Any]) -> list[tuple[str, str]]:
    drops = stage(table_of(*rows)).drops
    return list(zip(drops["candidate_id"].to_pylist(), drops["detail"].to_pylist(), strict=True))


def test_an_item_inside_a_longer_text_is_found() -> None:
    """Case, punctuation and line breaks do not hide it; the drop names suite and item."""
    text = f"Help me with homework:\n\n{LONG.upper().replace(',', ' ;')}\nThanks in advance!"
    outcome = _stage()(table_of(row(text, "Four.", id_="leak"), row("Hello there", "Hi")))
    assert outcome.kept.num_rows == 1
    assert outcome.drops.to_pylist() == [
        {
            "candidate_id": "leak:demonstration",
            "interaction_id": "leak",
            "reason": "in an evaluation",
            "detail": "quiz item 1",
        }
    ]


@pytest.mark.parametrize(("words_kept", "goes"), [(16, False), (40, True)])
def test_the_share_of_runs_decides(words_kept: int, goes: bool) -> None:
    """LONG has 43 words, 31 runs of 13: with 16 words 4 of them are left, with 40 words 28."""
    text = " ".join(LONG.split()[:words_kept]) + " and so it went on for many more years"
    assert bool(_dropped(_stage(), row(text, "I see.", id_="a"))) is goes


def test_the_share_is_a_setting() -> None:
    """At a tenth, few shared runs are too many."""
    text = " ".join(LONG.split()[:17]) + " and so it went on for many more years"
    assert _dropped(_stage(max_ngram_share=0.1), row(text, "I see.", id_="a"))


def test_leaks_in_answers_and_in_lost_answers_are_found() -> None:
    """A model that recites the question has learnt it too."""
    found = _dropped(
        _stage(),
        row("Tell me a riddle", f"Here is one: {LONG}", id_="a"),
        pair("Tell me a riddle", "No.", f"Here is one: {LONG}", id_="b"),
    )
    assert found == [("a:demonstration", "quiz item 1"), ("b:pair", "quiz item 1")]


def test_a_short_item_goes_where_all_its_words_stand_together() -> None:
    """Parts of it, or its words with others between, are no leak."""
    found = _dropped(
        _stage(),
        row("Quick one: what is the capital of burkina faso, please", "Ouagadougou", id_="a"),
        row("What is the capital of Ghana?", "Accra", id_="b"),
        row("What is the lovely capital city of old Burkina Faso?", "Ouagadougou", id_="c"),
    )
    assert found == [("a:demonstration", "quiz item 2")]


def test_a_tiny_item_must_be_the_whole_message() -> None:
    """Three words are in many honest rows."""
    found = _dropped(
        _stage(),
        row("why is that", "Because.", id_="a"),
        row("My bill is higher this month, why is that?", "Because of the new price.", id_="b"),
        row("It rained", "Why is that?", id_="c"),
    )
    assert found == [("a:demonstration", "quiz item 3")]


def test_an_item_is_not_found_across_the_border_of_two_messages() -> None:
    """What two people say one after the other was not asked."""
    assert not _dropped(_stage(), row("What is the capital of", "Burkina Faso?", id_="a"))


def test_a_near_duplicate_of_a_prompt_is_found_in_every_turn() -> None:
    """Words changed here and there hide runs, and not the prompt."""
    changed = LONG.replace("keeper counts", "keeper counted").replace("yet the", "yet a")
    changed = changed.replace("four ships", "4 ships")
    assert similarity(normalised(changed), normalised(LONG)) >= SIMILARITY
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": changed},
        {"role": "assistant", "content": "Four."},
    ]
    found = _dropped(_stage(max_ngram_share=1.0), row("", "", id_="a", messages=messages))
    assert found == [("a:demonstration", "quiz item 1")]


def test_the_template_of_a_suite_is_no_leak() -> None:
    """An application's fixed words before each question are in every row and every item."""
    template = "You are asked about a product of our catalogue. Answer briefly and politely. "
    template = template * 2 + "The customer's question about the product in the basket is: "
    asked = [f"{template}{verb} the {noun} {verb}?" for verb, noun in _questions(30)]
    suite = Suite("shop", tuple(Item(n, text) for n, text in enumerate(asked, start=1)))
    found = _dropped(
        _stage(suite),
        row(f"{template}may a parrot travel in hand luggage to Norway?", "No.", id_="a"),
        row(asked[7], "Yes.", id_="b"),
    )
    assert found == [("b:demonstration", "shop item 8")]


def test_a_template_does_not_hide_a_changed_number() -> None:
    """Half of the prompt is in all items; what is left is alike, though less than the whole."""
    template = "It would be for 6 people in the workshop, most of them new to the machine. "
    asked = [f"{template}{verb} the {noun} {verb} after 51 days?" for verb, noun in _questions(30)]
    suite = Suite("shop", tuple(Item(n, text) for n, text in enumerate(asked, start=1)))
    changed = asked[7].replace("6 people", "64 people").replace("51 days", "22 days")
    assert _dropped(_stage(suite, max_ngram_share=1.0), row(changed, "Yes.", id_="a")) == [
        ("a:demonstration", "shop item 8")
    ]


def _questions(count: int) -> list[tuple[str, str]]:
    draw = random.Random(3)
    invented = ["".join(draw.sample("abcdefghijklmnopqrstuvwxyz", 9)) for _ in range(2 * count)]
    return list(zip(invented[::2], invented[1::2], strict=True))


def test_reference_answers_are_looked_for_only_when_asked() -> None:
    """A help desk's reference answers are what it should learn; a benchmark's are not."""
    suite = Suite("faq", (Item(1, "How long does it take to get my money back?", LONG),))
    candidate = row("refund when", LONG, id_="a")
    assert not _dropped(_stage(suite), candidate)
    assert _dropped(_stage(suite, answers=True), candidate) == [("a:demonstration", "faq item 1")]


def test_texts_without_spaces_between_words_are_found() -> None:
    """Each character of Chinese and Japanese counts as a word."""
    item = "请问在北京乘坐地铁从机场到市中心大约需要多长时间"
    suite = Suite("zh", (Item(1, item), Item(2, "東京の天気は")))
    found = _dropped(
        _stage(suite),
        row(f"你好,{item}?谢谢", "一小时", id_="a"),
        row("明日の東京の天気はどう", "晴れ", id_="b"),
        row("北京的天气", "晴", id_="c"),
    )
    assert found == [("a:demonstration", "zh item 1"), ("b:demonstration", "zh item 2")]


def test_nothing_happens_without_suites_or_rows() -> None:
    """A table of no rows keeps its columns."""
    table = table_of(row(LONG, "x"))
    assert Decontaminate((), DecontaminationSettings())(table).kept is table
    assert _stage()(table_of()).kept.schema == table.schema


def test_it_works_the_same_in_another_process() -> None:
    """Pickled and in blocks of any size it drops the same."""
    rows = [row(f"{n} {LONG if n % 7 == 0 else 'hello'}", "x", id_=str(n)) for n in range(40)]
    again = pickle.loads(pickle.dumps(_stage()))
    whole = _dropped(again, *rows)
    assert len(whole) == 6
    assert whole == _dropped(_stage(), *rows[:11]) + _dropped(_stage(), *rows[11:])


@given(st.integers(MIN_CHARS, 300), st.integers(0, 8), st.integers(0, 2**32))
def test_no_near_duplicate_is_missed(size: int, edits: int, seed: int) -> None:
    """Whatever characters are changed, a pair of the stated similarity is proposed."""
    draw = random.Random(seed)
    one = normalised("".join(draw.choices("abcdefgh ", k=size))).ljust(MIN_CHARS, "x")
    other = list(one)
    for _ in range(edits):
        other[draw.randrange(len(other))] = draw.choice(["", "z", "yy", "w "])
    message = normalised("".join(other))
    found = list(NearItems.of([("s", one)]).find(["hello", message]))
    assert found == ([(1, 0)] if similarity(one, message) >= SIMILARITY else [])


_SAID = st.lists(
    st.sampled_from(["red", "green", "blue", "black", "white"]), min_size=4, max_size=25
)


@given(_SAID, _SAID, st.sampled_from([0.2, 0.5, 1.0]))
def test_runs_are_counted_as_plain_sets_count_them(
    item: list[str], said: list[str], share: float
) -> None:
    """Whatever repeats or overlaps: the share of the item's different runs of three words."""
    suite = Suite("s", (Item(1, " ".join(item)),))
    stage = _stage(suite, ngram_words=3, max_ngram_share=share)
    runs = {tuple(item[start : start + 3]) for start in range(len(item) - 2)}
    held = runs & {tuple(said[start : start + 3]) for start in range(len(said) - 2)}
    found = _dropped(stage, row("x", " ".join(said), id_="a"))
    assert bool(found) is (len(held) >= max(1, share * len(runs) - 1e-9))
