"""The command `ratchet runs report ID`: a training's report, written anew and shown.

Thin, as `loop.cli`; `loop.runs_cli` adds it to its commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loop.terminal import AsJson, out, print_json, settings_of


def runs_report(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="a run, as `ratchet runs list` shows it")],
    as_json: AsJson = False,
) -> None:
    """Write a training's report, also of one that failed or still runs, and say what it found."""
    from loop.wiring import open_parts
    from retrain.runs.runner import find_run
    from retrain.watching.reporting import report_run

    with open_parts(settings_of(context)) as parts:
        with parts.store.session() as session:
            find_run(session, run)
        html = report_run(parts.store, parts.settings, run)
        with parts.store.session() as session:
            details = find_run(session, run).details
    if as_json:
        told = {name: details.get(name) for name in ("findings", "system", "cost")}
        print_json({"run": run, "html": str(html), "markdown": str(_markdown(html)), **told})
        return
    for finding in details["findings"] or ["nothing is wrong with the curves"]:
        out.print(finding, soft_wrap=True, highlight=False, markup=False)
    out.print(f"report: {html}", soft_wrap=True, highlight=False)


def _markdown(html: Path) -> Path:
    return html.with_suffix(".md")
