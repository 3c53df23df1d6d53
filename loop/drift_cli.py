"""The command group `ratchet drift`: windows of traffic, and what they say.

Only the group; each command's words are in the modules that it imports.
"""

from __future__ import annotations

import typer

from loop.drift_report_cli import drift_check, drift_list, drift_show
from loop.window_cli import drift_windows

drift_app = typer.Typer(no_args_is_help=True, help="Drift: windows, checks, reports.")
drift_app.command("windows")(drift_windows)
drift_app.command("check")(drift_check)
drift_app.command("list")(drift_list)
drift_app.command("show")(drift_show)
