"""Examples that a model writes: marked, of known descent, refused for cause, never too many."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from core.curation_settings import AugmentationSettings
from curation.augmentation.back_translation import IN_PIVOT, Languages, back_translation
from curation.augmentation.cap import OVER_SHARE, cap
from curation.augmentation.examples import (
    UNKNOWN_PLACEHOLDERS,
    UNREADABLE,
    Example,
    read_examples,
)
from curation.augmentation.failures import failures
from curation.augmentation.faithful import EMPTY, LANGUAGE, NUMBERS, PLACEHOLDERS, SAME
from curation.augmentation.paraphrase import paraphrase
from curation.augmentation.products import AUGMENTED, SAME_AS_ANOTHER, Written
from curation.augmentation.rewriting import NO_PROMPT
from curation.augmentation.synthetic import Synthesis, synthetic
from curation.augmentation.writer import CUT_OFF, Usage, Writer
from curation.augmentation.writing import augment
from curation.table import DROPS, Table, Why
from tests.fakes.writer import ANEW, BACK, FakeWriter
from tests.unit.candidate_tables import pair, row, table_of

ASKED = "Where is my parcel with the number 4711, sent to [ADDRESS_1]?"
ANSWERED = "It comes on Monday."
FRENCH = Languages("French", "English")


@pytest.fixture(scope="module")
def running() -> Iterator[FakeWriter]:
    with FakeWriter() as server:
        yield server


@pytest.fixture
def server(running: FakeWriter) -> FakeWriter:
    running.behave()
    return running


@pytest.fixture
def writer(server: FakeWriter) -> Iterator[Writer]:
    with Writer(server.settings()) as opened:
        yield opened


def seeds(count: int, **columns: Any) -> Table:
    """Return demonstrations of as many people."""
    return table_of(
        *(
            row(
                f"How do I mend fault {n} of my machine?",
                f"Turn it off, {n}.",
                id_=f"i{n}",
                subject=f"s{n}",
                **columns,
            )
            for n in range(count)
        )
    )


def reasons(written: Written) -> dict[str, int]:
    """Return how often each reason was given."""
    return dict(Counter(written.drops["reason"].to_pylist()))


def texts(table: Table) -> list[list[str]]:
    return [[part["content"] for part in messages] for messages in table["messages"].to_pylist()]


def test_a_paraphrase_keeps_all_but_the_prompt(writer: Writer) -> None:
    """New words before the same answer; lineage, time and placeholders are the seed's."""
    table = table_of(
        row(
            ASKED,
            ANSWERED,
            id_="i1",
            subject="ann",
            weight=2.5,
            placeholders=["[ADDRESS_1]"],
            adapter="shop--v3",
        )
    )
    written = paraphrase(table, writer)
    (made,), (seed,) = written.rows.to_pylist(), table.to_pylist()
    assert texts(written.rows) == [[ANEW + ASKED, ANSWERED]]
    kept = {
        "interaction_id",
        "kind",
        "subject",
        "adapter",
        "started_at",
        "rejected",
        "label",
        "weight",
        "placeholders",
    }
    assert {name: made[name] for name in kept} == {name: seed[name] for name in kept}
    assert (made["source"], made["needs_review"], made["votes"]) == ("paraphrase", True, 0)
    assert (made["seeds"], made["writer"]) == (["i1"], "base")
    assert made["candidate_id"].startswith(f"{seed['candidate_id']}:paraphrase:")
    assert written.rows.schema == AUGMENTED
    assert written.drops.num_rows == 0


def test_only_the_last_prompt_of_a_conversation_is_rephrased(writer: Writer) -> None:
    """What came before it, and a pair's lost answer, stay."""
    turns = [
        ("system", "Be kind."),
        ("user", "Hello."),
        ("assistant", "Hi."),
        ("user", ASKED),
        ("assistant", ANSWERED),
    ]
    messages = [{"role": role, "content": content} for role, content in turns]
    written = paraphrase(table_of(pair("", "", "Go away.", messages=messages)), writer)
    assert texts(written.rows) == [["Be kind.", "Hello.", "Hi.", ANEW + ASKED, ANSWERED]]
    assert written.rows["rejected"].to_pylist() == ["Go away."]
    assert written.rows["kind"].to_pylist() == ["pair"]


def test_only_real_answers_that_are_learnt_are_seeds(writer: Writer, server: FakeWriter) -> None:
    """Neither safety tests, unwanted answers, copies of copies nor empty rows are rewritten."""
    table = table_of(
        row("wanted label", "yes", kind="label", label=True),
        row("unwanted label", "yes", kind="label", label=False),
        row("safety test", "yes", kind="safety", category="harm"),
        row("a paraphrase", "yes", source="paraphrase"),
        row("no messages", "yes", messages=[]),
        row("null messages", "yes", messages=None),
    )
    written = paraphrase(table, writer)
    assert texts(written.rows) == [[ANEW + "wanted label", "yes"]]
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", EMPTY),
        (ASKED.upper(), SAME),
        ("Where is my parcel with the number 4711?", PLACEHOLDERS),
        ("Where is my parcel with the number 4712, sent to [ADDRESS_1]?", NUMBERS),
        ("Où est mon colis avec le numéro 4711, envoyé à [ADDRESS_1] ?", LANGUAGE),
        ("many words " * 1000, CUT_OFF),
    ],
)
@pytest.mark.parametrize("method", ["paraphrase", "back_translation"])
def test_an_unfaithful_text_is_refused(
    writer: Writer, server: FakeWriter, method: str, reply: str, reason: str
) -> None:
    """Every refusal is a drop of the seed's lineage with its reason, and is counted."""
    server.reply = lambda _model, prompt: "Autrement dit" if "into French" in prompt else reply
    table = table_of(row(ASKED, ANSWERED, id_="i1"))
    if method == "paraphrase":
        written = paraphrase(table, writer)
    else:
        written = back_translation(table, writer, FRENCH)
    assert written.rows.num_rows == 0
    assert written.drops["interaction_id"].to_pylist() == ["i1"]
    assert written.drops.schema == DROPS
    assert reasons(written) == written.tally.refused == {reason: 1}


def test_a_conversation_without_a_prompt_is_refused(writer: Writer, server: FakeWriter) -> None:
    """Nothing is asked for it."""
    messages = [{"role": "system", "content": "Greet."}, {"role": "assistant", "content": "Hi."}]
    written = paraphrase(table_of(row("", "", messages=messages), row(" ", "Hi.")), writer)
    assert reasons(written) == {NO_PROMPT: 2}
    assert server.bodies == []


def test_back_translation_goes_through_the_pivot(writer: Writer, server: FakeWriter) -> None:
    """Two requests a row: out of its own language, and back into it."""
    written = back_translation(table_of(row(ASKED, ANSWERED)), writer, FRENCH)
    assert texts(written.rows) == [[BACK + ASKED, ANSWERED]]
    assert written.rows["source"].to_pylist() == ["back_translation"]
    there, back = (body["messages"][0]["content"] for body in server.bodies)
    assert there.startswith("Translate the following from English into French.")
    assert back.startswith("Translate the following from French into English.")


def test_what_is_in_the_pivot_language_is_not_translated(
    writer: Writer, server: FakeWriter
) -> None:
    """French through French changes nothing; short texts are in the language of the settings."""
    table = table_of(
        row("Où est mon colis avec les chaussures bleues ?", "Il arrive."), row("Wann?", "Heute.")
    )
    written = back_translation(table, writer, Languages("French", "German"))
    assert reasons(written)[IN_PIVOT] == 1
    assert len(server.bodies) == 2
    assert "from German into French" in server.bodies[0]["messages"][0]["content"]


def test_a_failed_way_out_has_no_way_back(writer: Writer, server: FakeWriter) -> None:
    """The second request is saved where the first brought nothing."""
    server.reply = lambda _model, _prompt: ""
    written = back_translation(table_of(row(ASKED, ANSWERED)), writer, FRENCH)
    assert reasons(written) == {"empty translation": 1}
    assert len(server.bodies) == 1


def test_synthetic_examples_name_all_their_seeds(writer: Writer, server: FakeWriter) -> None:
    """A request shows a few real ones; what it brings descends from each of them."""
    written = synthetic(seeds(5), writer, Synthesis("support questions", few_shot=2, each=3))
    assert written.rows.num_rows == 9
    assert written.tally.seeds == 5
    by_first = {one["interaction_id"]: one for one in written.rows.to_pylist()}
    assert len(by_first) == len(server.bodies) == 3
    assert sorted(id_ for one in by_first.values() for id_ in one["seeds"]) == [
        f"i{n}" for n in range(5)
    ]
    assert all(one["interaction_id"] in one["seeds"] for one in by_first.values())
    assert all(one["subject"] == f"s{one['interaction_id'][1:]}" for one in by_first.values())
    assert set(written.rows["kind"].to_pylist()) == {"demonstration"}
    said = server.bodies[0]["messages"][0]["content"]
    assert said.startswith("Generate 3 diverse examples for: support questions")


def test_no_more_synthetic_requests_than_are_needed(writer: Writer, server: FakeWriter) -> None:
    """Four examples at three to a request are two requests."""
    synthetic(seeds(9), writer, Synthesis("support", few_shot=1, each=3), limit=4)
    assert len(server.bodies) == 2


def test_a_system_message_goes_with_the_example(writer: Writer) -> None:
    """The example looks as the application's conversations do."""
    turns = [("system", "Be kind."), ("user", "Hello there?"), ("assistant", "Hi.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    written = synthetic(
        table_of(row("", "", messages=messages)), writer, Synthesis("greetings", 1, 1)
    )
    assert texts(written.rows) == [["Be kind.", "Hello there? And case 0?", "Hi."]]


def test_conversations_of_several_turns_are_not_shown(writer: Writer, server: FakeWriter) -> None:
    """A last question without what came before would teach nonsense."""
    turns = [("user", "Hello."), ("assistant", "Hi."), ("user", "And?"), ("assistant", "Well.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    written = synthetic(table_of(row("", "", messages=messages)), writer, Synthesis("x", 1, 1))
    assert (written.rows.num_rows, written.tally.seeds, server.bodies) == (0, 0, [])


def test_unusable_examples_are_counted_by_their_fault(writer: Writer, server: FakeWriter) -> None:
    """Each item of a reply stands for itself."""
    bad: list[Any] = [
        {"prompt": "How do I clean it best?", "answer": "With water."},
        {"prompt": "How do I clean it best?", "answer": "With soap."},
        {"prompt": "HOW do I mend fault 0 of my machine?!", "answer": "A copy."},
        {"prompt": "How long does it last?", "answer": " "},
        {"prompt": "Whom can I call about it?", "answer": "Call [PHONE_1]."},
        {
            "prompt": "Comment puis-je nettoyer ma machine à laver ?",
            "answer": "Avec de l'eau froide.",
        },
        {"prompt": "no answer"},
        {"prompt": "more than asked", "answer": "yes", "score": 1},
        "text",
    ]
    server.reply = lambda _model, _prompt: json.dumps({"examples": bad})
    written = synthetic(seeds(1), writer, Synthesis("support", few_shot=1, each=9))
    assert texts(written.rows) == [["How do I clean it best?", "With water."]]
    assert reasons(written) == {
        SAME: 2,
        EMPTY: 1,
        UNKNOWN_PLACEHOLDERS: 1,
        LANGUAGE: 1,
        UNREADABLE: 3,
    }


def test_a_reply_that_is_cut_off_gives_no_examples(writer: Writer, server: FakeWriter) -> None:
    """Half of a list is not taken for a whole one; what is over the asked number is left out."""
    many = [{"prompt": f"Which number is {n}?", "answer": "It is odd."} for n in range(4)]
    server.reply = lambda _model, _prompt: json.dumps({"examples": many}) + " \n" * 2000
    synthesis = Synthesis("support", few_shot=1, each=3)
    assert reasons(synthetic(seeds(1), writer, synthesis)) == {CUT_OFF: 1}
    server.reply = lambda _model, _prompt: json.dumps({"examples": many})
    assert synthetic(seeds(1), writer, synthesis).rows.num_rows == 3


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ('{"examples": [{"prompt": "a", "answer": "b"}]}', [Example("a", "b")]),
        ('```json\n{"examples": [{"prompt": "a", "answer": "b"}]}\n```', [Example("a", "b")]),
        ('Sure: {"examples": [{"prompt": "a", "answer": "b"}]}', [Why(UNREADABLE, "whole reply")]),
        ('{"examples": [{"prompt": "a", "answer": "b"}', [Why(UNREADABLE, "whole reply")]),
        ('[{"prompt": "a", "answer": "b"}]', [Why(UNREADABLE, "whole reply")]),
        ('{"examples": [{"prompt": "\\ud83d", "answer": "b"}]}', [Why(UNREADABLE, "whole reply")]),
        ('{"examples": [{"prompt": 1, "answer": "b"}]}', [Why(UNREADABLE, "one example")]),
        ('{"examples": []}', [Why(EMPTY, "no examples")]),
        ("", [Why(UNREADABLE, "whole reply")]),
    ],
)
def test_replies_are_read_strictly(reply: str, read: list[Example | Why]) -> None:
    """The asked form in a code fence at most; everything else is a reason."""
    assert read_examples(reply, 5) == read


def test_examples_from_failures_never_ask_what_the_gate_asks(
    writer: Writer, server: FakeWriter
) -> None:
    """Like the failed item, of its lineage, but no failed item itself."""
    failed = seeds(2)
    server.reply = lambda _model, _prompt: json.dumps(
        {
            "examples": [
                {"prompt": "How do I mend fault 1 of my machine", "answer": "A copy."},
                {"prompt": "How do I mend fault 0 of my machine", "answer": "A copy."},
                {"prompt": "How do I oil it?", "answer": "With oil."},
            ]
        }
    )
    written = failures(failed.slice(0, 1), writer, each=3)
    assert reasons(written) == {SAME: 1}
    assert reasons(failures(failed, writer, each=3, limit=1)) == {SAME: 2}
    written = failures(failed, writer, each=3)
    assert reasons(written) == {SAME: 5}
    assert written.rows["source"].to_pylist() == ["failures"]
    (one,) = written.rows.to_pylist()
    assert one["seeds"] == [one["interaction_id"]]
    assert server.bodies[0]["messages"][0]["content"].startswith(
        "An assistant failed at the request"
    )


def test_ids_hang_on_the_text_and_on_nothing_else(writer: Writer, server: FakeWriter) -> None:
    """The same again is the same id; another text is another, so that no approval slips over."""
    table = seeds(4)
    first = paraphrase(table, writer).rows["candidate_id"].to_pylist()
    again = paraphrase(table.take(pa.array([3, 1, 0, 2])), writer).rows["candidate_id"].to_pylist()
    server.reply = lambda _model, prompt: "Tell me, " + prompt.split("<text>\n")[1].split("\n")[0]
    other = paraphrase(table, writer).rows["candidate_id"].to_pylist()
    assert first == again
    assert len({*first, *other}) == 8


def test_two_products_of_one_seed_that_are_equal_are_one(writer: Writer) -> None:
    """Two candidates of one interaction that ask the same give one paraphrase between them."""
    table = table_of(
        row("What is it?", "A thing.", id_="i1"),
        row("What is it?", "A thing.", id_="i1", candidate_id="i1:other"),
    )
    written = paraphrase(table, writer)
    assert written.rows.num_rows == 1
    assert reasons(written) == {SAME_AS_ANOTHER: 1}


def test_augmentation_is_off_by_default(server: FakeWriter) -> None:
    """Nothing is asked and nothing comes, though the server is there."""
    settings = server.settings(enabled=AugmentationSettings().enabled)
    rows, account = augment(seeds(10), settings)
    assert (rows.num_rows, rows.schema) == (0, AUGMENTED)
    assert account.usage == Usage()
    assert server.bodies == []


def test_all_methods_share_the_room(server: FakeWriter) -> None:
    """As many as the share allows, from each method; the account tells what it cost."""
    methods = ("paraphrase", "back_translation", "synthetic", "failures")
    settings = server.settings(methods=methods, max_share=0.25, examples_per_request=2)
    steps: list[tuple[str, int, int]] = []

    def note(method: str, finished: int, of: int) -> None:
        steps.append((method, finished, of))

    table = seeds(30)
    failed = table_of(
        row("What is a gate item?", "This one.", id_="g1"), row("And what else?", "That.", id_="g2")
    )
    rows, account = augment(table, settings, note, failed=failed)
    assert rows.num_rows == account.made == account.room == 10
    assert steps == [(name, number, 4) for number, name in enumerate(methods)]
    made = Counter(rows["source"].to_pylist())
    assert set(made) == set(methods)
    assert max(made.values()) <= 4
    told = account.as_dict()
    assert told["usage"]["requests"] == len(server.bodies) == 3 + 2 * 3 + 2 + 2
    assert Counter(account.drops["reason"].to_pylist()) == {OVER_SHARE: 4}
    assert json.loads(json.dumps(told)) == told
    both = pa.concat_tables([table, rows], promote_options="default")
    assert cap(both, settings.max_share).drops.num_rows == 0


def test_what_was_written_before_counts_for_the_share(server: FakeWriter) -> None:
    """Rows of earlier augmentation take room, and are no seeds."""
    table = pa.concat_tables([seeds(9), seeds(1, source="paraphrase")])
    rows, account = augment(table, server.settings(max_share=0.1))
    assert (rows.num_rows, account.real_rows, account.room) == (0, 9, 0)
    assert server.bodies == []


def test_failures_need_failed_items(server: FakeWriter) -> None:
    """Without a gate's failures the method is passed over."""
    rows, account = augment(seeds(30), server.settings(methods=("failures",)))
    assert (rows.num_rows, account.tallies) == (0, ())


def test_people_take_turns_as_seeds(server: FakeWriter) -> None:
    """One loud person's examples are not all that is multiplied."""
    loud = [row(f"Loud question {n}, is it not?", "Yes.", subject="loud") for n in range(40)]
    calm = [row(f"Calm question {n}, is it?", "Yes.", subject=f"calm{n}") for n in range(4)]
    rows, _ = augment(table_of(*loud, *calm), server.settings())
    assert len(set(rows["subject"].to_pylist())) == rows.num_rows == 4


def test_a_share_of_all_is_no_setting() -> None:
    """A dataset of written rows alone is refused where it is asked for."""
    with pytest.raises(ValidationError, match="max_share"):
        AugmentationSettings(max_share=1.0)
