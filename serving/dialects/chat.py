"""SERVE: the dialect of POST /v1/chat/completions and POST /v1/completions.

Two paths, one shape: an answer has choices, of which the first is logged; a stream is chunks,
perhaps one with the token counts, then `[DONE]`. Before that comes a chunk of ours without choices
that carries `ratchet`. Knows nothing of HTTP, arms or the log.

Source: OpenAI API reference, "Create chat completion" and "Create completion".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from core.errors import RatchetError
from feedback.events import Message
from serving.dialects.protocol import (
    Dialect,
    Fate,
    Said,
    Transcript,
    engine_fault,
    openai_error,
    unreadable,
)
from serving.requests import Count, InferenceRequest, JsonObject, OpenAIRequest, Seed
from serving.sse import data_event, data_of

DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"
# A chunk with a choice in it always goes on; quotes inside of strings are escaped, so this is
# found in no text.
HAS_CHOICE = b'"choices":[{'

Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
StopText = str | Annotated[list[str], Meta(max_length=16)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a message; images and sound are not served."""

    text: str
    type: Literal["text"] = "text"


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn. Unknown fields are dropped: clients send back what an answer carried."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | UnsetType = UNSET
    tool_calls: list[JsonObject] | UnsetType | None = UNSET
    tool_call_id: str | UnsetType = UNSET


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a stream carries besides text."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class _Sampling(OpenAIRequest, frozen=True, kw_only=True):
    """Fields that both paths have."""

    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | UnsetType | None = UNSET
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | UnsetType | None = UNSET
    max_tokens: Count | UnsetType | None = UNSET
    n: Annotated[int, Meta(ge=1, le=16)] | UnsetType | None = UNSET
    stop: StopText | UnsetType | None = UNSET
    seed: Seed | UnsetType | None = UNSET
    presence_penalty: Penalty | UnsetType | None = UNSET
    frequency_penalty: Penalty | UnsetType | None = UNSET
    logit_bias: dict[str, float] | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    stream_options: StreamOptions | UnsetType | None = UNSET

    def is_streamed(self) -> bool:
        """Return whether the client wants its answer in pieces."""
        return bool(self.stream)

    def shows_usage(self) -> bool:
        """Return whether the client asked for the token counts of its stream."""
        return bool(self.stream_options) and self.stream_options.include_usage

    def changed_for_engine(self) -> dict[str, Any]:
        """Return the fields that the engine gets otherwise; streams always count tokens."""
        changed = super().changed_for_engine()
        if self.stream:
            asked = self.stream_options or StreamOptions()
            options = msgspec.structs.replace(asked, include_usage=True)
            return changed | {"stream_options": options}
        return changed if self.stream_options is UNSET else changed | {"stream_options": UNSET}


class ChatRequest(_Sampling, frozen=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    KEPT = (*OpenAIRequest.KEPT, "modalities")
    TEXTS = frozenset({"messages"})

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Count | UnsetType | None = UNSET
    tools: list[JsonObject] | UnsetType | None = UNSET
    tool_choice: str | JsonObject | UnsetType | None = UNSET
    parallel_tool_calls: bool | UnsetType | None = UNSET
    response_format: JsonObject | UnsetType | None = UNSET
    reasoning_effort: ReasoningEffort | UnsetType | None = UNSET
    logprobs: bool | UnsetType | None = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType | None = UNSET
    modalities: list[Literal["text"]] | UnsetType | None = UNSET

    def logged_messages(self) -> list[Message]:
        """Return the turns as text, as they are logged."""
        return [Message(turn.role, _turn_text(turn)) for turn in self.messages]


class CompletionRequest(_Sampling, frozen=True, kw_only=True):
    """The body of POST /v1/completions; prompts are text, not token ids."""

    TEXTS = frozenset({"prompt"})

    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=16)]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | UnsetType | None = UNSET

    def logged_messages(self) -> list[Message]:
        """Return the prompts as text, as they are logged."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [Message("user", prompt) for prompt in prompts]


class Usage(msgspec.Struct):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Turn(msgspec.Struct):
    content: str | None = None
    tool_calls: list[JsonObject] | None = None


class _Choice(msgspec.Struct):
    message: _Turn | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: Usage | None = None


class _ToolCallDelta(msgspec.Struct):
    function: JsonObject | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ToolCallDelta] | None = None


class ChunkChoice(msgspec.Struct):
    """One answer's part of a chunk, on either path."""

    index: int = 0
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None

    def added(self) -> str:
        """Return the text, or the part of a tool call, that this adds to the answer."""
        if self.delta is None:
            return self.text or ""
        if self.delta.content:
            return self.delta.content
        calls = [call.function for call in self.delta.tool_calls or [] if call.function]
        return "".join(str(call.get(key) or "") for call in calls for key in ("name", "arguments"))


class _Fault(msgspec.Struct):
    message: str | None = None


class Chunk(msgspec.Struct):
    """The part of an event that Ratchet reads."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    choices: list[ChunkChoice] = []
    usage: Usage | None = None
    error: _Fault | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_CHUNK = msgspec.json.Decoder(Chunk)


def read_answer(raw: bytes) -> Said:
    """Return what the first choice of a whole answer says."""
    answer = _ANSWER.decode(raw)
    first = answer.choices[0] if answer.choices else _Choice()
    usage = answer.usage or Usage()
    return Said(
        _choice_text(first), first.finish_reason, usage.prompt_tokens, usage.completion_tokens
    )


class ChatStream:
    """Reads the chunks of one stream; keeps the text of its first choice."""

    def __init__(self, request: InferenceRequest) -> None:
        self.transcript = Transcript()
        self._shows_usage = request.shows_usage()
        self._head: Chunk | None = None

    def passes(self, start: bytes) -> bool:
        """Return whether it is a chunk with a choice: token counts, faults and ends have none."""
        return HAS_CHOICE in start

    def read(self, event: bytes) -> Fate:
        """Take in a whole event; return what becomes of it.

        Raises: EngineError when it tells of a fault, or cannot be read.
        """
        data = data_of(event)
        if data == DONE:
            return Fate.END
        if not data:  # a comment, by which some servers keep a connection alive
            return Fate.PASS
        try:
            chunk = _CHUNK.decode(data)
        except msgspec.DecodeError as error:
            raise unreadable(error) from error
        if chunk.error is not None:
            raise engine_fault(chunk.error.message)
        self._add(chunk)
        only_usage = chunk.usage is not None and not chunk.choices
        return Fate.DROP if only_usage and not self._shows_usage else Fate.PASS

    def last(self, stamp: dict[str, Any]) -> bytes:
        """Return a chunk without choices that carries the stamp, and `[DONE]`."""
        head = self._head or Chunk()
        chunk = {
            "id": head.id,
            "object": head.object,
            "created": head.created,
            "model": head.model,
            "choices": [],
            "ratchet": stamp,
        }
        return data_event(chunk) + DONE_EVENT

    def error(self, error: RatchetError, stamp: dict[str, Any]) -> bytes:
        """Return the event that tells the client why its stream ends here."""
        return data_event({"error": openai_error(error), "ratchet": stamp})

    def _add(self, chunk: Chunk) -> None:
        transcript = self.transcript
        self._head = self._head or chunk
        if chunk.usage is not None:
            transcript.prompt_tokens = chunk.usage.prompt_tokens
            transcript.completion_tokens = chunk.usage.completion_tokens
        for choice in chunk.choices:
            if choice.index == 0:
                transcript.add(choice.added())
                transcript.finish_reason = choice.finish_reason or transcript.finish_reason


def _turn_text(turn: ChatMessage) -> str:
    if isinstance(turn.content, list):
        return "\n".join(part.text for part in turn.content)
    if not turn.content and turn.tool_calls:
        return msgspec.json.encode(turn.tool_calls).decode()
    return turn.content or ""


def _choice_text(choice: _Choice) -> str:
    if choice.message is None:
        return choice.text or ""
    if choice.message.content or not choice.message.tool_calls:
        return choice.message.content or ""
    return msgspec.json.encode(choice.message.tool_calls).decode()


CHAT = Dialect("/v1/chat/completions", ChatRequest, read_answer, ChatStream)
COMPLETIONS = Dialect("/v1/completions", CompletionRequest, read_answer, ChatStream)
