"""What applications may send: validated, logged without names, passed on without surprises."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.errors import RequestError
from feedback.events import Message
from serving.dialects.chat import ChatRequest, CompletionRequest
from serving.requests import (
    engine_body,
    logged_parameters,
    parse,
)

CHAT: dict[str, Any] = {"model": "shop", "messages": [{"role": "user", "content": "Hi"}]}


def chat(**fields: Any) -> ChatRequest:
    return parse(msgspec.json.encode(CHAT | fields), ChatRequest)


def sent(request: ChatRequest | CompletionRequest) -> dict[str, Any]:
    return msgspec.json.decode(engine_body(request, "shop--v1"))


def test_every_allowed_field_reaches_the_engine_unchanged() -> None:
    """The allow-list of chat: what the client set is what the engine gets."""
    fields: dict[str, Any] = {
        "temperature": 0.0,
        "top_p": 0.5,
        "max_tokens": 5,
        "max_completion_tokens": 6,
        "stop": ["a", "b"],
        "seed": 7,
        "n": 2,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "logprobs": True,
        "top_logprobs": 3,
        "presence_penalty": 0.0,
        "frequency_penalty": -1.5,
        "logit_bias": {"5": 1.0},
        "stream": False,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    }
    assert sent(chat(**fields)) == CHAT | fields | {"model": "shop--v1"}


def test_what_the_client_left_out_stays_out() -> None:
    """No default of ours shadows a default of the engine's."""
    assert sent(chat()) == CHAT | {"model": "shop--v1"}


def test_what_the_engine_has_no_use_for_stays_here() -> None:
    """Official clients send it; it is taken, not passed on, and not logged."""
    kept: dict[str, Any] = {
        "user": "ann",
        "safety_identifier": "ann",
        "metadata": {"order": "7"},
        "store": False,
        "service_tier": "auto",
        "prompt_cache_key": "k",
        "modalities": ["text"],
    }
    assert sent(chat(**kept)) == CHAT | {"model": "shop--v1"}
    assert logged_parameters(chat(**kept)) == {"modalities": ["text"]}
    assert chat(safety_identifier="ann").end_user() == "ann"


def test_a_stream_always_counts_its_tokens() -> None:
    """The engine is asked for usage, whether or not the client asked."""
    silent, asking = chat(stream=True), chat(stream=True, stream_options={"include_usage": True})
    assert sent(silent)["stream_options"] == {"include_usage": True}
    assert sent(asking)["stream_options"] == {"include_usage": True}
    assert [silent.shows_usage(), asking.shows_usage()] == [False, True]


def test_parameters_are_logged_without_anybodys_text() -> None:
    """Neither messages nor the user's name, but every sampling parameter."""
    request = chat(user="ann", temperature=0.5, stop="x", stream=True)
    assert logged_parameters(request) == {"temperature": 0.5, "stop": "x"}


def test_messages_in_parts_are_logged_as_text() -> None:
    """Parts are joined; a tool call without text is logged as its JSON."""
    request = chat(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "content": "42", "tool_call_id": "1"},
        ]
    )
    assert request.logged_messages() == [
        Message("user", "a\nb"),
        Message("assistant", '[{"id":"1"}]'),
        Message("tool", "42"),
    ]


def test_what_an_answer_carried_may_be_sent_back() -> None:
    """Clients return the whole assistant message; fields we do not know are not passed on."""
    turn = {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []}
    assert sent(chat(messages=[turn]))["messages"] == [{"role": "assistant", "content": "Hi"}]


def test_images_are_refused_by_name() -> None:
    """Only text is served; the error says which part."""
    part = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
    with pytest.raises(RequestError) as caught:
        chat(messages=[{"role": "user", "content": [part]}])
    assert caught.value.field == "messages[0].content[0].type"


def test_prompts_are_text() -> None:
    """One prompt or several; token ids would pass the redaction by."""
    several = parse(b'{"model":"m","prompt":["a","b"]}', CompletionRequest)
    assert several.logged_messages() == [Message("user", "a"), Message("user", "b")]
    with pytest.raises(RequestError) as caught:
        parse(b'{"model":"m","prompt":[1,2]}', CompletionRequest)
    assert caught.value.field == "prompt[0]"
