"""How answers and streams of each dialect are read: texts, tool calls, reasons, faults."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.errors import EngineError, EngineUnavailable
from feedback.events import Message
from serving.dialects.chat import CHAT, COMPLETIONS
from serving.dialects.messages import MESSAGES
from serving.dialects.protocol import Dialect, Fate, Said, StreamReader, stamped
from serving.dialects.responses import RESPONSES
from serving.requests import logged_parameters, parse
from serving.sse import data_event, data_of

STAMP = {"interaction": "i", "receipt": "r", "adapter": "base"}
TURNS = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT.path: {"messages": TURNS},
    COMPLETIONS.path: {"prompt": "Hi"},
    RESPONSES.path: {"input": "Hi"},
    MESSAGES.path: {"messages": TURNS, "max_tokens": 5},
}


def request_of(dialect: Dialect, **fields: Any) -> Any:
    body = {"model": "shop", "stream": True} | BODIES[dialect.path] | fields
    return parse(msgspec.json.encode(body), dialect.request)


def reader_of(dialect: Dialect, **fields: Any) -> StreamReader:
    assert dialect.open_stream is not None
    return dialect.open_stream(request_of(dialect, **fields))


def read(reader: StreamReader, *events: tuple[str | None, dict[str, Any]]) -> list[Fate]:
    return [reader.read(data_event({"type": name} | data, name)) for name, data in events]


def whole(dialect: Dialect, **answer: Any) -> Said:
    return dialect.read_answer(msgspec.json.encode(answer))


def test_a_stamp_changes_no_other_byte() -> None:
    """Numbers, spaces and escapes stay as the engine wrote them."""
    raw = b'{"a": 1.50, "b": "\\u00e9", "c": {}}\n'
    assert stamped(raw, {"x": 1}) == b'{"a": 1.50, "b": "\\u00e9", "c": {},"ratchet":{"x":1}}'


def test_a_chat_keeps_its_first_choice() -> None:
    """Text, finish reason and counts of choice 0; other choices are only passed on."""
    reader = reader_of(CHAT)
    fates = [
        reader.read(data_event({"id": "c1", "choices": [choice]}))
        for choice in (
            {"index": 0, "delta": {"role": "assistant", "content": ""}},
            {"index": 0, "delta": {"content": "Hello"}},
            {"index": 1, "delta": {"content": "other"}, "finish_reason": "length"},
            {"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"},
        )
    ]
    counts = {"prompt_tokens": 3, "completion_tokens": 2}
    fates.append(reader.read(data_event({"choices": [], "usage": counts})))
    fates.append(reader.read(b": keep-alive\n\n"))
    fates.append(reader.read(b"data: [DONE]\n\n"))
    assert fates == [Fate.PASS] * 4 + [Fate.DROP, Fate.PASS, Fate.END]
    assert reader.transcript.said() == Said("Hello!", "stop", 3, 2)
    last = reader.last(STAMP)
    assert last.endswith(b"data: [DONE]\n\n")
    assert msgspec.json.decode(data_of(last.partition(b"\n\n")[0] + b"\n\n"))["id"] == "c1"


def test_counts_that_were_asked_for_pass() -> None:
    """With `include_usage` the chunk without choices is the client's."""
    reader = reader_of(CHAT, stream_options={"include_usage": True})
    event = data_event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    assert reader.read(event) is Fate.PASS


def test_a_tool_call_is_kept_as_text() -> None:
    """Its name and the pieces of its arguments, in each dialect."""
    chat, responses, messages = reader_of(CHAT), reader_of(RESPONSES), reader_of(MESSAGES)
    for function in (
        {"name": "track", "arguments": ""},
        {"arguments": '{"id"'},
        {"arguments": ": 7}"},
    ):
        delta = {"tool_calls": [{"index": 0, "function": function}]}
        chat.read(data_event({"choices": [{"index": 0, "delta": delta}]}))
    read(
        responses,
        ("response.output_item.added", {"item": {"type": "function_call", "name": "track"}}),
        ("response.function_call_arguments.delta", {"delta": '{"id"'}),
        ("response.function_call_arguments.delta", {"delta": ": 7}"}),
        ("response.function_call_arguments.done", {"arguments": '{"id": 7}'}),
    )
    read(
        messages,
        ("content_block_start", {"content_block": {"type": "tool_use", "name": "track"}}),
        ("content_block_delta", {"delta": {"type": "input_json_delta", "partial_json": '{"id"'}}),
        ("content_block_delta", {"delta": {"type": "input_json_delta", "partial_json": ": 7}"}}),
    )
    texts = [reader.transcript.text for reader in (chat, responses, messages)]
    assert texts == ['track{"id": 7}'] * 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"output": [], "status": "completed"}, Said("", "stop")),
        (
            {
                "output": [
                    {"type": "reasoning", "content": [{"type": "text", "text": "hm"}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
                ],
                "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
                "usage": {"input_tokens": 3, "output_tokens": 2},
            },
            Said("Hello", "length", 3, 2),
        ),
        (
            {
                "output": [{"type": "function_call", "name": "f", "arguments": "{}"}],
                "status": "completed",
            },
            Said('[{"name":"f","arguments":"{}"}]', "tool_calls"),
        ),
        (
            {"output": [], "incomplete_details": {"reason": "content_filter"}},
            Said("", "content_filter"),
        ),
    ],
)
def test_a_response_is_read(answer: dict[str, Any], said: Said) -> None:
    """Texts without the reasoning, calls as JSON, and OpenAI's older reasons."""
    assert whole(RESPONSES, **answer) == said


@pytest.mark.parametrize(
    ("reason", "logged"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        (None, None),
    ],
)
def test_anthropics_reasons_are_logged_in_openais_words(
    reason: str | None, logged: str | None
) -> None:
    """Curation learns from whole answers only, and knows them by one name."""
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}]
    assert whole(MESSAGES, content=content, stop_reason=reason) == Said("Hello", logged)


def test_a_tool_use_is_read_as_json() -> None:
    """An answer without text is its calls."""
    content = [{"type": "tool_use", "name": "f", "input": {"a": 1}}]
    assert whole(MESSAGES, content=content).text == '[{"name":"f","input":{"a":1}}]'


def test_a_failed_response_is_the_engines_fault() -> None:
    """Status 200 with `failed` inside is no answer."""
    with pytest.raises(EngineError, match="out of memory"):
        whole(RESPONSES, output=[], status="failed", error={"message": "out of memory"})


@pytest.mark.parametrize(
    ("dialect", "name", "data"),
    [
        (CHAT, None, {"error": {"message": "out of memory"}}),
        (RESPONSES, "error", {"message": "out of memory"}),
        (RESPONSES, "error", {"error": {"message": "out of memory"}}),
        (
            RESPONSES,
            "response.failed",
            {
                "response": {
                    "output": [],
                    "status": "failed",
                    "error": {"message": "out of memory"},
                }
            },
        ),
        (MESSAGES, "error", {"error": {"type": "x", "message": "out of memory"}}),
    ],
)
def test_a_fault_in_a_stream_is_the_engines(
    dialect: Dialect, name: str | None, data: dict[str, Any]
) -> None:
    """It is held back, whole or not, and told in our own words."""
    reader = reader_of(dialect)
    event = data_event(data, name)
    assert not any(reader.passes(event[:size]) for size in range(len(event)))
    with pytest.raises(EngineError, match="out of memory"):
        reader.read(event)


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES])
def test_an_unreadable_event_is_the_engines_fault(dialect: Dialect) -> None:
    """Data that are no JSON do not pass as an answer."""
    with pytest.raises(EngineError, match="cannot be read"):
        reader_of(dialect).read(b"data: {oops\n\n")


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES])
def test_an_error_event_has_message_and_stamp(dialect: Dialect) -> None:
    """Where the dialect's clients look for them."""
    event = reader_of(dialect).error(EngineUnavailable("try again"), STAMP)
    told = msgspec.json.decode(data_of(event))
    assert told["error"]["message"] == "try again"
    assert told["ratchet"] == STAMP


def test_a_response_is_stamped_twice() -> None:
    """In the last event, and in the response that clients keep of it."""
    reader = reader_of(RESPONSES)
    answer = {"id": "r1", "output": [], "status": "completed"}
    assert read(reader, ("response.completed", {"response": answer})) == [Fate.END]
    last = msgspec.json.decode(data_of(reader.last(STAMP)))
    assert last["ratchet"] == last["response"]["ratchet"] == STAMP
    assert last["response"]["id"] == "r1"


def test_a_conversation_of_responses_is_logged_as_turns() -> None:
    """Messages, calls and their results; what the model thought is left out."""
    request = request_of(
        RESPONSES,
        instructions="Be kind.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "42"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        ],
    )
    assert request.logged_messages() == [
        Message("system", "Be kind."),
        Message("user", "Hi"),
        Message("assistant", '[{"name":"f","arguments":"{}"}]'),
        Message("tool", "42"),
        Message("assistant", "No."),
    ]
    assert logged_parameters(request) == {}


def test_a_conversation_of_messages_is_logged_as_turns() -> None:
    """Texts, tool uses and their results, each its own turn."""
    request = request_of(
        MESSAGES,
        system=[{"type": "text", "text": "Be kind."}],
        messages=[
            {"role": "user", "content": "Hi"},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": "42"},
                    {"type": "text", "text": "And?"},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "content": []}]},
        ],
    )
    assert request.logged_messages() == [
        Message("system", "Be kind."),
        Message("user", "Hi"),
        Message("assistant", '[{"name":"f","input":{}}]'),
        Message("tool", "42"),
        Message("user", "And?"),
        Message("tool", ""),
    ]
