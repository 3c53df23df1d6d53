"""The command `ratchet drift windows`: references and windows of what is new, now.

Thin, as `loop.cli`. The service collects by itself; this is for who does not want to wait.
"""

from __future__ import annotations

from typing import Annotated

import typer

from loop.terminal import AsJson, out, print_json, settings_of


def drift_windows(
    context: typer.Context,
    close_now: Annotated[
        bool, typer.Option("--now", help="do not wait for as many interactions as are set")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make references and windows of what is new in every application; say which."""
    from core.clock import utc_now
    from loop.window_job import told_of
    from loop.wiring import open_parts
    from monitoring.windows.collecting import collect

    with open_parts(settings_of(context)) as parts:
        made = collect(parts.store, parts.settings, utc_now(), close_now=close_now)
    if as_json:
        print_json(
            [
                {
                    "application": one.scope.application,
                    "adapter": one.scope.adapter,
                    "window": one.window and one.window.model_dump(mode="json"),
                    "references": [row.model_dump(mode="json") for row in one.references],
                }
                for one in made
            ]
        )
        return
    for told in filter(None, map(told_of, made)):
        out.print(told, highlight=False)
    if not any(one.window or one.references for one in made):
        out.print("nothing new, or too little yet: --now closes a window with what is there")
