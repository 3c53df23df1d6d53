"""The commands on drift reports: `ratchet drift check|list|show`.

Thin, as `loop.cli`. A report is named by its id, which is its window's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loop.terminal import (
    Application,
    AsJson,
    out,
    print_json,
    print_row,
    print_table,
    settings_of,
)

if TYPE_CHECKING:
    from feedback.drift_tables import DriftReport

ReportId = Annotated[str, typer.Argument(help="a report, as `ratchet drift list` shows it")]


def drift_check(
    context: typer.Context,
    application: Application,
    evidently: Annotated[
        bool, typer.Option(help="write Evidently's reports, also where nothing is found")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the live adapter's windows that were not checked yet."""
    from loop.drift_job import check_application
    from loop.wiring import open_parts

    settings = settings_of(context)
    with open_parts(settings) as parts, parts.store.session() as session:
        made = check_application(session, settings, application, evidently=evidently)
    if as_json:
        print_json([row.model_dump(mode="json") for row in made])
        return
    if not made:
        out.print("nothing new to check: no reference yet, or no window since the last check")
    for row in made:
        out.print(f"{row.severity}: {row.reason}", markup=False, highlight=False)
        out.print(f"  {row.folder}/report.html", markup=False, highlight=False, soft_wrap=True)


def drift_list(
    context: typer.Context,
    application: Annotated[str | None, typer.Argument(help="of this application only")] = None,
    limit: Annotated[int, typer.Option(min=1, help="at most so many")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest reports, the newest first."""
    from loop.wiring import open_parts
    from monitoring.drift.report import list_reports

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = list_reports(session, application, limit)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    print_table(("report", "adapter", "window", "severity", "reason"), [_line(row) for row in rows])


def drift_show(context: typer.Context, report: ReportId, as_json: AsJson = False) -> None:
    """Show one report, and write its page again as the store is now."""
    from loop.wiring import open_parts
    from monitoring.drift.report import find_report, write_report

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = find_report(session, report)
        page = write_report(session, row)
    if as_json:
        print_row(row)
        return
    out.print(f"{row.severity}: {row.reason}", markup=False, highlight=False)
    print_table(
        ("column", "reference", "window", "change", "corrected p", "drift"),
        [
            (
                *(one["column"], one["before"] or "-", one["after"] or "-"),
                *(f"{one['strength']:.2g}", f"{one['adjusted_p']:.2g}"),
                "not tested" if one["p"] is None else ("yes" if one["drifted"] else "no"),
            )
            for one in row.numbers["findings"]
        ],
    )
    for cluster in row.numbers["clusters"]:
        words = ", ".join(cluster["words"]) or "a new subject"
        told = f"new: {words}, {cluster['share']:.0%} of the window"
        out.print(told, markup=False, highlight=False)
    out.print(str(page), markup=False, highlight=False, soft_wrap=True)


def _line(row: DriftReport) -> tuple[str, ...]:
    reason = f"{row.reason}; retraining: {row.run_id}" if row.run_id else row.reason
    return (
        row.id,
        row.adapter or f"{row.application}, base",
        f"{row.window_start:%Y-%m-%d %H:%M} to {row.window_end:%H:%M}",
        row.severity,
        reason,
    )
