"""The command `ratchet policy`: what the retraining policy says of an application, and why.

Thin, as `loop.cli`. Shows every trigger with its value, threshold and cool-down, every bound of an
incremental training, and what would be next. Nothing is curated or trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from loop.terminal import Application, AsJson, out, print_json, print_table, settings_of

if TYPE_CHECKING:
    from loop.planning import Outlook


def policy(context: typer.Context, application: Application, as_json: AsJson = False) -> None:
    """Show whether a training is due, by each trigger, and how it would be done."""
    from loop.planning import Wish, look
    from loop.turn import require_application
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        require_application(parts, application)
        print_outlook(look(parts, application, Wish()), as_json=as_json)


def print_outlook(outlook: Outlook, *, as_json: bool) -> None:
    """Print what the policy says, as tables or as JSON."""
    import msgspec

    if as_json:
        print_json(msgspec.to_builtins(outlook))
    else:
        _draw(outlook)


def _draw(outlook: Outlook) -> None:
    from retrain.explanation import shown, told_bound, told_rest

    plan = outlook.plan
    out.print(f"{outlook.application} on {outlook.dataset or 'no dataset version'}", markup=False)
    out.print(f"train now, {plan.mode}" if plan.train else "no training now", style="bold")
    out.print(plan.reason, markup=False, highlight=False)
    print_table(
        ("trigger", "verdict", "value", "threshold", "what it sees", "cool-down"),
        [
            (
                one.trigger,
                one.verdict,
                shown(one, one.value),
                shown(one, one.threshold),
                one.told,
                told_rest(one),
            )
            for one in plan.considered
        ],
    )
    print_table(
        ("incremental", "holds", "why"),
        [(one.name, "yes" if one.holds else "no", told_bound(one)) for one in plan.bounds],
    )
    for told in plan.next:
        out.print(f"next: {told}", markup=False, highlight=False)
    if outlook.waiting:
        out.print(f"{outlook.waiting} answers wait for `ratchet curate {outlook.application}`")
