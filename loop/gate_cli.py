"""The commands on the gate: `ratchet gate suites|show|run|override`.

Thin, as `loop.cli`. An adapter is named as `application--vN`.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from loop.adapter_cli import AdapterName
from loop.terminal import (
    AsJson,
    Operator,
    Reason,
    keep_act,
    narrator_for,
    out,
    print_json,
    print_row,
    print_table,
    require_words,
    settings_of,
)

gate_app = typer.Typer(
    no_args_is_help=True, help="The gate: what it asks, what it said, and who let past it."
)


@gate_app.command("suites")
def gate_suites(context: typer.Context, as_json: AsJson = False) -> None:
    """List the suites that a new adapter is asked, and those that could be switched on."""
    from retrain.gate.suite import plain
    from retrain.gate.suite_files import load_suite, load_suites, suite_names

    settings = settings_of(context).gate
    asked = load_suites(settings)
    names = {suite.name for suite in asked}
    others = [load_suite(name, settings) for name in suite_names() if name not in names]
    rows: list[dict[str, Any]] = [
        dict(plain(suite)) | {"asked": suite in asked} for suite in (*asked, *others)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("suite", "asked", "metric", "against", "at worst", "what for"),
        [
            (
                *(str(row["name"]), "yes" if row["asked"] else "no", str(row["metric"])),
                *(str(row.get("against", "live")), str(row.get("worst", "fail"))),
                str(row["purpose"]),
            )
            for row in rows
        ],
    )


@gate_app.command("show")
def gate_show(context: typer.Context, adapter: AdapterName, as_json: AsJson = False) -> None:
    """Show what the gate said of an adapter: each suite, with its interval."""
    from loop.wiring import open_parts
    from retrain.registry.ledger import find

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = find(session, adapter)
        override = {"by": row.override_by, "reason": row.override_reason}
        facts: dict[str, Any] = {
            "adapter": row.name,
            "override": override if row.override_by else None,
            **row.gate,
        }
    if as_json:
        print_json(facts)
    else:
        _draw(facts)


@gate_app.command("run")
def gate_run(
    context: typer.Context,
    adapter: AdapterName,
    dataset: Annotated[str | None, typer.Option(help="a version; default: the newest")] = None,
    against: Annotated[
        str | None, typer.Option(help="an adapter; default: the live one, else as before")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask an adapter again: on newer data, or with other suites. Nothing is trained."""
    from loop.wiring import open_parts
    from retrain.gate.asking_again import Again, ask_again

    with open_parts(settings_of(context)) as parts, narrator_for(as_json).training() as tell:
        gate = ask_again(parts.store, parts.settings, Again(adapter, dataset, against), tell)
        keep_act(parts.store, "gate_asked_again", ("adapter", adapter, None), by=None)
    if as_json:
        print_json(gate)
    else:
        _draw({"adapter": adapter, "override": None, **gate})


@gate_app.command("override")
def gate_override(
    context: typer.Context,
    adapter: AdapterName,
    by: Operator,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Let an adapter past the gate; your name and reason are shown wherever it is."""
    from feedback.audit import HumanAct, record
    from loop.wiring import open_parts
    from retrain.registry.ledger import record_override

    require_words(by=by, reason=reason)
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = record_override(session, adapter, operator=by, reason=reason)
        place = ("adapter", row.name, row.application)
        record(session, HumanAct(by, "gate_overridden", *place, reason))
        session.commit()
        if as_json:
            print_row(row)
        else:
            out.print(f"{row.name} may pass the gate: {by} says so", markup=False)


def _draw(facts: dict[str, Any]) -> None:
    from retrain.gate.report import difference, number

    compared = facts.get("compared_with", "nothing")
    out.print(f"{facts['adapter']}: {facts.get('decision', 'never asked')}, beside {compared}")
    if facts["override"]:
        said = facts["override"]
        out.print(f"PAST THE GATE by {said['by']}: {said['reason']}", markup=False)
    for reason in facts.get("reasons", []):
        out.print(f"  {reason}", markup=False, soft_wrap=True)
    suites = facts.get("suites", {})
    print_table(
        ("suite", "decision", "metric", "this", "other", "difference", "questions"),
        [
            (
                *(name, suite["decision"], suite["metric"], number(suite["candidate"])),
                *(number(suite["live"]), difference(suite), str(suite["questions"])),
            )
            for name, suite in suites.items()
            if not suite["skipped"]
        ],
    )
    for name, suite in suites.items():
        if suite["skipped"]:
            out.print(f"  {name} was not asked: {suite['skipped']}", markup=False, soft_wrap=True)
