"""The commands on dead letters: `ratchet dead-letter list|show|replay`.

Thin, as `loop.cli`. A dead letter is a record that ingest could not apply.
"""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import NotFoundError, RequestError
from loop.terminal import AsJson, keep_act, out, print_json, print_table, settings_of

dead_letter_app = typer.Typer(no_args_is_help=True, help="Records that ingest could not apply.")

Topic = Annotated[str | None, typer.Option(help="of this topic only")]
SHOWN_CHARS = 60


@dead_letter_app.command("list")
def dead_letter_list(
    context: typer.Context,
    topic: Topic = None,
    replayed: Annotated[bool, typer.Option(help="those that were replayed, too")] = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters, oldest first."""
    from feedback.dead_letter import list_letters
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        letters = list_letters(session, topic=topic, replayed=replayed)
    if as_json:
        print_json([letter.model_dump(mode="json", exclude={"value"}) for letter in letters])
        return
    print_table(
        ("letter", "topic", "offset", "key", "buried", "why"),
        [
            (
                *(letter.id, letter.topic, str(letter.offset), letter.key),
                *(f"{letter.buried_at:%Y-%m-%d %H:%M}", letter.error[:SHOWN_CHARS]),
            )
            for letter in letters
        ],
    )


@dead_letter_app.command("show")
def dead_letter_show(
    context: typer.Context,
    letter: Annotated[str, typer.Argument(help="as `ratchet dead-letter list` shows it")],
) -> None:
    """Print a letter with the record's own bytes, as JSON."""
    from feedback.tables import DeadLetter
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = session.get(DeadLetter, letter)
    if row is None:
        raise NotFoundError(f"no dead letter {letter!r}: `ratchet dead-letter list` shows them")
    shown = row.model_dump(mode="json", exclude={"value"})
    print_json(shown | {"value": row.value.decode(errors="backslashreplace")})


@dead_letter_app.command("replay")
def dead_letter_replay(
    context: typer.Context,
    letters: Annotated[list[str] | None, typer.Argument(help="letters, by id")] = None,
    everything: Annotated[bool, typer.Option("--all", help="all that are listed")] = False,
    topic: Topic = None,
    as_json: AsJson = False,
) -> None:
    """Put the records into the log again; what still cannot be applied becomes a new letter."""
    from feedback.dead_letter import list_letters, replay_letter
    from loop.wiring import open_parts

    if bool(letters) == (everything or topic is not None):
        raise RequestError("name letters, or say --all or --topic: one of them", field="letters")
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        wanted = letters or [letter.id for letter in list_letters(session, topic=topic)]
        for letter_id in wanted:
            replay_letter(session, parts.log, letter_id)
            session.commit()  # each by itself: a full log leaves the others as they were
        for letter_id in wanted:
            keep_act(parts.store, "dead_letter_replayed", ("dead letter", letter_id, None), by=None)
    if as_json:
        print_json({"replayed": wanted})
        return
    out.print(f"{len(wanted)} records are in the log again; ingest will try them", highlight=False)
