"""The commands of another model: `ratchet augment` lets it write, `ratchet judge` lets it judge.

Thin, as `loop.training_cli`. Both send people's texts to the server that the settings name, and
both are off by default. What it wrote waits for people; pairs that it decided are candidates.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from loop.terminal import (
    Application,
    AsJson,
    keep_act,
    narrator_for,
    out,
    print_json,
    print_table,
    settings_of,
)


def augment(
    context: typer.Context,
    application: Application,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="ask nothing: say what would be asked for")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a model write examples after real ones, for people to review."""
    from curation.augmentation.proposing import plan, propose_written
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        if dry_run:
            planned = plan(parts.store, parts.settings, application)
            _tell(planned.as_dict(), as_json)
            return
        with narrator_for(as_json).curating() as progress:
            done = propose_written(parts.store, parts.settings, application, progress)
        place = ("review", application, application)
        keep_act(parts.store, "examples_written", place, by=None, added=done.as_dict()["added"])
    told = done.as_dict()
    if as_json:
        print_json(told)
        return
    if done.warning:
        out.print(f"warning: {done.warning}", highlight=False)
    print_table(
        ("method", "seeds", "made", "refused"),
        [
            (one["method"], str(one["seeds"]), str(one["made"]), _counts(one["refused"]))
            for one in told["methods"]
        ],
    )
    dropped = {stage["name"]: sum(stage["dropped"].values()) for stage in told["stages"]}
    _tell(
        {
            "writer": told["writer"],
            "requests": told["usage"]["requests"],
            "tokens": told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"],
            "room for": told["room"],
            "made": told["made"],
            "dropped by stages": _counts({name: n for name, n in dropped.items() if n}),
            "wait for review now": told["added"],
            "waited before": told["known"],
            "found no room": told["no_room"],
        },
        as_json=False,
    )


def judge(
    context: typer.Context,
    application: Application,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="pairs at most, of people's and of undecided; each is asked twice"
        ),
    ] = 200,
    as_json: AsJson = False,
) -> None:
    """Let a model judge pairs of answers; tell how far it agrees with people, where they decided.

    What it says of pairs that nobody decided is learnt by `curation.preferences`.
    """
    from curation.augmentation.judging import judge_application
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        done = judge_application(parts.store, parts.settings, application, limit)
        told = done.as_dict()
        place = ("review", application, application)
        keep_act(parts.store, "pairs_judged", place, by=None, **told)
    _tell(told, as_json)


def _tell(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(values)
        return
    print_table(("what", ""), [(name.replace("_", " "), _said(v)) for name, v in values.items()])
    out.print()


def _said(value: Any) -> str:
    if value is None:
        return "cannot be told"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, dict):
        return _counts(value)
    return ", ".join(value) if isinstance(value, list) else f"{value}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items()) or "none"
