"""Server-sent events: whole whatever the cuts, and unchanged."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import EngineError
from serving import sse
from serving.sse import Splitter, data_event, data_of, name_of

STREAM = (
    b'data: {"id":"c1","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
    b": keep-alive\n\n"
    b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"Hello \xc3\xa9"}}]}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
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
    assert len(events) == 5
    assert splitter.rest == b""


@pytest.mark.parametrize(
    ("event", "name", "data"),
    [
        (b"data: {}\n\n", None, b"{}"),
        (b"data:{}\n\n", None, b"{}"),
        (b": keep-alive\n\n", None, b""),
        (b"event: ping\ndata: {}\n\n", "ping", b"{}"),
        (b"data: a\ndata: b\n\n", None, b"a\nb"),
        (b"event: ping", None, b""),
    ],
)
def test_an_event_is_read(event: bytes, name: str | None, data: bytes) -> None:
    """Its name, once the first line is whole, and its data, over several lines too."""
    assert (name_of(event), data_of(event)) == (name, data)


def test_an_event_is_written() -> None:
    """With or without a name."""
    assert data_event({"a": 1}) == b'data: {"a":1}\n\n'
    assert data_event({"a": 1}, "ping") == b'event: ping\ndata: {"a":1}\n\n'


def test_a_stream_without_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded when no event ever ends."""
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10)
    with pytest.raises(EngineError, match="over 10 bytes"):
        Splitter().feed(b"data: this never ends")
