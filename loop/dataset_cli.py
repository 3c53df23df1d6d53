"""The commands on dataset versions: `ratchet dataset list|show|diff|export|verify|push|pull`.

Thin, as `loop.cli`. A version is named as `application--dN`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from core.errors import RequestError
from loop.terminal import AsJson, keep_act, print_json, settings_of

dataset_app = typer.Typer(no_args_is_help=True, help="Dataset versions: look, check, hand on.")

DatasetId = Annotated[str, typer.Argument(help="a version, as `ratchet dataset list` shows it")]
Repository = Annotated[str, typer.Argument(help="a dataset repository of the Hub: OWNER/NAME")]
Endpoint = Annotated[
    str | None, typer.Option(help="the Hub's address; default: HF_ENDPOINT, or huggingface.co")
]


@dataset_app.command("list")
def dataset_list(
    context: typer.Context,
    application: Annotated[str | None, typer.Argument(help="of this application only")] = None,
    as_json: AsJson = False,
) -> None:
    """List the dataset versions with their examples, the newest of an application last."""
    from loop.dataset_facts import brief, list_versions
    from loop.dataset_view import draw_list
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        known = list(parts.settings.applications)
        versions = [brief(version) for version in list_versions(session, application, known)]
    if as_json:
        print_json(versions)
    else:
        draw_list(versions)


@dataset_app.command("show")
def dataset_show(
    context: typer.Context,
    dataset: DatasetId,
    examples: Annotated[int, typer.Option(min=0, help="print so many examples, too")] = 0,
    split: Annotated[str | None, typer.Option(help="of these: train, validation, test")] = None,
    kind: Annotated[
        str | None, typer.Option(help="of these: demonstration, pair, label, safety")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a version: examples, what each stage dropped, what was made of it, erasures."""
    from curation.examples import find_version
    from loop.dataset_facts import describe, sample
    from loop.dataset_view import draw_examples, draw_version
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        facts = describe(session, dataset)
        version = find_version(session, dataset)
        shown = sample(version, examples, split, kind) if examples else []
    if as_json:
        print_json(facts | ({"examples": shown} if examples else {}))
        return
    draw_version(facts)
    draw_examples(shown)


@dataset_app.command("diff")
def dataset_diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(help="the older version")],
    after: Annotated[str, typer.Argument(help="the newer version")],
    as_json: AsJson = False,
) -> None:
    """Say how two versions differ; exit code 1 if anything moved to another split."""
    from curation.dataset_diff import diff_versions
    from curation.examples import find_version
    from loop.dataset_view import draw_diff
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        found = diff_versions(find_version(session, before), find_version(session, after))
    if as_json:
        print_json(found)
    else:
        draw_diff(found)
    if found.moved.any:
        raise typer.Exit(1)


@dataset_app.command("export")
def dataset_export(
    context: typer.Context,
    dataset: DatasetId,
    folder: Annotated[Path, typer.Argument(help="a new or empty folder")],
    format: Annotated[
        str, typer.Option(help="parquet, messages (OpenAI), chatml, sharegpt, alpaca or trl")
    ] = "parquet",
    as_json: AsJson = False,
) -> None:
    """Write a version into a folder, in a format that other tools train from."""
    from curation.dataset_export import export_version
    from curation.examples import find_version
    from loop.dataset_view import say
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        version = find_version(session, dataset)
        with _progress(f"export {dataset}") as told:
            done = export_version(version, folder, format, told)
    if as_json:
        print_json(done)
        return
    written = sum(done.files.values())
    say(f"{done.folder}: {written:,} examples in {len(done.files)} files")
    for reason, count in done.left_out.items():
        say(f"left out: {count:,} {reason}")


@dataset_app.command("verify")
def dataset_verify(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="a version, by its id")] = None,
    everything: Annotated[bool, typer.Option("--all", help="all versions")] = False,
    as_json: AsJson = False,
) -> None:
    """Check hash, counts and leaks across splits by a version's files; exit code 1 if wrong."""
    from curation.dataset_check import problems
    from curation.examples import find_version
    from loop.dataset_facts import list_versions
    from loop.dataset_view import say
    from loop.wiring import open_parts

    if (dataset is None) != everything:
        raise RequestError("name one dataset, or say --all: one of them", field="dataset")
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        one = [] if dataset is None else [find_version(session, dataset)]
        versions = one or list_versions(session, None, [])
        found = {version.id: problems(version) for version in versions}
    if as_json:
        print_json([{"id": id_, "ok": not own, "problems": own} for id_, own in found.items()])
    else:
        for id_, own in found.items():
            for line in own or [f"{id_} is whole: hash, counts and splits are as they should be"]:
                say(line)
    if any(found.values()):
        raise typer.Exit(1)


@dataset_app.command("push")
def dataset_push(
    context: typer.Context,
    dataset: DatasetId,
    repository: Repository,
    allow_upload: Annotated[
        bool, typer.Option("--allow-upload", help="people's words may leave this machine")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="everybody may read it")] = False,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Put a version into a repository of the Hugging Face Hub, private unless --public."""
    from curation.examples import find_version
    from curation.hub import push_version
    from loop.dataset_view import say
    from loop.wiring import open_parts

    if not allow_upload:
        raise RequestError(
            f"a push sends the conversations of {dataset} to the Hub, where `ratchet subject "
            "erase` does not reach them: say --allow-upload if they may leave this machine",
            field="allow_upload",
        )
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        version = find_version(session, dataset)
        done = push_version(version, repository, public=public, endpoint=endpoint)
        place = ("dataset", dataset, version.application)
        keep_act(parts.store, "dataset_pushed", place, by=None, to=done.url, public=public)
    if as_json:
        print_json(done)
        return
    say(f"{dataset} is at {done.url}, {'private' if done.private else 'public'}: {done.commit}")
    say("`ratchet subject erase` does not reach it: after an erasure delete it there, push again")


@dataset_app.command("pull")
def dataset_pull(
    context: typer.Context,
    repository: Repository,
    revision: Annotated[str | None, typer.Option(help="a commit or branch; default: main")] = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Take a version from the Hub, checked; or mend the files of one that is here."""
    from core.hugging_face import Repository as OnHub
    from curation.hub import pull_version
    from loop.dataset_view import say
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts:
        settings = parts.settings
        source = OnHub(repository, "dataset", endpoint)
        folder, known = settings.folder("datasets"), list(settings.applications)
        version, how = pull_version(parts.store, folder, source, known, revision)
        place = ("dataset", version.id, version.application)
        keep_act(parts.store, "dataset_pulled", place, by=None, source=repository, how=how)
    if as_json:
        print_json({"id": version.id, "how": how, "path": version.path})
        return
    words = {"added": "is new here", "present": "was here already", "restored": "is mended"}
    say(f"{version.id} {words[how]}: {version.path}")


@contextmanager
def _progress(words: str) -> Generator[Callable[[int, int], None]]:
    """Show a bar on standard error; yields the function that is told of done and all."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
