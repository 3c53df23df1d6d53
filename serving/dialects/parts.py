"""SERVE: content in parts, as the newer dialects have it: checked by type, read as text.

A message's content is a string or a list of typed parts. Only the types that a dialect lists go
on; a part's other fields are the engine's to check. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from core.errors import RequestError

SHOWN_CHARS = 40  # of a wrong value, in the message


def check_types(path: str, parts: list[Any], allowed: Collection[str]) -> None:
    """Return if each part of the list at `path` is an object of an allowed type.

    Raises: RequestError that names the first that is not.
    """
    for number, part in enumerate(parts):
        check_type(f"{path}[{number}]", part, allowed)


def check_type(
    path: str, part: Any, allowed: Collection[str], *, default: str | None = None
) -> None:
    """Return if the part at `path` is an object of an allowed type.

    Raises: RequestError that names it.
    """
    if not isinstance(part, dict):
        raise RequestError(f"{path} is no object: send one with a `type`", field=path)
    kind = part.get("type", default)
    if not isinstance(kind, str) or kind not in allowed:
        shown = msgspec.json.encode(kind).decode()[:SHOWN_CHARS]
        raise RequestError(
            f"{path}.type is {shown}: only texts and function calls are served here, "
            f"as {', '.join(sorted(allowed))}",
            field=f"{path}.type",
        )


def text_of(content: Any) -> str:
    """Return the text of a content: a string, or parts of which some have text."""
    if isinstance(content, str):
        return content
    parts: list[Any] = content if isinstance(content, list) else []
    texts = [part.get("text") or part.get("refusal") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))
