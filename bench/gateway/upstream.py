"""A mock of vLLM's HTTP interface that costs next to nothing and keeps time.

Requests come in, canned answers go out at the pace that was set: a whole answer after
`answer_s`, a stream's first event after `first_token_s` and one more each `token_pause_s`; the
pauses are left out for a request with `"seed": 1`. Streams are chunked, one write for each
event, as vLLM's are. Knows nothing of targets.

    .venv/bin/python -m bench.gateway.upstream --port 8100 [--answer-s 0.02] [--events 65]
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.gateway.poller import Poller

MODEL = "base"
RECEIVE_BYTES = 1 << 16
CLOSE_WITHIN_S = 0.1
WORDS = "To reset your password open Settings choose Security then Reset and follow the link sent"


@dataclass(frozen=True)
class Timing:
    """How fast the mock answers, and in how many events (`[DONE]` is one of them)."""

    # A short answer. Longer ones only add open connections, the same for all targets.
    answer_s: float = 0.02
    # About what a model of 8 billion parameters does on one data-centre GPU under load.
    first_token_s: float = 0.05
    token_pause_s: float = 0.01
    events: int = 65  # DESIGN, section 4: streams were measured with so many


@dataclass
class Caller:
    """One connection: what was received of the next request."""

    connection: socket.socket
    buffer: bytes = b""


@dataclass(order=True)
class Write:
    """Bytes of one answer that go out one after the other, `pause_s` apart, from `due_s` on."""

    due_s: float
    order: int
    caller: Caller = field(compare=False)
    pieces: Sequence[bytes] = field(compare=False)
    pause_s: float = field(compare=False, default=0.0)
    sent: int = field(compare=False, default=0)


class Upstream:
    """The mock on a listening socket; `serve` returns after `close`."""

    def __init__(self, listener: socket.socket, timing: Timing) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._timing = timing
        self._poller = Poller()
        self._poller.add(listener)
        self._callers: dict[int, Caller] = {}
        self._writes: list[Write] = []
        self._order = itertools.count()
        self._whole = [response(whole_answer(timing.events))]
        self._streams = {usage: stream_pieces(timing.events, usage) for usage in (False, True)}
        self._models = [response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})]
        self._empty = [response({})]
        self._closing = False

    def close(self) -> None:
        """Let `serve` hang up on everyone and return, within `CLOSE_WITHIN_S`."""
        self._closing = True

    def serve(self) -> None:
        """Answer until the process ends, or another thread closes the mock."""
        while not self._closing:
            for number in self._poller.ready(self._wait_s()):
                if number == self._listener.fileno():
                    self._accept()
                elif caller := self._callers.get(number):
                    self._receive(caller)
            self._send_due()
        for caller in list(self._callers.values()):
            self._hang_up(caller)

    def _wait_s(self) -> float:
        if not self._writes:
            return CLOSE_WITHIN_S
        return min(CLOSE_WITHIN_S, max(0.0, self._writes[0].due_s - time.perf_counter()))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._callers[connection.fileno()] = Caller(connection)
            self._poller.add(connection)

    def _receive(self, caller: Caller) -> None:
        try:
            received = caller.connection.recv(RECEIVE_BYTES)
        except ConnectionError:
            received = b""
        if not received:
            self._hang_up(caller)
            return
        caller.buffer += received
        while request := _take_request(caller):
            self._plan(caller, *request)

    def _plan(self, caller: Caller, head: bytes, body: bytes) -> None:
        timing = self._timing
        delay_s, pause_s = 0.0, 0.0
        if head.startswith(b"POST"):
            spaceless = body.replace(b" ", b"")
            if b'"stream":true' in spaceless:
                pieces = self._streams[b'"include_usage":true' in spaceless]
                if b'"seed":1' not in spaceless:
                    delay_s, pause_s = timing.first_token_s, timing.token_pause_s
            else:
                pieces, delay_s = self._whole, timing.answer_s
        else:
            pieces = self._models if b"/v1/models" in head[:40] else self._empty
        due_s = time.perf_counter() + delay_s
        heapq.heappush(self._writes, Write(due_s, next(self._order), caller, pieces, pause_s))

    def _send_due(self) -> None:
        now_s = time.perf_counter()
        while self._writes and self._writes[0].due_s <= now_s:
            write = self._writes[0]
            piece = write.pieces[write.sent]
            write.sent += 1
            if self._send(write.caller, piece) and write.sent < len(write.pieces):
                write.due_s += write.pause_s
                write.order = next(self._order)
                heapq.heapreplace(self._writes, write)
            else:
                heapq.heappop(self._writes)

    def _send(self, caller: Caller, piece: bytes) -> bool:
        """Return whether it went; a caller that left, or reads nothing at all, is hung up on."""
        if caller.connection.fileno() < 0:
            return False
        try:
            whole = caller.connection.send(piece) == len(piece)
        except (BlockingIOError, ConnectionError):
            whole = False
        if not whole:
            self._hang_up(caller)
        return whole

    def _hang_up(self, caller: Caller) -> None:
        self._callers.pop(caller.connection.fileno(), None)
        self._poller.remove(caller.connection)
        caller.connection.close()


def _take_request(caller: Caller) -> tuple[bytes, bytes] | None:
    """Take the first whole request out of the buffer: its head and its body."""
    end = caller.buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head, body_at = caller.buffer[:end], end + 4
    after = body_at + content_length(head)
    if len(caller.buffer) < after:
        return None
    body, caller.buffer = caller.buffer[body_at:after], caller.buffer[after:]
    return head, body


def content_length(head: bytes) -> int:
    """Return the length that an HTTP head tells, 0 if none."""
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def response(value: Any) -> bytes:
    """Return a JSON answer with its head."""
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def whole_answer(events: int) -> dict[str, Any]:
    """Return a chat completion with as many tokens as a stream of `events` events has."""
    text = "".join(_tokens(events))
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 80, "completion_tokens": events - 3, "total_tokens": events + 77}
    return {**_head("chat.completion"), "choices": [choice], "usage": usage}


def stream_pieces(events: int, with_usage: bool) -> list[bytes]:
    """Return the writes of a stream of `events` events, one more with the usage if asked for."""
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": token}, None) for token in _tokens(events)]
    deltas += [({}, "stop")]
    head = _head("chat.completion.chunk")
    values: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        for delta, finish in deltas
    ]
    if with_usage:
        usage = {"prompt_tokens": 80, "completion_tokens": events - 3, "total_tokens": events + 77}
        values += [{**head, "choices": [], "usage": usage}]
    texts = [json.dumps(value) for value in values] + ["[DONE]"]
    chunks = [_chunk(f"data: {text}\n\n".encode()) for text in texts]
    opening = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    return [opening + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"]


def _tokens(events: int) -> list[str]:
    """Return the words of an answer: all events but role, finish reason and `[DONE]`."""
    return [f"{word} " for word in itertools.islice(itertools.cycle(WORDS.split()), events - 3)]


def _head(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-mock", "object": kind, "created": 1_750_000_000, "model": MODEL}


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def main() -> None:
    """Serve on a port of the loopback."""
    usual = Timing()
    parser = argparse.ArgumentParser(description="a mock of vLLM's HTTP interface")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer-s", type=float, default=usual.answer_s)
    parser.add_argument("--first-token-s", type=float, default=usual.first_token_s)
    parser.add_argument("--token-pause-s", type=float, default=usual.token_pause_s)
    parser.add_argument("--events", type=int, default=usual.events)
    asked = parser.parse_args()
    timing = Timing(asked.answer_s, asked.first_token_s, asked.token_pause_s, asked.events)
    with socket.create_server(("127.0.0.1", asked.port), backlog=4096) as listener:
        Upstream(listener, timing).serve()


if __name__ == "__main__":
    main()
