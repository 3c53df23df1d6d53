"""Server-sent events: whole whatever the cuts, unchanged, and read on the side."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import EngineError
from serving import sse
from serving.sse import Splitter, Transcript, data_event, is_done, read_event

STREAM = (
    b'data: {"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    b": keep-alive\n\n"
    b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"Hello \xc3\xa9"}}]}\n\n'
    b'data: {"id":"c1","choices":[{"index":1,"delta":{"content":"other"}}]}\n\n'
    b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"!"},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=12))
def test_events_are_whole_whatever_the_cuts(cuts: list[int]) -> None:
    """Cut anywhere, inside a character too, the same events come out, byte for byte."""
    edges = [0, *sorted(cuts), len(STREAM)]
    splitter = Splitter()
    pieces = [STREAM[low:high] for low, high in pairwise(edges)]
    events = [event for piece in pieces for event in splitter.feed(piece)]
    assert b"".join(events) == STREAM
    assert len(events) == 7
    assert [is_done(event) for event in events] == [False] * 6 + [True]


def test_a_transcript_keeps_the_first_choice() -> None:
    """Text, finish reason and usage of choice 0; other choices are only passed on."""
    transcript = Transcript()
    had_text = [
        transcript.add(chunk)
        for event in Splitter().feed(STREAM)
        if (chunk := read_event(event)) is not None
    ]
    assert transcript.text == "Hello é!"
    assert transcript.finish_reason == "stop"
    assert transcript.usage is not None
    assert (transcript.usage.prompt_tokens, transcript.usage.completion_tokens) == (3, 2)
    assert had_text == [False, True, False, True, False]
    assert transcript.head is not None
    assert transcript.head.id == "c1"


def test_a_tool_call_is_kept_as_text() -> None:
    """Its name and the pieces of its arguments."""
    calls = [{"name": "track", "arguments": ""}, {"arguments": '{"id"'}, {"arguments": ": 7}"}]
    transcript = Transcript()
    for call in calls:
        delta = {"tool_calls": [{"index": 0, "function": call}]}
        chunk = read_event(data_event({"choices": [{"index": 0, "delta": delta}]}))
        assert chunk is not None
        transcript.add(chunk)
    assert transcript.text == 'track{"id": 7}'


def test_an_unreadable_event_is_the_engines_fault() -> None:
    """Data that are no JSON do not pass as an answer."""
    with pytest.raises(EngineError, match="cannot be read"):
        read_event(b"data: {oops\n\n")


def test_a_stream_without_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded when no event ever ends."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10)
    with pytest.raises(EngineError, match="over 10 bytes"):
        Splitter().feed(b"data: this never ends")
