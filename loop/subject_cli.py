"""The commands on end users: `ratchet subject export|erase|erasures`.

Thin, as `loop.cli`. A person is named as the application names them in `user`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import NotFoundError
from loop.terminal import (
    Application,
    AsJson,
    Operator,
    out,
    print_json,
    print_table,
    require_words,
    settings_of,
)

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from feedback.erasure import Person
    from loop.wiring import Parts

subject_app = typer.Typer(no_args_is_help=True, help="End users: what is held, and erasing it.")

User = Annotated[str, typer.Argument(help="as the application names the person in `user`")]
Hashed = Annotated[bool, typer.Option("--hashed", help="USER is the hash, as tables show it")]


@subject_app.command("export")
def subject_export(
    context: typer.Context,
    application: Application,
    user: User,
    hashed: Hashed = False,
    file: Annotated[
        Path | None, typer.Option("--out", help="write here, not to the screen")
    ] = None,
) -> None:
    """Print all that is held of a person, as one JSON document."""
    import msgspec

    from core.files import write_atomic
    from feedback.subject_export import export_subject
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        person = _person(parts, application, user, hashed=hashed)
        parts.ingest().drain()  # what is still in the log is held, too
        with parts.store.session() as session:
            document = export_subject(session, person)
    if file is None:
        print_json(document)
        return
    write_atomic(file, msgspec.json.format(msgspec.json.encode(document), indent=2))
    out.print(f"{file}: {len(document['interactions'])} interactions", highlight=False)


@subject_app.command("erase")
def subject_erase(
    context: typer.Context,
    application: Application,
    user: User,
    by: Operator,
    hashed: Hashed = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person now: spools, store, datasets; and say which adapters were trained on them."""
    from core.clock import utc_now
    from core.ids import new_id
    from feedback.audit import HumanAct, record
    from feedback.erasure import open_erasure
    from feedback.subject_export import erasure_state
    from loop.erasing import carry_out
    from loop.wiring import open_parts

    require_words(by=by)
    with open_parts(settings_of(context)) as parts:
        person = _person(parts, application, user, hashed=hashed)
        parts.ingest().drain()
        if not yes:
            typer.confirm(_told(parts, person), abort=True)
        with parts.store.session() as session:
            erasure = open_erasure(session, person, new_id(), by, utc_now())
            record(session, HumanAct(by, "subject_erased", "erasure", erasure.id, application))
            session.commit()
        done = carry_out(parts, erasure.id)
    if as_json:
        print_json(erasure_state(done))
        return
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in done.counts.items())
    out.print(f"erased ({done.id}): {counts}", highlight=False)
    out.print(f"datasets: {', '.join(done.datasets) or 'none'}; {done.policy}", highlight=False)


@subject_app.command("erasures")
def subject_erasures(context: typer.Context, as_json: AsJson = False) -> None:
    """List erasures: what was done, and which adapters were trained on those people."""
    from sqlmodel import col, select

    from feedback.subject_export import erasure_state
    from feedback.tables import Erasure
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = list(session.exec(select(Erasure).order_by(col(Erasure.requested_at))))
    if as_json:
        print_json([erasure_state(row) for row in rows])
        return
    print_table(
        ("erasure", "application", "requested", "state", "adapters", "done"),
        [
            (
                *(row.id, row.application, f"{row.requested_at:%Y-%m-%d %H:%M}"),
                *(row.error or row.state, ", ".join(row.adapters) or "none", row.policy),
            )
            for row in rows
        ],
    )


def _person(parts: Parts, application: str, user: str, *, hashed: bool) -> Person:
    from feedback.subjects import person_of

    if application not in parts.settings.applications:
        known = ", ".join(parts.settings.applications) or "none"
        raise NotFoundError(f"no application {application!r}; the settings name: {known}")
    return person_of(application, user, parts.keys.subject, hashed=hashed)


def _told(parts: Parts, person: Person) -> str:
    from core.clock import utc_now
    from feedback.erasure import count_feedback, interaction_ids, lineage

    now = utc_now()
    with parts.store.session() as session:
        ids = interaction_ids(session, person, now)
        feedback = count_feedback(session, person, ids, now)
        made = lineage(session, person, ids)
    return (
        f"erase {len(ids):,} interactions and {feedback:,} feedback, rewrite datasets "
        f"{', '.join(made.datasets) or '(none)'}, mark adapters "
        f"{', '.join(made.adapters) or '(none)'}: this cannot be taken back. Go on?"
    )
