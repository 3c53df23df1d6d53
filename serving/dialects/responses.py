"""SERVE: the dialect of POST /v1/responses.

An answer has output items, of which texts and function calls are logged; a stream is named
events, ended by `response.completed`. The stamp goes into that event and into the response that
it holds. The engine keeps no state: what would need it is refused, and `store` is always false.
Knows nothing of HTTP, arms or the log.

Source: OpenAI API reference, "Create a response".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from core.errors import RatchetError
from feedback.events import Message
from serving.dialects.parts import check_type, check_types, text_of
from serving.dialects.protocol import (
    Dialect,
    Fate,
    Said,
    Transcript,
    engine_fault,
    openai_error,
    stamped,
    unreadable,
)
from serving.requests import Count, InferenceRequest, JsonObject, OpenAIRequest, not_kept
from serving.sse import data_event, data_of, name_of, raw_event

ENDS = frozenset({"response.completed", "response.incomplete"})
FAULTS = frozenset({"response.failed", "error"})
TEXT_DELTAS = frozenset({"response.output_text.delta", "response.function_call_arguments.delta"})
ITEM_ADDED = "response.output_item.added"

# A conversation in text and function calls. Others reach for files, stored items or the web.
ITEM_TYPES = frozenset({"message", "function_call", "function_call_output", "reasoning"})
PART_TYPES = frozenset({"input_text", "output_text", "text", "refusal"})


class FunctionTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A function that the application runs; the engine runs no tools of its own here."""

    name: str
    type: Literal["function"]
    parameters: JsonObject | UnsetType | None = UNSET
    description: str | UnsetType | None = UNSET
    strict: bool | UnsetType | None = UNSET


class ResponsesStreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Taken, and not needed: nothing here hides the length of events."""

    include_obfuscation: bool = False


class ResponsesRequest(OpenAIRequest, frozen=True, kw_only=True):
    """The body of POST /v1/responses."""

    KEPT = (
        *(name for name in OpenAIRequest.KEPT if name not in {"metadata", "store"}),
        *("background", "previous_response_id", "conversation", "stream_options"),
    )
    TEXTS = frozenset({"input", "instructions"})

    input: str | Annotated[list[JsonObject], Meta(min_length=1)]
    instructions: str | UnsetType | None = UNSET
    max_output_tokens: Count | UnsetType | None = UNSET
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | UnsetType | None = UNSET
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | UnsetType | None = UNSET
    tools: list[FunctionTool] | UnsetType = UNSET
    tool_choice: str | JsonObject | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    text: JsonObject | UnsetType | None = UNSET
    reasoning: JsonObject | UnsetType | None = UNSET
    include: list[Literal["message.output_text.logprobs"]] | UnsetType | None = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType = UNSET
    truncation: Literal["auto", "disabled"] | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    stream_options: ResponsesStreamOptions | UnsetType | None = UNSET
    background: bool | UnsetType | None = UNSET
    previous_response_id: str | UnsetType | None = UNSET
    conversation: str | JsonObject | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        for name in ("store", "background", "previous_response_id", "conversation"):
            if getattr(self, name):
                raise not_kept(name)
        for number, item in enumerate(self._items()):
            check_type(f"input[{number}]", item, ITEM_TYPES, default="message")
            content = item.get("content")
            if isinstance(content, list):
                check_types(f"input[{number}].content", content, PART_TYPES)

    def logged_messages(self) -> list[Message]:
        """Return the instructions and turns as text, as they are logged."""
        turns = [Message("system", self.instructions)] if self.instructions else []
        if isinstance(self.input, str):
            return [*turns, Message("user", self.input)]
        return turns + [_message(item) for item in self.input if item.get("type") != "reasoning"]

    def is_streamed(self) -> bool:
        """Return whether the client wants its answer in pieces."""
        return bool(self.stream)

    def changed_for_engine(self) -> dict[str, Any]:
        """Return the fields that the engine gets otherwise; nothing is to be stored there."""
        return super().changed_for_engine() | {"store": False}

    def _items(self) -> list[JsonObject]:
        return [] if isinstance(self.input, str) else self.input


class _Item(msgspec.Struct):
    type: str = ""
    name: str | None = None
    arguments: str | None = None
    content: list[JsonObject] | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Reason(msgspec.Struct):
    reason: str | None = None


class _Fault(msgspec.Struct):
    message: str | None = None


class _Response(msgspec.Struct):
    output: list[_Item]
    status: str | None = None
    incomplete_details: _Reason | None = None
    usage: _Usage | None = None
    error: _Fault | None = None


class _Event(msgspec.Struct):
    """The part of an event that Ratchet reads."""

    sequence_number: int = 0
    delta: str | None = None
    item: _Item | None = None
    response: _Response | None = None
    message: str | None = None
    error: _Fault | None = None


_RESPONSE = msgspec.json.Decoder(_Response)
_EVENT = msgspec.json.Decoder(_Event)


def read_answer(raw: bytes) -> Said:
    """Return what a whole response says."""
    return _said(_RESPONSE.decode(raw))


class ResponsesStream:
    """Reads the events of one stream."""

    def __init__(self, _request: InferenceRequest) -> None:
        self.transcript = Transcript()
        self._sequence_number = 0
        self._end: tuple[str, bytes] = ("", b"")

    def passes(self, start: bytes) -> bool:
        """Return whether it is an event that neither ends the stream nor tells of a fault."""
        name = name_of(start)
        return name is not None and name not in ENDS and name not in FAULTS

    def read(self, event: bytes) -> Fate:
        """Take in a whole event; return what becomes of it.

        Raises: EngineError when it tells of a fault, or cannot be read.
        """
        name, data = name_of(event) or "", data_of(event)
        if not data:
            return Fate.PASS
        try:
            said = _EVENT.decode(data)
        except msgspec.DecodeError as error:
            raise unreadable(error) from error
        if name in FAULTS:
            raise engine_fault(_fault_message(said))
        self._sequence_number = said.sequence_number
        self._add(name, said)
        if name not in ENDS:
            return Fate.PASS
        self._end = (name, data)
        return Fate.END

    def last(self, stamp: dict[str, Any]) -> bytes:
        """Return the engine's last event with the stamp in it, and in its response."""
        name, data = self._end
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        if "response" in members:
            members["response"] = msgspec.Raw(stamped(bytes(members["response"]), stamp))
        return raw_event(stamped(msgspec.json.encode(members), stamp), name)

    def error(self, error: RatchetError, stamp: dict[str, Any]) -> bytes:
        """Return the event that tells the client why its stream ends here.

        With the fields of OpenAI's reference, and under `error` again: that is where its
        clients look for what to raise.
        """
        body = openai_error(error)
        event = {
            "type": "error",
            "code": error.code,
            "message": error.message,
            "param": error.field,
            "sequence_number": self._sequence_number + 1,
            "error": body,
            "ratchet": stamp,
        }
        return data_event(event, "error")

    def _add(self, name: str, event: _Event) -> None:
        if name in TEXT_DELTAS:
            self.transcript.add(event.delta)
        elif name == ITEM_ADDED and event.item is not None:
            self.transcript.add(event.item.name)
        elif name in ENDS and event.response is not None:
            said = _said(event.response)
            self.transcript.finish_reason = said.finish_reason
            self.transcript.prompt_tokens = said.prompt_tokens
            self.transcript.completion_tokens = said.completion_tokens


def _said(response: _Response) -> Said:
    """Return what a response says.

    Raises: EngineError when it says that it failed.
    """
    if response.status == "failed":
        raise engine_fault(response.error.message if response.error else None)
    usage = response.usage or _Usage()
    return Said(
        _output_text(response.output),
        _finish_reason(response),
        usage.input_tokens,
        usage.output_tokens,
    )


def _output_text(output: list[_Item]) -> str:
    text = "".join(text_of(item.content) for item in output if item.type == "message")
    calls = [
        {"name": item.name, "arguments": item.arguments}
        for item in output
        if item.type == "function_call"
    ]
    return text if text or not calls else msgspec.json.encode(calls).decode()


def _finish_reason(response: _Response) -> str | None:
    """Return OpenAI's reason of the chat endpoint for a response's status."""
    if response.incomplete_details is not None:
        reason = response.incomplete_details.reason
        return "length" if reason == "max_output_tokens" else reason
    if any(item.type == "function_call" for item in response.output):
        return "tool_calls"
    return "stop" if response.status == "completed" else response.status


def _fault_message(event: _Event) -> str | None:
    inner = event.error or (event.response.error if event.response else None)
    return event.message or (inner.message if inner else None)


def _message(item: JsonObject) -> Message:
    match item.get("type"):
        case "function_call":
            call = {"name": item.get("name"), "arguments": item.get("arguments")}
            return Message("assistant", msgspec.json.encode([call]).decode())
        case "function_call_output":
            return Message("tool", text_of(item.get("output")))
        case _:
            return Message(str(item.get("role") or "user"), text_of(item.get("content")))


RESPONSES = Dialect("/v1/responses", ResponsesRequest, read_answer, ResponsesStream)
