"""CURATE: what is broken in the markup of an answer: fences, JSON, HTML.

Precision first: a tag that a sentence speaks of is none, an example that leaves something out is
whole. Pure.
"""

from __future__ import annotations

import json
import re
from collections import Counter

from curation.stages import fences

# Tags that must be closed; those of list items, cells and paragraphs need not be (HTML, 13.1.2.4)
_PAIRED = (
    "a|abbr|article|b|blockquote|button|code|details|div|em|figure|font|footer|form|h[1-6]|header|i"
    "|label|main|nav|ol|pre|script|section|select|small|span|strong|style|sub|summary|sup|table"
    "|textarea|u|ul|video"
)
# Text or another tag must touch it: "the <b> tag" speaks of one
_OPENED = re.compile(rf"<({_PAIRED})(?:\s[^<>]*)?>(?=[\w<])", re.I)
_ANY_OPENED = re.compile(rf"<({_PAIRED})(?:\s[^<>]*)?>", re.I)
_CLOSED = re.compile(rf"</({_PAIRED})\s*>", re.I)
_CLOSED_AFTER_TEXT = re.compile(rf"(?<=[\w.!?>])</({_PAIRED})\s*>", re.I)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
_JSON_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*+"')


def fault(text: str) -> str | None:
    """Return what is broken, or None."""
    if "```" in text or "~~~" in text:
        if fences.is_cut(text):
            return "code block has no end"
        for block in fences.blocks(text):
            if block.info.lower() == "json" and _is_half(block.content):
                return "JSON is not whole"
    if "<" in text and (tag := _unbalanced(text)):
        return f"tag {tag} is not balanced"
    return None


def _is_half(content: str) -> bool:
    """Tell JSON whose brackets do not match; comments and "..." of an example do no harm."""
    try:
        json.loads(content)
    except ValueError:
        bare = _JSON_STRING.sub("", content)
        return any(bare.count(a) != bare.count(b) for a, b in ("{}", "[]"))
    return False


def _unbalanced(text: str) -> str | None:
    prose = _CODE.sub("", fences.without_code(text))
    if not (_OPENED.search(prose) or _CLOSED_AFTER_TEXT.search(prose)):
        return None
    opened, closed = _tags(_OPENED, prose), _tags(_CLOSED, prose)
    any_opened, closed_after = _tags(_ANY_OPENED, prose), _tags(_CLOSED_AFTER_TEXT, prose)
    for tag in opened | closed_after:
        if opened[tag] > closed[tag] or closed_after[tag] > any_opened[tag]:
            return tag
    return None


def _tags(pattern: re.Pattern[str], prose: str) -> Counter[str]:
    return Counter(tag.lower() for tag in pattern.findall(prose))
