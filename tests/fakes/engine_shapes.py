"""How the fake engine's answers look, in each dialect: as vLLM 0.32 writes them, shortened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What is said, and how it ends."""

    model: str
    said: list[str]
    cut: bool
    prompt_tokens: int

    @property
    def text(self) -> str:
        return " ".join(self.said)

    def usage(self) -> dict[str, int]:
        """Return OpenAI's token counts."""
        counts = {"prompt_tokens": self.prompt_tokens, "completion_tokens": len(self.said)}
        return counts | {"total_tokens": sum(counts.values())}

    def io_usage(self) -> dict[str, int]:
        """Return the token counts of the newer dialects."""
        return {"input_tokens": self.prompt_tokens, "output_tokens": len(self.said)}


class ChatShape:
    """Chat answers."""

    id = "chatcmpl-fake"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    with_usage = False

    def error(self, status: int, message: str) -> dict[str, Any]:
        body = {"message": message, "type": "FakeError", "param": None, "code": status}
        return {"error": body}

    def whole(self, answer: Answer) -> dict[str, Any]:
        choice = {"index": 0, **self._said(answer.text), "finish_reason": _finish(answer)}
        head = self._head(answer, self.whole_object)
        return head | {"choices": [choice], "usage": answer.usage()}

    def first(self, answer: Answer) -> list[bytes]:
        role = {"index": 0, "delta": {"role": "assistant", "content": ""}}
        return [self._chunk(answer, role)]

    def part(self, answer: Answer, text: str, *, ends: bool) -> bytes:
        finish = _finish(answer) if ends else None
        return self._chunk(answer, {"index": 0, **self._added(text), "finish_reason": finish})

    def fault(self, message: str) -> bytes:
        return _event(self.error(500, message)) + b"data: [DONE]\n\n"

    def last(self, answer: Answer) -> list[bytes]:
        counts = {**self._head(answer, self.chunk_object), "choices": [], "usage": answer.usage()}
        return ([_event(counts)] if self.with_usage else []) + [b"data: [DONE]\n\n"]

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}}

    def _added(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}}

    def _head(self, answer: Answer, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": 1, "model": answer.model}

    def _chunk(self, answer: Answer, choice: dict[str, Any]) -> bytes:
        chunk = {**self._head(answer, self.chunk_object), "choices": [choice]}
        return _event(chunk | ({"usage": None} if self.with_usage else {}))


class TextShape(ChatShape):
    """Text completions."""

    id = "cmpl-fake"
    whole_object = chunk_object = "text_completion"

    def first(self, answer: Answer) -> list[bytes]:
        return []

    def _said(self, text: str) -> dict[str, Any]:
        return {"text": text}

    _added = _said


class ResponsesShape:
    """Responses."""

    with_usage = False

    def __init__(self) -> None:
        self._number = -1

    def error(self, status: int, message: str) -> dict[str, Any]:
        return ChatShape().error(status, message)

    def whole(self, answer: Answer) -> dict[str, Any]:
        return self._response(answer, [self._item(answer.text, "completed")], answer.io_usage())

    def first(self, answer: Answer) -> list[bytes]:
        empty = self._response(answer, [], None) | {"status": "in_progress"}
        part = {"type": "output_text", "text": "", "annotations": []}
        place = {"output_index": 0, "item_id": "msg_fake"}
        return [
            self._named("response.created", {"response": empty}),
            self._named(
                "response.output_item.added",
                {"output_index": 0, "item": self._item(None, "in_progress")},
            ),
            self._named("response.content_part.added", {**place, "content_index": 0, "part": part}),
        ]

    def part(self, answer: Answer, text: str, *, ends: bool) -> bytes:
        place = {"output_index": 0, "item_id": "msg_fake", "content_index": 0, "logprobs": []}
        return self._named("response.output_text.delta", {**place, "delta": text})

    def fault(self, message: str) -> bytes:
        return self._named("error", {"code": "server_error", "message": message, "param": None})

    def last(self, answer: Answer) -> list[bytes]:
        place = {"output_index": 0, "item_id": "msg_fake", "content_index": 0, "logprobs": []}
        item = self._item(answer.text, "completed")
        return [
            self._named("response.output_text.done", {**place, "text": answer.text}),
            self._named("response.content_part.done", {**place, "part": item["content"][0]}),
            self._named("response.output_item.done", {"output_index": 0, "item": item}),
            self._named("response.completed", {"response": self.whole(answer)}),
        ]

    def _response(
        self, answer: Answer, output: list[Any], usage: dict[str, int] | None
    ) -> dict[str, Any]:
        details = {"reason": "max_output_tokens"} if answer.cut else None
        if usage:
            usage = usage | {"total_tokens": sum(usage.values())}
        return {
            "id": "resp_fake",
            "created_at": 1,
            "object": "response",
            "model": answer.model,
            "status": "incomplete" if answer.cut else "completed",
            "incomplete_details": details,
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }

    def _item(self, text: str | None, status: str) -> dict[str, Any]:
        content = [] if text is None else [{"type": "output_text", "text": text, "annotations": []}]
        message = {"id": "msg_fake", "type": "message", "role": "assistant"}
        return message | {"status": status, "content": content}

    def _named(self, name: str, value: dict[str, Any]) -> bytes:
        self._number += 1
        return _event({**value, "sequence_number": self._number, "type": name}, name)


class MessagesShape:
    """Anthropic's messages."""

    with_usage = False

    def error(self, status: int, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": "FakeError", "message": message}}

    def whole(self, answer: Answer) -> dict[str, Any]:
        return {
            **self._head(answer),
            "content": [{"type": "text", "text": answer.text}],
            "stop_reason": self._stop(answer),
            "usage": answer.io_usage(),
        }

    def first(self, answer: Answer) -> list[bytes]:
        usage = answer.io_usage() | {"output_tokens": 0}
        message = {**self._head(answer), "content": [], "stop_reason": None, "usage": usage}
        block = {"type": "text", "text": ""}
        return [
            self._named("message_start", {"message": message}),
            self._named("content_block_start", {"index": 0, "content_block": block}),
        ]

    def part(self, answer: Answer, text: str, *, ends: bool) -> bytes:
        delta = {"type": "text_delta", "text": text}
        return self._named("content_block_delta", {"delta": delta, "index": 0})

    def fault(self, message: str) -> bytes:
        return self._named("error", {"error": {"type": "internal_error", "message": message}})

    def last(self, answer: Answer) -> list[bytes]:
        delta = {"stop_reason": self._stop(answer), "stop_sequence": None}
        return [
            self._named("content_block_stop", {"index": 0}),
            self._named("message_delta", {"delta": delta, "usage": answer.io_usage()}),
            self._named("message_stop", {}),
        ]

    def _head(self, answer: Answer) -> dict[str, Any]:
        return {"id": "msg_fake", "type": "message", "role": "assistant", "model": answer.model}

    def _stop(self, answer: Answer) -> str:
        return "max_tokens" if answer.cut else "end_turn"

    def _named(self, name: str, value: dict[str, Any]) -> bytes:
        return _event({"type": name, **value}, name)


Shape = ChatShape | ResponsesShape | MessagesShape


def _finish(answer: Answer) -> str:
    return "length" if answer.cut else "stop"


def _event(value: dict[str, Any], name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False)  # as vLLM writes it
    return f"{head}data: {data}\n\n".encode()
