"""SERVE: the dialect of POST /v1/embeddings: texts in, vectors out, and never a stream.

Only an engine with an embedding model offers it; another says so. The texts are logged, the
vectors are not. Knows nothing of HTTP, arms or the log.

Source: OpenAI API reference, "Create embeddings".
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from feedback.events import Message
from serving.dialects.protocol import Dialect, Said
from serving.requests import Count, OpenAIRequest


class EmbeddingsRequest(OpenAIRequest, frozen=True, kw_only=True):
    """The body of POST /v1/embeddings; inputs are text, not token ids."""

    TEXTS = frozenset({"input"})

    input: str | Annotated[list[str], Meta(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | UnsetType = UNSET
    dimensions: Count | UnsetType | None = UNSET

    def logged_messages(self) -> list[Message]:
        """Return the texts, as they are logged."""
        texts = [self.input] if isinstance(self.input, str) else self.input
        return [Message("user", text) for text in texts]


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw]
    usage: _Usage | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def read_answer(raw: bytes) -> Said:
    """Return the token count of an answer, which says nothing in words."""
    usage = _ANSWER.decode(raw).usage
    return Said(prompt_tokens=usage.prompt_tokens if usage else None)


EMBEDDINGS = Dialect("/v1/embeddings", EmbeddingsRequest, read_answer)
