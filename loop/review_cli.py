"""The commands of human review: `ratchet review list|next|decide|progress|agreement` and more.

Thin, as `loop.cli`. `next` shows item after item and asks with single keys; with `--json` it prints
one, for scripts, which then call `decide`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import RequestError
from loop.review_queue_cli import opened_desk, review_export, review_fill, review_import
from loop.terminal import (
    Application,
    AsJson,
    keep_act,
    out,
    print_json,
    print_table,
    require_words,
)

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from curation.review.agreement import Alpha

review_app = typer.Typer(no_args_is_help=True, help="Candidates that people look at.")

Reviewer = Annotated[str, typer.Option("--by", help="who you are: an item comes to you once")]
Token = Annotated[str, typer.Argument(help="as `ratchet review next --json` printed it")]
Adapter = Annotated[str, typer.Argument(help="an adapter, or `base` for the base model")]

BASE = "base"


review_app.command("fill")(review_fill)
review_app.command("export")(review_export)
review_app.command("import")(review_import)


@review_app.command("calibrate")
def review_calibrate(
    context: typer.Context,
    application: Application,
    file: Annotated[
        Path, typer.Argument(help='JSONL: {"messages": [...], "expected": "approve" or "reject"}')
    ],
    as_json: AsJson = False,
) -> None:
    """Add items with a known answer, by which reviewers are measured without knowing it."""
    import msgspec

    from curation.review.queue import Known

    try:
        items = msgspec.json.Decoder(Known).decode_lines(file.read_bytes())
    except msgspec.MsgspecError as error:
        raise RequestError(f"{file} cannot be read: {error}", field="file") from error
    with opened_desk(context) as (parts, desk):
        added = desk.calibrate(application, items)
        place = ("review", application, application)
        keep_act(parts.store, "review_calibrated", place, by=None, added=added)
    if as_json:
        print_json({"added": added})
        return
    out.print(f"{added:,} of {len(items):,} are new", highlight=False)


@review_app.command("list")
def review_list(
    context: typer.Context,
    application: Application,
    state: Annotated[str, typer.Option(help="open, done, withdrawn or all")] = "open",
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: AsJson = False,
) -> None:
    """List items with what reviewers must not know: why each was sampled."""
    if state not in ("open", "done", "withdrawn", "all"):
        raise RequestError(f"--state is {state!r}: open, done, withdrawn or all", field="state")
    with opened_desk(context) as (_, desk):
        items = desk.items(application, None if state == "all" else state, limit)
    if as_json:
        print_json([item.model_dump(mode="json") for item in items])
        return
    print_table(
        ("item", "kind", "because", "state", "verdict"),
        [
            (
                *(item.id, item.kind, ", ".join(item.sampled_because), item.state),
                item.verdict or "",
            )
            for item in items
        ],
    )


@review_app.command("next")
def review_next(
    context: typer.Context, application: Application, by: Reviewer, as_json: AsJson = False
) -> None:
    """Show item after item and ask what you say of it, with single keys; q stops."""
    from loop.review_keys import ask

    require_words(by=by)
    with opened_desk(context) as (_, desk):
        if as_json:
            item = desk.take(application, by)
            hidden = {"position"}  # of two answers: the desk's alone
            print_json(item and {name: v for name, v in _plain(item).items() if name not in hidden})
            return
        count = 0
        while (item := desk.take(application, by)) is not None:
            decision = ask(item)
            if decision is None:
                desk.release(by, item.token)
                break
            try:
                desk.decide(by, item.token, decision)
            except RequestError as error:  # too late, or not fit: told, and the next one comes
                out.print(error.message, style="red", markup=False)
                continue
            count += 1
        left = desk.progress(application, by).mine_left
    out.print(f"{count:,} decided; {left:,} left for you", highlight=False)


@review_app.command("decide")
def review_decide(
    context: typer.Context,
    token: Token,
    decision: Annotated[str, typer.Argument(help="approve, reject, correct, skip or prefer")],
    by: Reviewer,
    preferred: Annotated[str | None, typer.Option(help="first, second or tie")] = None,
    reason: Annotated[str, typer.Option(help="why")] = "",
    text: Annotated[str | None, typer.Option(help="the whole corrected answer")] = None,
    mark: Annotated[
        list[str] | None, typer.Option(help="of the rubric, such as accuracy=4; repeatable")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what you say of the item that you hold."""
    import msgspec

    from curation.review.words import Decision

    said = {
        "choice": decision,
        "preferred": preferred,
        "rubric": dict(_mark(one) for one in mark or []),
        "reason": reason,
        "text": text,
    }
    try:
        made = msgspec.convert(said, Decision)
    except msgspec.ValidationError as error:
        raise RequestError(f"that is no decision: {error}", field="decision") from error
    with opened_desk(context) as (_, desk):
        done = desk.decide(by, token, made)
    if as_json:
        print_json(asdict(done))
        return
    out.print(f"{done.choice}: {done.item_id}", highlight=False)


@review_app.command("release")
def review_release(
    context: typer.Context, token: Token, by: Reviewer, as_json: AsJson = False
) -> None:
    """Give an item back undecided."""
    with opened_desk(context) as (_, desk):
        gone = desk.release(by, token)
    if as_json:
        print_json({"released": gone})
        return
    out.print("given back" if gone else "you held no such item")


@review_app.command("progress")
def review_progress(
    context: typer.Context,
    application: Application,
    by: Annotated[str | None, typer.Option("--by", help="count what is yours, too")] = None,
    as_json: AsJson = False,
) -> None:
    """Count what waits, what is done, and by whom."""
    with opened_desk(context) as (_, desk):
        counts = asdict(desk.progress(application, by))
    if as_json:
        print_json(counts)
        return
    print_table(
        ("what", "count"), [(name.replace("_", " "), _told(n)) for name, n in counts.items()]
    )


@review_app.command("agreement")
def review_agreement(
    context: typer.Context, application: Application, as_json: AsJson = False
) -> None:
    """Tell how far reviewers agree with each other and with known answers."""
    with opened_desk(context) as (_, desk):
        found = desk.agreement(application)
    if as_json:
        print_json(asdict(found))
        return
    alphas: dict[str, Alpha] = {"decisions": found.decisions, "preferences": found.preferences}
    print_table(
        ("of", "alpha", "items", "reviewers"),
        [
            (name, _number(one.value), str(one.items), str(one.reviewers))
            for name, one in (alphas | found.rubric).items()
        ],
    )
    print_table(
        ("reviewer", "right", "of", "95 %"),
        [
            (one.reviewer, f"{one.accuracy:.0%}", str(one.items), f"{one.low:.0%}-{one.high:.0%}")
            for one in found.calibration
        ],
    )


@review_app.command("compare")
def review_compare(
    context: typer.Context,
    application: Application,
    a: Adapter,
    b: Adapter,
    add: Annotated[
        int, typer.Option(min=0, help="add so many prompts that B answered unseen beside A")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Tell how two adapters did side by side before reviewers who do not know which is which."""
    from curation.review.queue import shadow_pairs

    one, other = (None if name == BASE else name for name in (a, b))
    with opened_desk(context) as (parts, desk):
        if add:
            with parts.store.session() as session:
                found = shadow_pairs(session, application, one, other, add)
            desk.compare(application, found)
        result = desk.comparison(application, one, other)
    if as_json:
        print_json(asdict(result))
        return
    share = "no prompt was decided yet"
    if result.share_a is not None:
        share = f"{a} won {result.share_a:.0%} ({result.low:.0%}-{result.high:.0%}, 95 %)"
    out.print(
        f"{a} {result.a}, {b} {result.b}, ties {result.ties}; {share}, p = {result.p:.3g}; "
        f"shown first was preferred {result.first} times, second {result.second}",
        highlight=False,
        soft_wrap=True,
    )


def _mark(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise RequestError(f"--mark is {text!r}: write it such as accuracy=4", field="mark")
    return name, int(number)


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def _told(count: Any) -> str:
    if isinstance(count, dict):
        return ", ".join(f"{name} {number:,}" for name, number in count.items()) or "none"
    return f"{count:,}"


def _number(value: float | None) -> str:
    return "cannot be told" if value is None else f"{value:.3f}"
