"""How the console's pages show things: instants, numbers, and the whole page or a part of it.

A request, a visitor and what a page tells come in, a Litestar template goes out. Knows no table
and no page.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from litestar import Request
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template

from core.clock import as_utc, utc_now
from loop.console.visitors import Visitor

AnyRequest = Request[Any, Any, Any]

STEPS = ((86_400.0, "day"), (3_600.0, "hour"), (60.0, "minute"), (1.0, "second"))
NONE = "-"
LIVE = frozenset(
    {"overview", "metrics", "rollouts", "runs", "incidents"}
)  # sections that follow what happens


def page(
    request: AnyRequest, visitor: Visitor, name: str, section: str, **context: Any
) -> Template:
    """Return a page of a section, or that part of it that a script asks for."""
    is_part = request.headers.get("hx-request") == "true"
    shown = {
        "caller": visitor,
        "section": section,
        "layout": "part.html" if is_part else "page.html",
        "live": section if section in LIVE else None,
    }
    return Template(name, context=shown | context, headers={"vary": "hx-request"})


def prepare(engine: JinjaTemplateEngine) -> None:
    """Give the templates their words."""
    engine.engine.filters.update(
        {
            "when": when,
            "iso": iso,
            "ago": ago,
            "number": number,
            "share": share,
            "seconds": seconds,
            "short": short,
            "words": words,
        }
    )


def when(at: datetime | None) -> str:
    """Return an instant to the minute, in UTC."""
    return NONE if at is None else f"{as_utc(at):%Y-%m-%d %H:%M}"


def iso(at: datetime | None) -> str:
    """Return an instant for machines."""
    return "" if at is None else as_utc(at).isoformat(timespec="seconds")


def ago(at: datetime | None) -> str:
    """Return how long an instant is past, or ahead."""
    if at is None:
        return NONE
    past_s = (utc_now() - as_utc(at)).total_seconds()
    told = span(abs(past_s))
    if told == "now":
        return told
    return f"{told} ago" if past_s >= 0 else f"in {told}"


def span(length_s: float) -> str:
    """Return a length of time in its largest unit."""
    for size_s, unit in STEPS:
        if length_s >= size_s:
            count = int(length_s // size_s)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return "now"


def number(value: float | None, digits: int = 0) -> str:
    """Return a number with its thousands apart."""
    return NONE if value is None else f"{value:,.{digits}f}"


def share(value: float | None, digits: int = 1) -> str:
    """Return a share (0 to 1) in percent."""
    return NONE if value is None else f"{100 * value:.{digits}f} %"


def seconds(value: float | None) -> str:
    """Return a short time: in milliseconds below a second."""
    if value is None:
        return NONE
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.2f} s"


def short(id_: str | None) -> str:
    """Return what tells a long id from its neighbours."""
    if not id_:
        return NONE
    return f"…{id_[-8:]}" if len(id_) == 36 else id_


def words(name: str) -> str:
    """Return a name of the code as people write it."""
    return name.replace("_", " ")
