"""The commands on adapters: `ratchet adapter list|show|diff|verify|push|pull|key`.

Thin, as `loop.cli`. An adapter is named as `application--vN`.
"""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import RequestError
from loop.terminal import AsJson, keep_act, print_json, settings_of

adapter_app = typer.Typer(no_args_is_help=True, help="Adapters: look, compare, check, hand on.")

AdapterName = Annotated[str, typer.Argument(help="an adapter, as `ratchet adapter list` shows it")]
Repository = Annotated[str, typer.Argument(help="a model repository of the Hub: OWNER/NAME")]
Endpoint = Annotated[
    str | None, typer.Option(help="the Hub's address; default: HF_ENDPOINT, or huggingface.co")
]


@adapter_app.command("list")
def adapter_list(
    context: typer.Context,
    application: Annotated[str | None, typer.Argument(help="of this application only")] = None,
    as_json: AsJson = False,
) -> None:
    """List the adapters with their gate and status, the newest last."""
    from loop.adapter_facts import brief, list_all
    from loop.adapter_view import draw_list
    from loop.wiring import open_parts

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = [brief(adapter) for adapter in list_all(session, application)]
    if as_json:
        print_json(rows)
    else:
        draw_list(rows)


@adapter_app.command("show")
def adapter_show(context: typer.Context, adapter: AdapterName, as_json: AsJson = False) -> None:
    """Show an adapter: what it was made of, what the gate said, where it is now."""
    from loop.adapter_facts import describe
    from loop.adapter_view import draw_adapter
    from loop.wiring import open_parts
    from retrain.registry.ledger import find

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        facts = describe(session, find(session, adapter))
    if as_json:
        print_json(facts)
    else:
        draw_adapter(facts)


@adapter_app.command("diff")
def adapter_diff(
    context: typer.Context,
    old: AdapterName,
    new: AdapterName,
    as_json: AsJson = False,
) -> None:
    """Say how two adapters differ: data, settings, numbers, and how far apart the weights are."""
    from dataclasses import asdict

    from loop.adapter_view import draw_difference
    from loop.wiring import open_parts
    from retrain.registry.difference import changes, distance
    from retrain.registry.ledger import find

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        one, other = find(session, old), find(session, new)
        found, apart = changes(one, other), distance(one, other)
    if as_json:
        print_json(
            {
                "changes": [asdict(change) for change in found],
                "weights": asdict(apart) if apart else None,
            }
        )
    else:
        draw_difference(found, apart)


@adapter_app.command("verify")
def adapter_verify(
    context: typer.Context,
    adapter: Annotated[str | None, typer.Argument(help="an adapter, by its name")] = None,
    everything: Annotated[bool, typer.Option("--all", help="all adapters")] = False,
    as_json: AsJson = False,
) -> None:
    """Check files, signature, lineage and servability of an adapter; exit code 1 if wrong."""
    from loop.adapter_facts import list_all
    from loop.adapter_view import say
    from loop.wiring import open_parts
    from retrain.registry.check import problems
    from retrain.registry.ledger import find

    if (adapter is None) != everything:
        raise RequestError("name one adapter, or say --all: one of them", field="adapter")
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = list_all(session) if adapter is None else [find(session, adapter)]
        found = {row.name: problems(session, parts.settings, row) for row in rows}
    if as_json:
        print_json([{"name": name, "ok": not own, "problems": own} for name, own in found.items()])
    else:
        for name, own in found.items():
            for line in own or [f"{name} is whole: files, signature and lineage are as registered"]:
                say(line)
    if any(found.values()):
        raise typer.Exit(1)


@adapter_app.command("push")
def adapter_push(
    context: typer.Context,
    adapter: AdapterName,
    repository: Repository,
    allow_upload: Annotated[
        bool, typer.Option("--allow-upload", help="what was learnt may leave this machine")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="everybody may read it")] = False,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Put an adapter into a repository of the Hugging Face Hub, private unless --public."""
    from loop.adapter_view import say
    from loop.wiring import open_parts
    from retrain.registry.hub import push_adapter
    from retrain.registry.ledger import find

    if not allow_upload:
        raise RequestError(
            f"a push sends what {adapter} has learnt to the Hub, where `ratchet subject erase` "
            "does not reach it: say --allow-upload if it may leave this machine",
            field="allow_upload",
        )
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = find(session, adapter)
        done = push_adapter(row, repository, public=public, endpoint=endpoint)
        place = ("adapter", adapter, row.application)
        keep_act(parts.store, "adapter_pushed", place, by=None, to=done.url, public=public)
    if as_json:
        print_json(done)
        return
    say(f"{adapter} is at {done.url}, {'private' if done.private else 'public'}: {done.commit}")


@adapter_app.command("pull")
def adapter_pull(
    context: typer.Context,
    repository: Repository,
    application: Annotated[str, typer.Argument(help="whose adapter it shall be")],
    revision: Annotated[str | None, typer.Option(help="a commit or branch; default: main")] = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Take an adapter from the Hub as a candidate: it must pass the gate as any other."""
    from core.hugging_face import Repository as OnHub
    from loop.adapter_facts import brief
    from loop.adapter_view import say
    from loop.wiring import open_parts
    from retrain.registry.hub import pull_adapter

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        source = OnHub(repository, "model", endpoint)
        adapter = pull_adapter(session, parts.settings, source, application, revision)
        facts = brief(adapter)
        place = ("adapter", adapter.name, application)
        session.commit()
        keep_act(parts.store, "adapter_pulled", place, by=None, source=repository)
    if as_json:
        print_json(facts)
        return
    say(f"{facts['name']} is a candidate, from {facts['model_metadata']['adopted_from']}")
    say(f"`ratchet gate run {facts['name']}` evaluates it")


@adapter_app.command("key")
def adapter_key(context: typer.Context) -> None:
    """Print the public key by which others can believe this installation's manifests."""
    from loop.adapter_view import say
    from retrain.registry.signing import open_signer

    say(open_signer(settings_of(context)).public)
