"""The pieces that a report page is made of: sections, tables, lists of facts, the page itself.

DETECT's paper. In come plain values; out goes HTML in which every one of them is escaped.
Light and dark by the reader's system, one column on a phone; no script, nothing fetched.
Knows nothing of rollouts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from string import Template
from typing import Any


def text(value: Any) -> str:
    """Return `value` as HTML text that is safe between tags and in attributes."""
    return escape(str(value), quote=True)


def page(title: str, parts: Iterable[str]) -> str:
    """Return the whole page; `parts` are HTML, empty ones are left out."""
    return PAGE.substitute(title=text(title), body="\n".join(part for part in parts if part))


def section(title: str, content: str) -> str:
    """Return a headed section; `content` is HTML."""
    return f"<section>\n<h2>{text(title)}</h2>\n{content}\n</section>"


def figure(caption: str, svg: str) -> str:
    """Return a drawing with its caption."""
    return f"<figure><figcaption>{text(caption)}</figcaption>{svg}</figure>"


def paragraph(content: str, style: str = "") -> str:
    """Return plain `content` as a paragraph, with the classes in `style`."""
    classes = f' class="{text(style)}"' if style else ""
    return f"<p{classes}>{text(content)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table that scrolls sideways when the screen is too narrow."""
    top = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    lines = ("".join(f"<td>{text(cell)}</td>" for cell in row) for row in rows)
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    inner = f"<table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0">{inner}</div>'


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """Return names with their values, one pair a line."""
    lines = (f"<dt>{text(name)}</dt><dd>{text(_plain(value))}</dd>" for name, value in pairs)
    return "<dl>" + "\n".join(lines) + "</dl>"


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "; ".join(_plain(item) for item in value) or "none"
    if isinstance(value, float):
        return f"{value:.10g}"
    return "none" if value is None else str(value)


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
:root {
  --page: #fdfdfc; --ink: #1b1d21; --muted: #5c626b; --line: #d5d8dc; --panel: #f3f4f2;
  --baseline: #6b7280; --canary: #0b6bcb; --third: #0d7d5c; --fourth: #8a5a00; --harm: #c0262d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171a; --ink: #e7e9ec; --muted: #a2a9b3; --line: #3a3f47; --panel: #1e2126;
    --baseline: #9aa3af; --canary: #5cb0ff; --third: #4cc79d; --fourth: #e0a93f; --harm: #ff7b7f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
.lead { border-left: 0.3rem solid var(--canary); padding-left: 0.8rem; }
.lead.rolled_back, .lead.act { border-color: var(--harm); }
.lead.live, .lead.watch, .lead.calm { border-color: var(--third); }
.override {
  border: 2px solid var(--harm); border-radius: 0.4rem; padding: 0.7rem 0.9rem; font-weight: 600;
}
.drawings {
  display: grid; gap: 1.2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr));
}
figure {
  margin: 0; padding: 0.6rem; min-width: 0; background: var(--panel); border-radius: 0.4rem;
}
figcaption { font-size: 0.9rem; font-weight: 600; margin-bottom: 0.3rem; }
svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; overflow-wrap: normal; }
th, td {
  text-align: left; white-space: nowrap; padding: 0.35rem 0.9rem 0.35rem 0;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums;
}
th { color: var(--muted); font-weight: 600; }
dl {
  display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: 0.2rem 1rem;
  margin: 0; font-size: 0.9rem;
}
dt { color: var(--muted); }
dd { margin: 0; }
</style>
</head>
<body>
$body
</body>
</html>
""")
