"""What the gateway writes of a conversation: nothing personal, in texts, errors or parameters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from feedback.events import FEEDBACK_TOPIC, FeedbackGiven, InteractionFinished, decode
from feedback.redaction.placeholders import aligned, fingerprint
from tests.unit.gateway_world import APPLICATION, CANARY, KEYS, World, open_world

MAIL = "ann@example.org"
ASKED = [
    {"role": "system", "content": f"You write to {MAIL}."},
    {"role": "user", "content": f"I am Bob Miller, bob@example.org, KD-123456. Who is {MAIL}?"},
]
ANSWER = f"Hello Bob Miller, {MAIL} is ours; KD-123456 and eve@example.org are not."
PERSONAL = ("example.org", "Bob", "Miller", "123456")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A gateway whose application has a pattern of its own."""
    patterns = {"redaction_patterns": {"customer": r"KD-\d{6}"}}
    with open_world(tmp_path, changes={APPLICATION: patterns}) as opened:
        opened.engine.reply = lambda _model, _prompt: ANSWER
        yield opened


def ask(world: World, *, api_key: str = "shop-key", **body: Any) -> InteractionFinished:
    """Return the event of one chat."""
    chat = {"model": "base", "messages": ASKED, **body}
    world.post("/v1/chat/completions", chat, api_key=api_key)
    return world.wait_for_event()


def assert_clean(event: InteractionFinished) -> None:
    written = msgspec.json.encode(event).decode()
    assert [word for word in PERSONAL if word in written] == []


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_is_numbered_from_its_first_turn_to_its_answer(
    world: World, stream: bool
) -> None:
    """The same values have the same placeholders, streamed or not."""
    event = ask(world, stream=stream)
    assert [message.content for message in event.messages] == [
        "You write to [EMAIL_1].",
        "I am [NAME_1], [EMAIL_2], [CUSTOMER_1]. Who is [EMAIL_1]?",
    ]
    assert event.answer == "Hello [NAME_1], [EMAIL_1] is ours; [CUSTOMER_1] and [EMAIL_3] are not."
    assert event.redactions["[EMAIL_1]"] == fingerprint(
        KEYS.subject, event.interaction_id, "EMAIL", MAIL
    )
    assert_clean(event)


def test_long_conversations_are_numbered_alike(world: World) -> None:
    """Redaction moves to a thread for them, and gives the same placeholders."""
    world.engine.reply = lambda _model, _prompt: f"{'x' * 18_000} {ANSWER}"
    event = ask(world)
    assert event.answer.endswith("[CUSTOMER_1] and [EMAIL_3] are not.")
    assert_clean(event)


def test_parameters_are_redacted(world: World) -> None:
    """A stop text and a tool's description hold what people wrote."""
    tool = {"type": "function", "function": {"name": "mail", "description": f"Mail {MAIL}"}}
    event = ask(world, stop=["bob@example.org"], tools=[tool], temperature=0.5)
    assert event.parameters["stop"] == ["[EMAIL_2]"]
    assert event.parameters["tools"][0]["function"]["description"] == "Mail [EMAIL_1]"
    assert event.parameters["temperature"] == 0.5
    assert_clean(event)


def test_the_engines_error_is_redacted(world: World) -> None:
    """An engine that quotes the request in its fault does not get it into the log."""
    world.engine.fail_next(500, path="chat", message=f"cannot serve {MAIL}")
    event = ask(world)
    assert event.status == "error"
    assert "[EMAIL_1]" in (event.error or "")
    assert_clean(event)


def test_an_error_inside_a_stream_is_redacted(world: World) -> None:
    """What was said before it, and the fault itself."""
    world.engine.stream_fault = f"out of memory for {MAIL}"
    event = ask(world, stream=True)
    assert "[EMAIL_1]" in (event.error or "")
    assert_clean(event)


def test_a_correction_is_aligned_with_the_answer_it_corrects(world: World) -> None:
    """The feedback's own numbers, made without the interaction, become the interaction's."""
    answer = world.post("/v1/chat/completions", {"model": "base", "messages": ASKED})
    correction = {
        "receipt": answer.headers["x-ratchet-receipt"],
        "kind": "correction",
        "value": f"bob@example.org is ours, {MAIL} and zoe@example.org are not.",
    }
    assert world.post("/v1/feedback", correction).status_code == 201
    interaction = world.wait_for_event()
    (record,) = world.log.read(FEEDBACK_TOPIC, after=0, limit=10)
    given = decode(record.topic, record.value)
    assert isinstance(given, FeedbackGiven)
    assert given.text == "[EMAIL_1] is ours, [EMAIL_2] and [EMAIL_3] are not."
    assert aligned(given.text, given.redactions, interaction.redactions) == (
        "[EMAIL_2] is ours, [EMAIL_1] and [EMAIL_4] are not."
    )


def test_metadata_only_writes_no_words_of_an_error(world: World) -> None:
    """They may quote the request; that there was an error stays."""
    world.engine.fail_next(500, path="chat", message=f"cannot serve {MAIL}")
    event = ask(world, api_key="bank-key")
    assert (event.status, event.error) == ("error", "")


@pytest.mark.parametrize("stream", [False, True])
def test_metadata_only_writes_no_text_at_all(world: World, stream: bool) -> None:
    """Neither of people nor of the engine; numbers stay."""
    event = ask(world, api_key="bank-key", stream=stream, stop=[MAIL], temperature=0.5)
    assert [message.content for message in event.messages] == ["", ""]
    assert (event.answer, event.redactions) == ("", {})
    assert event.parameters == {"temperature": 0.5}
    assert event.completion_tokens
    assert_clean(event)


def test_a_shadow_is_redacted_like_the_answer_it_copies(tmp_path: Path) -> None:
    """The unseen answer is an interaction of its own, with fingerprints of its own."""

    def prepare(world: World) -> None:
        world.add_live_adapter()
        world.add_adapter(CANARY)
        world.add_rollout(share=0.0, state="shadow")
        world.engine.reply = lambda _model, _prompt: "Mail ann@example.org"

    with open_world(tmp_path, prepare=prepare, changes={"canary": {"shadow_share": 1.0}}) as world:
        world.post("/v1/chat/completions", {"model": APPLICATION, "messages": ASKED})
        world.engine.wait_until(lambda: len(world.events()) == 2)
        seen, shadow = world.events()
    assert shadow.shadow_of == seen.interaction_id
    assert (shadow.messages, shadow.answer) == (seen.messages, seen.answer)
    assert seen.answer == "Mail [EMAIL_1]"
    assert shadow.redactions.keys() == seen.redactions.keys()
    assert set(shadow.redactions.values()).isdisjoint(seen.redactions.values())
