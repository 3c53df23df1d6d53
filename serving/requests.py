"""SERVE: what all dialects' requests share; whatever a dialect does not list is refused by name.

JSON bytes come in, a validated request comes out, which knows how to write itself for the
engine. An allow-list, because vLLM takes further fields (prompts as embeddings, `lora_request`,
priorities) that would reach past the gateway. Who the end user is and which name the model was
asked by never reach the engine. Knows nothing of arms or answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from core.errors import RequestError
from feedback.events import Message

Count = Annotated[int, Meta(ge=1, le=2**31)]
ShortText = Annotated[str, Meta(min_length=1, max_length=512)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]  # what vLLM takes
JsonObject = dict[str, Any]


class InferenceRequest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A request of any dialect; what the client left out stays out."""

    KEPT: ClassVar[tuple[str, ...]] = ()  # fields that never go on to the engine
    TEXTS: ClassVar[frozenset[str]] = frozenset()  # fields with text of people, not parameters

    model: ShortText

    def logged_messages(self) -> list[Message]:
        """Return the turns as text, as they are logged."""
        raise NotImplementedError

    def end_user(self) -> str | None:
        """Return the application's name for its end user, if it gave one."""
        return None

    def tag(self, _name: str) -> str | None:
        """Return what the application says of the request under this name, if anything."""
        return None

    def is_streamed(self) -> bool:
        """Return whether the client wants its answer in pieces."""
        return False

    def shows_usage(self) -> bool:
        """Return whether the client gets the token counts of its stream."""
        return True

    def changed_for_engine(self) -> dict[str, Any]:
        """Return the fields that the engine gets otherwise than the client sent them."""
        return {name: UNSET for name in self.KEPT if getattr(self, name) is not UNSET}


class OpenAIRequest(InferenceRequest, frozen=True, kw_only=True):
    """What OpenAI's clients send on every path, and the engine has no use for."""

    KEPT = ("user", "safety_identifier", "metadata", "store", "service_tier", "prompt_cache_key")

    user: ShortText | UnsetType | None = UNSET
    safety_identifier: ShortText | UnsetType | None = UNSET  # OpenAI's newer name for `user`
    metadata: dict[str, str] | UnsetType | None = UNSET
    store: bool | UnsetType | None = UNSET
    service_tier: Literal["auto", "default"] | UnsetType | None = UNSET
    prompt_cache_key: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.store:
            raise not_kept("store")

    def end_user(self) -> str | None:
        """Return the application's name for its end user, if it gave one."""
        return self.user or self.safety_identifier or None

    def tag(self, name: str) -> str | None:
        """Return the tag of this name in `metadata`, if it is there."""
        return self.metadata.get(name) if self.metadata else None


AnyRequest = TypeVar("AnyRequest", bound=InferenceRequest)

_ENCODER = msgspec.json.Encoder()
_NEVER_LOGGED = frozenset({"model", "stream", "stream_options", *OpenAIRequest.KEPT})


def parse(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    """Return the request in `body`.

    Raises: RequestError that names the field which is unknown, missing or wrong.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _wrong(str(error)) from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, or nested without end
        raise RequestError(f"the body is not JSON: {error}") from error


def engine_body(request: InferenceRequest, model: str) -> bytes:
    """Return the request as it goes to the engine, for `model`."""
    changed = request.changed_for_engine()
    return _ENCODER.encode(msgspec.structs.replace(request, model=model, **changed))


def logged_parameters(request: InferenceRequest) -> dict[str, Any]:
    """Return the parameters that the client set, without any text of people."""
    names, values_of = _parameters_of(type(request))
    values = zip(names, values_of(request), strict=True)
    return {name: value for name, value in values if value is not UNSET}


@cache
def _parameters_of(
    kind: type[InferenceRequest],
) -> tuple[tuple[str, ...], Callable[[InferenceRequest], tuple[Any, ...]]]:
    """Return which fields are logged as parameters, and what gets them all at once."""
    unlogged = _NEVER_LOGGED | kind.TEXTS
    names = tuple(name for name in kind.__struct_fields__ if name not in unlogged)
    return names, attrgetter(*names)


def not_kept(field: str) -> RequestError:
    """Return the error for a wish that needs answers kept for later."""
    return RequestError(
        f"{field}: the gateway keeps no answers to come back to: leave it out, "
        "and send the whole conversation each time",
        field=field,
    )


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
