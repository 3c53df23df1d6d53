"""SERVE: the dialect of POST /v1/messages, which Anthropic's clients speak.

An answer has content blocks, of which texts and tool uses are logged; a stream is named events,
ended by `message_stop`, which carries the stamp. Errors have a shape of their own. Knows nothing
of HTTP, arms or the log.

Source: Anthropic API reference, "Create a Message", "Streaming Messages" and "Errors".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from core.errors import RatchetError
from feedback.events import Message
from serving.dialects.parts import check_types, text_of
from serving.dialects.protocol import (
    Dialect,
    Fate,
    Said,
    Transcript,
    engine_fault,
    unreadable,
)
from serving.requests import Count, InferenceRequest, JsonObject, ShortText
from serving.sse import data_event, data_of, name_of

END = "message_stop"
FAULT = "error"
PASSED = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "ping",
    }
)

BLOCK_TYPES = frozenset({"text", "tool_use", "tool_result", "thinking", "redacted_thinking"})

# Curation knows whole answers by OpenAI's names
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}

Content = str | list[JsonObject]


class AnthropicMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn: a text, or blocks."""

    role: Literal["user", "assistant"]
    content: Content

    def logged(self) -> list[Message]:
        """Return it as text; the results of tools are turns of their own."""
        if isinstance(self.content, str):
            return [Message(self.role, self.content)]
        turns = [
            Message("tool", text_of(block.get("content")))
            for block in self.content
            if block.get("type") == "tool_result"
        ]
        text = text_of(self.content) or _tool_uses(self.content)
        return [*turns, Message(self.role, text)] if text or not turns else turns


class AnthropicMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who the end user is."""

    user_id: ShortText | None = None


class AnthropicTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that the application runs. Fields we do not know (for caches, say) are dropped."""

    name: str
    input_schema: JsonObject
    description: str | UnsetType | None = UNSET
    type: Literal["custom"] | UnsetType | None = UNSET


class MessagesRequest(InferenceRequest, frozen=True, kw_only=True):
    """The body of POST /v1/messages."""

    KEPT = ("metadata", "service_tier", "cache_control")
    TEXTS = frozenset({"messages", "system", *KEPT})

    max_tokens: Count
    messages: Annotated[list[AnthropicMessage], Meta(min_length=1)]
    system: Content | UnsetType | None = UNSET
    metadata: AnthropicMetadata | UnsetType | None = UNSET
    stop_sequences: Annotated[list[str], Meta(max_length=16)] | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    temperature: Annotated[float, Meta(ge=0.0, le=1.0)] | UnsetType | None = UNSET
    top_k: Annotated[int, Meta(ge=1, le=2**31)] | UnsetType | None = UNSET
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | UnsetType | None = UNSET
    tools: list[AnthropicTool] | UnsetType | None = UNSET
    tool_choice: JsonObject | UnsetType | None = UNSET
    thinking: JsonObject | UnsetType | None = UNSET
    output_config: JsonObject | UnsetType | None = UNSET
    cache_control: JsonObject | UnsetType | None = UNSET  # the engine caches prefixes anyway
    service_tier: Literal["auto", "standard_only"] | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if isinstance(self.system, list):
            check_types("system", self.system, {"text"})
        for number, turn in enumerate(self.messages):
            if isinstance(turn.content, list):
                _check_blocks(f"messages[{number}].content", turn.content)

    def logged_messages(self) -> list[Message]:
        """Return the system prompt and the turns as text, as they are logged."""
        system = [Message("system", text_of(self.system))] if self.system else []
        return system + [message for turn in self.messages for message in turn.logged()]

    def end_user(self) -> str | None:
        """Return the application's name for its end user, if it gave one."""
        return (self.metadata.user_id if self.metadata else None) or None

    def is_streamed(self) -> bool:
        """Return whether the client wants its answer in pieces."""
        return bool(self.stream)


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Answer(msgspec.Struct):
    content: list[JsonObject]
    stop_reason: str | None = None
    usage: _Usage | None = None


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Block(msgspec.Struct):
    name: str | None = None


class _Fault(msgspec.Struct):
    message: str | None = None


class _Event(msgspec.Struct):
    """The part of an event that Ratchet reads."""

    delta: _Delta | None = None
    content_block: _Block | None = None
    usage: _Usage | None = None
    error: _Fault | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_EVENT = msgspec.json.Decoder(_Event)


def read_answer(raw: bytes) -> Said:
    """Return what a whole answer says."""
    answer = _ANSWER.decode(raw)
    usage = answer.usage or _Usage()
    return Said(
        text_of(answer.content) or _tool_uses(answer.content),
        _finish_reason(answer.stop_reason),
        usage.input_tokens,
        usage.output_tokens,
    )


def anthropic_error(status: int, message: str) -> dict[str, Any]:
    """Return an error's body as Anthropic's clients read it."""
    kind = ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


class MessagesStream:
    """Reads the events of one stream."""

    def __init__(self, _request: InferenceRequest) -> None:
        self.transcript = Transcript()

    def passes(self, start: bytes) -> bool:
        """Return whether it is an event that neither ends the stream nor tells of a fault."""
        return name_of(start) in PASSED

    def read(self, event: bytes) -> Fate:
        """Take in a whole event; return what becomes of it.

        Raises: EngineError when it tells of a fault, or cannot be read.
        """
        name, data = name_of(event), data_of(event)
        if name == END:
            return Fate.END
        if not data:
            return Fate.PASS
        try:
            said = _EVENT.decode(data)
        except msgspec.DecodeError as error:
            raise unreadable(error) from error
        if name == FAULT or said.error is not None:
            raise engine_fault(said.error.message if said.error else None)
        self._add(said)
        return Fate.PASS

    def last(self, stamp: dict[str, Any]) -> bytes:
        """Return the event that ends a message, with the stamp in it."""
        return data_event({"type": END, "ratchet": stamp}, END)

    def error(self, error: RatchetError, stamp: dict[str, Any]) -> bytes:
        """Return the event that tells the client why its stream ends here."""
        return data_event(
            anthropic_error(error.http_status, error.message) | {"ratchet": stamp}, FAULT
        )

    def _add(self, event: _Event) -> None:
        transcript = self.transcript
        if event.content_block is not None:
            transcript.add(event.content_block.name)
        if event.delta is not None:
            transcript.add(event.delta.text or event.delta.partial_json)
            reason = _finish_reason(event.delta.stop_reason)
            transcript.finish_reason = reason or transcript.finish_reason
        if event.usage is not None:
            transcript.prompt_tokens = event.usage.input_tokens
            transcript.completion_tokens = event.usage.output_tokens


def _check_blocks(path: str, blocks: list[JsonObject]) -> None:
    check_types(path, blocks, BLOCK_TYPES)
    for number, block in enumerate(blocks):
        inner = block.get("content")
        if isinstance(inner, list):
            check_types(f"{path}[{number}].content", inner, {"text"})


def _finish_reason(reason: str | None) -> str | None:
    return None if reason is None else FINISH_REASONS.get(reason, reason)


def _tool_uses(blocks: list[JsonObject]) -> str:
    """Return the tool calls among the blocks as JSON; empty if there are none."""
    calls = [
        {"name": block.get("name"), "input": block.get("input")}
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    return msgspec.json.encode(calls).decode() if calls else ""


MESSAGES = Dialect("/v1/messages", MessagesRequest, read_answer, MessagesStream)
