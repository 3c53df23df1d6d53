"""CURATE: the fenced code blocks of a Markdown text: what stages leave alone, or look into.

A text in, its blocks with their places out. Fences are CommonMark's (section 4.5), but may be
indented by any number of spaces, as models write them below list items. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_FENCE = re.compile(r"^[ \t]*+(`{3,}+|~{3,}+)([^\n]*)$", re.M)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its text stands from `start`, before `end`; between them, its content."""

    start: int
    end: int
    info: str  # the language, as it is written after the opening fence
    content: str
    is_closed: bool


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of `text` in order; one that nothing closes goes to the end."""
    if "```" not in text and "~~~" not in text:
        return []
    found: list[Block] = []
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opening is None:
            opening = fence if _opens(fence) else None
        elif _closes(fence, opening):
            found.append(_block(text, opening, fence))
            opening = None
    if opening is not None:
        found.append(_block(text, opening, None))
    return found


def without_code(text: str) -> str:
    """Return the text between the fenced blocks."""
    found = blocks(text)
    if not found:
        return text
    starts = [0, *(block.end for block in found)]
    ends = [*(block.start for block in found), len(text)]
    return "".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Return `text` with `change` made to what stands between the fenced blocks."""
    pieces: list[str] = []
    end = 0
    for block in blocks(text):
        pieces += (change(text[end : block.start]), text[block.start : block.end])
        end = block.end
    return "".join((*pieces, change(text[end:])))


def is_cut(text: str) -> bool:
    """Tell whether `text` ends within a code block.

    An even number of fences is no cut: blocks that a careless writer put into one another.
    """
    found = blocks(text)
    if not found or found[-1].is_closed:
        return False
    mark = text[found[-1].start :].lstrip()[0]
    fences = (fence for fence in _FENCE.finditer(text) if fence[1].startswith(mark))
    return sum(_opens(fence) or not fence[2] for fence in fences) % 2 == 1


def _opens(fence: re.Match[str]) -> bool:
    """Tell a fence from code in one line, between marks, and from a line below a heading."""
    if fence[1].startswith("`"):
        return "`" not in fence[2]
    text, start = fence.string, fence.start()
    line_before = text[text.rfind("\n", 0, max(0, start - 1)) + 1 : start]
    return bool(fence[2].strip()) or not line_before.strip()


def _closes(fence: re.Match[str], opening: re.Match[str]) -> bool:
    return fence[1].startswith(opening[1]) and not fence[2].strip()


def _block(text: str, opening: re.Match[str], closing: re.Match[str] | None) -> Block:
    inner_end = len(text) if closing is None else closing.start()
    return Block(
        start=opening.start(),
        end=len(text) if closing is None else closing.end(),
        info=opening[2].strip(),
        content=text[opening.end() + 1 : inner_end],
        is_closed=closing is not None,
    )
