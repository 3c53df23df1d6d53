"""The lineage of adapters as a drawing: interactions → dataset → run → adapter → rollout.

Pure. Versions in order come in, one SVG with links goes out: a row for each version, an edge where
one continues another. Knows nothing of tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

BOX_W, BOX_H, GAP_X, ROW = 156, 46, 30, 74
COLUMNS = ("interactions", "dataset", "run", "adapter", "rollout")


@dataclass(frozen=True, slots=True)
class Node:
    """One box: two lines of words, where it leads, and how it stands."""

    title: str
    note: str = ""
    link: str = ""
    kind: str = ""  # a class of the style sheet: good, bad, busy


@dataclass(frozen=True, slots=True)
class Version:
    """One adapter with what it was made of and what became of it; None: not known."""

    name: str
    parent: str | None
    nodes: tuple[Node | None, ...]  # in the order of COLUMNS


def draw_lineage(versions: Sequence[Version], title: str) -> str:
    """Return the drawing; the newest version is at the top."""
    width = len(COLUMNS) * BOX_W + (len(COLUMNS) - 1) * GAP_X + 2
    height = len(versions) * ROW + 22 - (ROW - BOX_H - 2)
    rows = {version.name: place for place, version in enumerate(versions)}
    parts = [
        f'<text class="tick" x="{_x(place) + 2}" y="12">{name}</text>'
        for place, name in enumerate(COLUMNS)
    ]
    for place, version in enumerate(versions):
        if version.parent in rows:
            parts.append(_edge_up(rows[version.parent], place))
        parts += _row(version, place)
    said = escape(f"{title}: {', '.join(version.name for version in versions)}", quote=True)
    return (
        f'<svg class="lineage" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="group" aria-label="{said}">{"".join(parts)}</svg>'
    )


def _row(version: Version, place: int) -> list[str]:
    parts: list[str] = []
    before: int | None = None
    for column, node in enumerate(version.nodes):
        if node is None:
            continue
        if before is not None:
            y = _y(place) + BOX_H / 2
            start, end = _x(before) + BOX_W, _x(column)
            parts.append(f'<path class="edge" d="M{start} {y}H{end - 5}"/>')
            parts.append(f'<path class="tip" d="M{end} {y}l-6 -4v8z"/>')
        before = column
        parts.append(_box(node, _x(column), _y(place)))
    return parts


def _box(node: Node, x: int, y: int) -> str:
    inner = (
        f'<rect class="node {node.kind}" x="{x}" y="{y}" width="{BOX_W}" height="{BOX_H}" rx="6"/>'
        f'<text class="name" x="{x + 9}" y="{y + 19}">{escape(_cut(node.title, 20))}</text>'
        f'<text class="tick" x="{x + 9}" y="{y + 36}">{escape(_cut(node.note, 25))}</text>'
    )
    told = f"<title>{escape(f'{node.title} {node.note}'.strip())}</title>"
    if not node.link:
        return f"<g>{told}{inner}</g>"
    label = escape(f"{node.title}, {node.note}", quote=True)
    return f'<a href="{escape(node.link, quote=True)}" aria-label="{label}">{told}{inner}</a>'


def _edge_up(parent: int, child: int) -> str:
    """Return the edge from a parent's adapter to its child's, beside the boxes."""
    x = _x(3) + BOX_W / 2
    start, end = (_y(parent), _y(child) + BOX_H) if parent > child else (_y(child), _y(parent))
    return f'<path class="edge parent" d="M{x} {start}V{end}"/>'


def _x(column: int) -> int:
    return 1 + column * (BOX_W + GAP_X)


def _y(row: int) -> int:
    return 20 + row * ROW


def _cut(words: str, chars: int) -> str:
    return words if len(words) <= chars else f"{words[: chars - 1]}…"
