"""The command that makes a base model of an adapter: `ratchet merge ADAPTER --into FOLDER`.

Thin, as `loop.cli`. For what vLLM cannot hot-load: the folder is served as `engine.model`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loop.terminal import AsJson, out, print_json, settings_of


def merge(
    context: typer.Context,
    adapter: Annotated[str, typer.Argument(help="an adapter, as `ratchet adapter list` shows it")],
    into: Annotated[Path, typer.Option(help="the new model's folder; must not exist yet")],
    as_json: AsJson = False,
) -> None:
    """Merge an adapter into its base model, as a new model that an engine can serve."""
    from loop.wiring import open_parts
    from retrain.registry.ledger import find
    from retrain.registry.merging import merged_already, plan_merge

    settings = settings_of(context)
    with open_parts(settings) as parts, parts.store.session() as session:
        asked = plan_merge(find(session, adapter), into, settings.engine)
    done = merged_already(asked)
    if done is None:
        from retrain.training.merge import merge as carry_out  # heavy: only when there is work

        done = carry_out(asked, _silent if as_json else out.print)
    if as_json:
        print_json({"folder": str(done.folder), "fresh": done.fresh, "lineage": done.lineage})
        return
    was = "merged" if done.fresh else "was merged before, and is whole"
    out.print(f"{adapter} {was}: {done.folder}")
    out.print(
        f'To serve it, set engine.model = "{done.folder}" and start the engine anew. '
        "Adapters of the old base model do not fit it: `ratchet retrain` makes new ones."
    )


def _silent(_: str) -> None:
    """Say nothing: the output is JSON alone."""
