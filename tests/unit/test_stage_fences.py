"""Fenced code blocks: where they stand, what is in them, and what is none."""

from __future__ import annotations

import pytest

from curation.stages.fences import blocks, is_cut, outside_code, without_code

TEXT = "See:\n```python title=x\nprint(1)\n```\nand\n\n~~~\n```\n~~~\nend"


def test_blocks_have_their_places_info_and_content() -> None:
    """A fence within another kind of fence is content."""
    first, second = blocks(TEXT)
    assert TEXT[first.start : first.end] == "```python title=x\nprint(1)\n```"
    assert (first.info, first.content, first.is_closed) == ("python title=x", "print(1)\n", True)
    assert (second.info, second.content) == ("", "```\n")
    assert without_code(TEXT) == "See:\n\nand\n\n\nend"
    assert outside_code(TEXT, str.upper) == TEXT.replace("See", "SEE").replace(
        "and", "AND"
    ).replace("end", "END")


@pytest.mark.parametrize(
    "text", ["no code", "in ``` a line", "```x``` in a line", "Heading\n~~~~~~~\n", "", "~~"]
)
def test_what_is_no_fence(text: str) -> None:
    """Code in a line, the line below a heading."""
    assert blocks(text) == []
    assert without_code(text) == text
    assert outside_code(text, str.title) == text.title()


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("```\nx", True),
        ("a\n  ```js", True),
        ("~~~\nx\n```\n", True),
        ("text\n~~~sh\nls", True),
        ("````\n```\n````", False),
        ("```md\n```js\nx\n```\n```", False),
        ("```\nx\n``", True),
        ("```\nx\n`````", False),
    ],
)
def test_an_open_block_is_cut(text: str, cut: bool) -> None:
    """Unless as many fences close as open, which is how blocks in blocks are written."""
    assert is_cut(text) is cut
