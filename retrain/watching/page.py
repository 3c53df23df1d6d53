"""A plain page from sections: once as Markdown, once as HTML that needs nothing else.

Sections of words, tables and drawings go in. Knows nothing of what they are about: the reports of
runs and of searches share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from core.files import write_atomic

STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --muted: #656d76; --line: #d0d7de;
  --paper: #ffffff; --first: #0969da; --second: #bc4c00; --harm: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --muted: #9198a1; --line: #3d444d;
  --paper: #0d1117; --first: #4493f8; --second: #db6d28; --harm: #f85149; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif;
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { color: var(--muted); font-weight: 600; white-space: nowrap; }
svg { width: 100%; height: auto; }
.table { overflow-x: auto; }
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; every cell is plain text."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """An SVG, and the name of the file that Markdown refers to."""

    name: str
    svg: str


@dataclass(frozen=True, slots=True)
class Part:
    """A heading with what stands below it, in order."""

    title: str
    content: Sequence[str | Table | Drawing]


@dataclass(frozen=True, slots=True)
class Page:
    """A title, a first sentence, and the parts."""

    title: str
    lead: str
    parts: Sequence[Part]


def write_page(page: Page, folder: Path, name: str) -> tuple[Path, Path]:
    """Write NAME.md with its drawings beside it, and NAME.html, into `folder`; return both."""
    for part in page.parts:
        for item in part.content:
            if isinstance(item, Drawing):
                write_atomic(folder / item.name, _alone(item.svg))
    markdown, html = folder / f"{name}.md", folder / f"{name}.html"
    write_atomic(markdown, as_markdown(page))
    write_atomic(html, as_html(page))
    return markdown, html


def as_markdown(page: Page) -> str:
    """Return the page as Markdown."""
    blocks = [f"# {page.title}", page.lead]
    for part in page.parts:
        blocks += [f"## {part.title}", *(_markdown(item) for item in part.content)]
    return "\n\n".join(blocks) + "\n"


def as_html(page: Page) -> str:
    """Return the page as one HTML file."""
    parts = "".join(
        f"<section><h2>{escape(part.title)}</h2>{''.join(map(_html, part.content))}</section>\n"
        for part in page.parts
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(page.title)}</title><style>{STYLE}</style></head><body><main>\n"
        f"<h1>{escape(page.title)}</h1><p>{escape(page.lead)}</p>\n{parts}</main></body></html>\n"
    )


def _markdown(item: str | Table | Drawing) -> str:
    if isinstance(item, Drawing):
        return f"![{item.name.removesuffix('.svg')}]({item.name})"
    if isinstance(item, str):
        return item
    lines = [item.head, tuple("---" for _ in item.head), *item.rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")


def _html(item: str | Table | Drawing) -> str:
    if isinstance(item, Drawing):
        return item.svg
    if isinstance(item, str):
        return f"<p>{escape(item)}</p>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in item.head)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in item.rows
    )
    return (
        f'<div class="table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _alone(svg: str) -> str:
    """Return the drawing as a file of its own."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}'
