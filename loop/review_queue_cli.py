"""What goes into the review queue and out of it: `ratchet review fill|export|import`.

Thin, as `loop.cli`. Other tools' files are JSON as those tools read and write them.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import DataError, RequestError
from core.files import write_atomic
from loop.terminal import Application, AsJson, keep_act, narrator_for, out, print_json, settings_of

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from curation.review.desk import ReviewDesk
    from curation.review.exchange import Item, Told
    from loop.wiring import Parts


class Tool(StrEnum):
    """Other tools in which people review."""

    LABEL_STUDIO = "label-studio"
    ARGILLA = "argilla"


Format = Annotated[Tool, typer.Option("--format", help="whose file it is")]
User = Annotated[
    list[str] | None,
    typer.Option(help="Argilla's id of a reviewer, such as ann=UUID; repeatable"),
]


@contextmanager
def opened_desk(context: typer.Context) -> Generator[tuple[Parts, ReviewDesk]]:
    """Give the parts and the desk of review."""
    from curation.review.desk import ReviewDesk
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        yield parts, ReviewDesk(parts.store, parts.settings)


def review_fill(
    context: typer.Context,
    application: Application,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Parquet with the columns of candidates; default: what is in the store"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put those candidates into the queue that the settings choose; twice adds nothing."""
    if file is not None:
        return _fill_from(context, application, file, as_json)
    from curation.review.filling import fill_queue

    narrator = narrator_for(as_json)
    with opened_desk(context) as (parts, _), narrator.curating() as progress:
        done = fill_queue(parts.store, parts.settings, application, progress)
        place = ("review", application, application)
        keep_act(parts.store, "review_filled", place, by=None, added=done.filled.added)
    if done.warning:
        narrator.tell(f"warning: {done.warning}")
    if as_json:
        print_json(asdict(done))
        return
    filled = done.filled
    narrator.tell(
        f"{filled.added:,} of {done.candidates:,} candidates wait now that did not; "
        f"{done.withdrawn:,} items withdrawn; {filled.no_room:,} found no room"
    )
    narrator.tell(
        f"measured: novelty of {done.compared:,}, doubt of {done.scored:,}; "
        f"{done.like_failed:,} are like what the newest adapter failed"
    )


def review_export(
    context: typer.Context,
    application: Application,
    file: Annotated[Path, typer.Argument(help="JSON to write")],
    tool: Format,
    project: Annotated[
        Path | None, typer.Option(help="write what a project there needs, too: XML or JSON")
    ] = None,
    user: User = None,
    as_json: AsJson = False,
) -> None:
    """Hand the items out for another tool, with what was said of them; comparisons stay here."""
    import msgspec

    from curation.review.handover import hand_out

    users = _users(user or [])
    with opened_desk(context) as (parts, _), parts.store.session() as session:
        items = hand_out(session, application)
        reviewers = parts.settings.review.reviewers
    write_atomic(file, msgspec.json.format(msgspec.json.encode(_written(tool, items, users))))
    if project is not None:
        write_atomic(project, _project(tool, reviewers))
    if as_json:
        print_json({"items": len(items)})
        return
    out.print(f"{len(items):,} items are in {file}", highlight=False)


def review_import(
    context: typer.Context,
    application: Application,
    file: Annotated[Path, typer.Argument(help="JSON that the tool exported")],
    tool: Format,
    user: User = None,
    as_json: AsJson = False,
) -> None:
    """Enter what people said in another tool; twice enters it once."""
    from curation.review.handover import take_back

    told = _read(tool, file, _users(user or []))
    with opened_desk(context) as (parts, desk), parts.store.session() as session:
        taken = take_back(session, desk, application, told)
    if as_json:
        print_json(asdict(taken))
        return
    out.print(f"{taken.entered:,} decisions entered, {taken.known:,} known before", highlight=False)
    for candidate, why in taken.refused:
        out.print(f"{candidate}: {why}", style="red", markup=False, highlight=False)


def _fill_from(context: typer.Context, application: str, file: Path, as_json: bool) -> None:
    from curation.review.queue import propose
    from curation.review.sampling import sample
    from curation.review.signals import light_rows

    table = _candidates(file)
    with opened_desk(context) as (parts, desk):
        with parts.store.session() as session:
            lights = light_rows(session, table)
        rules = parts.settings.review
        picks = sample(lights, rules, desk.known(application), desk.room(application))
        filled = desk.fill(application, propose(table, picks))
        place = ("review", application, application)
        keep_act(parts.store, "review_filled", place, by=None, added=filled.added)
    if as_json:
        print_json(asdict(filled) | {"candidates": table.num_rows})
        return
    out.print(f"{filled.added:,} of {table.num_rows:,} candidates wait now", highlight=False)


def _candidates(file: Path) -> Any:
    """Return a table of candidates. Raises: RequestError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from curation.table import CANDIDATES

    try:
        table: Any = pq.read_table(file)
    except pa.ArrowException as error:
        raise RequestError(f"{file} is no Parquet file: {error}", field="file") from error
    lacks = sorted({*CANDIDATES.names} - {*table.column_names})
    if lacks:
        raise RequestError(f"{file} lacks the columns {', '.join(lacks)}", field="file")
    return table


def _written(tool: Tool, items: Sequence[Item], users: Mapping[str, str]) -> list[dict[str, Any]]:
    from curation.review import argilla, label_studio

    return label_studio.tasks(items) if tool == "label-studio" else argilla.records(items, users)


def _project(tool: Tool, reviewers: int) -> bytes | str:
    import msgspec

    from curation.review import argilla, label_studio

    if tool == "label-studio":
        return label_studio.labelling_config()
    return msgspec.json.format(msgspec.json.encode(argilla.dataset_settings(reviewers)))


def _read(tool: Tool, file: Path, users: Mapping[str, str]) -> list[Told]:
    """Return what people said in a file. Raises: DataError that names the record."""
    import msgspec

    from curation.review import argilla, label_studio

    try:
        raw = msgspec.json.decode(file.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no JSON: {error}", field="file") from error
    return label_studio.told_in(raw) if tool == "label-studio" else argilla.told_in(raw, users)


def _users(given: Sequence[str]) -> dict[str, str]:
    """Return Argilla's ids by reviewer. Raises: RequestError."""
    users: dict[str, str] = {}
    for one in given:
        reviewer, _, id_ = one.partition("=")
        if not reviewer or not id_:
            raise RequestError(f"--user is {one!r}: write it such as ann=UUID", field="user")
        users[reviewer] = id_
    return users
