"""SERVE: what applications may send, as types; everything else is refused by name.

JSON bytes come in, a validated request comes out, which knows how to write itself for the
engine. An allow-list, because vLLM takes further fields (prompts as embeddings, `lora_request`,
priorities) that would reach past the gateway. `user` and `model` never reach the engine as they
came. Knows nothing of arms or answers.

Source: OpenAI API reference, "Create chat completion" and "Create completion".
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from core.errors import RequestError
from feedback.events import Message

Count = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]
Penalty = Annotated[float, Meta(ge=-2.0, le=2.0)]
ShortText = Annotated[str, Meta(min_length=1, max_length=512)]
StopText = str | Annotated[list[str], Meta(max_length=16)]


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a message; images and sound are not served."""

    text: str
    type: Literal["text"] = "text"


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn. Unknown fields are dropped: clients send back what an answer carried."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType | None = UNSET
    tool_call_id: str | UnsetType = UNSET


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a stream carries besides text."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class _Sampling(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Fields that both endpoints have; what the client left out stays out."""

    model: ShortText
    temperature: Annotated[float, Meta(ge=0.0, le=2.0)] | UnsetType | None = UNSET
    top_p: Annotated[float, Meta(gt=0.0, le=1.0)] | UnsetType | None = UNSET
    max_tokens: Count | UnsetType | None = UNSET
    n: Annotated[int, Meta(ge=1, le=16)] | UnsetType | None = UNSET
    stop: StopText | UnsetType | None = UNSET
    seed: int | UnsetType | None = UNSET
    presence_penalty: Penalty | UnsetType | None = UNSET
    frequency_penalty: Penalty | UnsetType | None = UNSET
    logit_bias: dict[str, float] | UnsetType | None = UNSET
    stream: bool | UnsetType | None = UNSET
    stream_options: StreamOptions | UnsetType | None = UNSET
    user: ShortText | UnsetType | None = UNSET


class ChatRequest(_Sampling, frozen=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_completion_tokens: Count | UnsetType | None = UNSET
    tools: list[dict[str, Any]] | UnsetType | None = UNSET
    tool_choice: str | dict[str, Any] | UnsetType | None = UNSET
    response_format: dict[str, Any] | UnsetType | None = UNSET
    logprobs: bool | UnsetType | None = UNSET
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | UnsetType | None = UNSET

    def logged_messages(self) -> list[Message]:
        """Return the turns as text, as they are logged."""
        return [Message(turn.role, _text(turn)) for turn in self.messages]


class CompletionRequest(_Sampling, frozen=True, kw_only=True):
    """The body of POST /v1/completions; prompts are text, not token ids."""

    prompt: str | Annotated[list[str], Meta(min_length=1, max_length=16)]
    logprobs: Annotated[int, Meta(ge=0, le=5)] | UnsetType | None = UNSET

    def logged_messages(self) -> list[Message]:
        """Return the prompts as text, as they are logged."""
        prompts = [self.prompt] if isinstance(self.prompt, str) else self.prompt
        return [Message("user", prompt) for prompt in prompts]


InferenceRequest = ChatRequest | CompletionRequest
AnyRequest = TypeVar("AnyRequest", ChatRequest, CompletionRequest)

_ENCODER = msgspec.json.Encoder()
_UNLOGGED = frozenset({"model", "messages", "prompt", "user", "stream", "stream_options"})


def parse(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    """Return the request in `body`.

    Raises: RequestError that names the field which is unknown, missing or wrong.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from error
    except msgspec.DecodeError as error:
        raise RequestError(f"the body is not JSON: {error}") from error


def user_of(request: InferenceRequest) -> str | None:
    """Return the application's name for its end user, if it gave one."""
    return request.user or None


def engine_body(request: InferenceRequest, model: str) -> bytes:
    """Return the request as it goes to the engine, for `model`; streams always count tokens."""
    options: StreamOptions | UnsetType = UNSET
    if request.stream:
        asked = request.stream_options or StreamOptions()
        options = msgspec.structs.replace(asked, include_usage=True)
    return _ENCODER.encode(
        msgspec.structs.replace(request, model=model, user=UNSET, stream_options=options)
    )


def wants_usage(request: InferenceRequest) -> bool:
    """Return whether the client asked for the token counts of its stream."""
    return bool(request.stream_options) and request.stream_options.include_usage


def logged_parameters(request: InferenceRequest) -> dict[str, Any]:
    """Return the sampling parameters that the client set, without any text of people."""
    values: dict[str, Any] = msgspec.to_builtins(request)
    return {name: value for name, value in values.items() if name not in _UNLOGGED}


def _text(turn: ChatMessage) -> str:
    if isinstance(turn.content, list):
        return "\n".join(part.text for part in turn.content)
    if not turn.content and turn.tool_calls:
        return _ENCODER.encode(turn.tool_calls).decode()
    return turn.content or ""


def _wrong(message: str) -> RequestError:
    """Return msgspec's complaint with the field's name, as clients know it: `messages[0].role`."""
    text, _, place = message.partition(" - at `$")
    path = place.rstrip("`").lstrip(".")
    named = re.search(r"(unknown|required) field `([^`]+)`", text)
    if named is None:
        return RequestError(f"{path or 'the body'}: {text}", field=path or None)
    field = f"{path}.{named[2]}" if path else named[2]
    mend = "remove it" if named[1] == "unknown" else "add it"
    return RequestError(f"{named[1]} field {field!r}: {mend}", field=field)
